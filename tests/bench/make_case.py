#!/usr/bin/python3
"""Makes a speed case: a random Llama of a named size, a random adapter and random rows, all supervised.

    make_case.py DIR [--size 15m|110m] [--rows N] [--length N] [--seed N]

15m: hidden 288, 6 layers, 6 heads, intermediate 768, vocabulary 32,000 (tied). 110m: hidden 768, 12 layers, 12 heads,
intermediate 2,048, the same vocabulary."""

import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torch"))
from cases import random_rows, write_adapter, write_base, write_rows  # noqa: E402

SIZES = {
    "15m": {"hidden_size": 288, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 6,
            "intermediate_size": 768},
    "110m": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12,
             "intermediate_size": 2048},
}
ALL = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
       "rope_theta": 10000.0, "max_position_embeddings": 1024, "tie_word_embeddings": True, "vocab_size": 32000,
       "torch_dtype": "float32"}


def make(directory, size, rows, length, seed):
    config = {**ALL, **SIZES[size]}
    write_base(os.path.join(directory, "base"), config, seed, deviation=0.02)
    write_adapter(os.path.join(directory, "adapter"), config, seed + 1)
    write_rows(os.path.join(directory, "rows.jsonl"),
               random_rows(rows, config["vocab_size"], seed + 2, length, length, all_supervised=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--size", choices=SIZES, default="15m")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    make(arguments.directory, arguments.size, arguments.rows, arguments.length, arguments.seed)


if __name__ == "__main__":
    main()
