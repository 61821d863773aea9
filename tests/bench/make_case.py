#!/usr/bin/python3
"""Makes a speed case: a random Llama of a named size, a random adapter and random rows.

    make_case.py DIR [--size 15m|110m] [--rows N] [--lengths 256|20-200] [--supervised 1.0] [--rank 8] [--context N] [--seed N]

15m: hidden 288, 6 layers, 6 heads, intermediate 768, vocabulary 32,000 (tied). 110m: hidden 768, 12 layers, 12 heads,
intermediate 2,048, the same vocabulary. --supervised: the share of each row's positions that are trained on, its last ones, as
in completion-only data. Needs nothing but Python."""

import argparse
import array
import json
import os
import random
import struct

SIZES = {
    "15m": {"hidden_size": 288, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 6,
            "intermediate_size": 768},
    "110m": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12,
             "intermediate_size": 2048},
}
ALL = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
       "rope_theta": 10000.0, "tie_word_embeddings": True, "vocab_size": 32000, "torch_dtype": "float32"}
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
POOL = 1000003  # a prime: no two rows of a matrix are the same piece of the pool


class Normals:
    """Normal fp32 numbers as bytes. They come from a pool that is gone through again and again, from another place for
    each tensor: drawing 110 million one by one would take minutes."""

    def __init__(self, seed, mean, deviation):
        self.random = random.Random(seed)
        self.pool = array.array("f", (self.random.gauss(mean, deviation) for _ in range(POOL))).tobytes()

    def draw(self, *shape):
        count = 4
        for size in shape:
            count *= size
        start = 4 * self.random.randrange(POOL)
        return shape, (self.pool * ((start + count) // len(self.pool) + 1))[start:start + count]


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        shape, data = tensors[name]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            file.write(tensors[name][1])


def linear_layers(config):
    """(path, outputs, inputs) of each linear layer but the head."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    for layer in range(config["num_hidden_layers"]):
        for module in MODULES:
            part = "self_attn" if module in MODULES[:4] else "mlp"
            outputs = wide if module in ("gate_proj", "up_proj") else hidden
            yield f"model.layers.{layer}.{part}.{module}", outputs, wide if module == "down_proj" else hidden


def write_base(directory, config, seed):
    os.makedirs(directory, exist_ok=True)
    wide, near_one, hidden = Normals(seed, 0, 0.02), Normals(seed + 1, 1, 0.1), config["hidden_size"]
    weights = {"model.embed_tokens.weight": wide.draw(config["vocab_size"], hidden), "model.norm.weight": near_one.draw(hidden)}
    for layer in range(config["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{norm}.weight"] = near_one.draw(hidden)
    for path, outputs, inputs in linear_layers(config):
        weights[path + ".weight"] = wide.draw(outputs, inputs)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    write_safetensors(os.path.join(directory, "model.safetensors"), weights)


def write_adapter(directory, config, rank, seed):
    """A PEFT adapter on all seven linear layers, A and B both random."""
    os.makedirs(directory, exist_ok=True)
    normals, tensors = Normals(seed, 0, 0.05), {}
    for path, outputs, inputs in linear_layers(config):
        tensors[f"base_model.model.{path}.lora_A.weight"] = normals.draw(rank, inputs)
        tensors[f"base_model.model.{path}.lora_B.weight"] = normals.draw(outputs, rank)
    write_safetensors(os.path.join(directory, "adapter_model.safetensors"), tensors)
    with open(os.path.join(directory, "adapter_config.json"), "w") as file:
        json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0,
                   "bias": "none", "fan_in_fan_out": False, "use_rslora": False, "use_dora": False,
                   "target_modules": MODULES, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {},
                   "base_model_name_or_path": "base", "inference_mode": True, "peft_version": "0.13.2"}, file)


def write_rows(path, count, lengths, supervised, vocabulary, seed):
    draw = random.Random(seed)
    with open(path, "w") as file:
        for _ in range(count):
            length = draw.randint(*lengths)
            ids = [draw.randrange(vocabulary) for _ in range(length)]
            prompt = length - max(1, round(supervised * length))
            file.write(json.dumps({"ids": ids, "labels": [-100] * prompt + ids[prompt:]}) + "\n")


def length_range(text):
    """"256" -> (256, 256), "20-200" -> (20, 200)."""
    try:
        shortest, _, longest = text.partition("-")
        lengths = int(shortest), int(longest or shortest)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a length nor two with a '-' between")
    if not 2 <= lengths[0] <= lengths[1]:
        raise argparse.ArgumentTypeError(f"'{text}' is not a range of lengths of 2 or more")
    return lengths


def share(text):
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share above 0 and up to 1")
    return value


def make(directory, size="15m", rows=16, lengths=(256, 256), supervised=1.0, rank=8, context=None, seed=1):
    config = {**ALL, **SIZES[size], "max_position_embeddings": max(context or 1024, lengths[1])}
    write_base(os.path.join(directory, "base"), config, seed)
    write_adapter(os.path.join(directory, "adapter"), config, rank, seed + 2)
    write_rows(os.path.join(directory, "rows.jsonl"), rows, lengths, supervised, config["vocab_size"], seed + 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--size", choices=SIZES, default="15m")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--lengths", type=length_range, default=(256, 256))
    parser.add_argument("--supervised", type=share, default=1.0)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--context", type=int)
    parser.add_argument("--seed", type=int, default=1)
    make(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
