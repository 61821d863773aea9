#!/usr/bin/env python3
"""Tokens a second of the same LoRA steps by transformers and PEFT: bfloat16, SDPA attention, random weights in the model's shape.

    peft_speed.py --model NAME [--tokens N] [--batch N] [--steps N] [--rank N] [--compile]

Prints a line of JSON. Exit 77 where this Python has no torch with a GPU, no transformers or no peft."""

import argparse
import gc
import json
import statistics
import sys
import time

SHAPES = {  # architecture, vocabulary, hidden, intermediate, layers, heads, key heads, tied, rope_theta
    "qwen2.5-0.5b": ("qwen2", 151936, 896, 4864, 24, 14, 2, True, 1e6),
    "qwen2.5-1.5b": ("qwen2", 151936, 1536, 8960, 28, 12, 2, True, 1e6),
    "qwen2.5-7b": ("qwen2", 152064, 3584, 18944, 28, 28, 4, False, 1e6),
    "llama-3-8b": ("llama", 128256, 4096, 14336, 32, 32, 8, False, 5e5),
}
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WARM_UP = 3

try:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM
except ImportError as error:
    print(f"not here: {error}", file=sys.stderr)
    sys.exit(77)
if not torch.cuda.is_available():
    print("PyTorch sees no GPU", file=sys.stderr)
    sys.exit(77)


def adapted(name, rank, context):
    kind, vocabulary, hidden, inner, layers, heads, key_heads, tied, theta = SHAPES[name]
    config = AutoConfig.for_model(kind, vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
                                  num_attention_heads=heads, num_key_value_heads=key_heads, tie_word_embeddings=tied,
                                  rope_theta=theta, max_position_embeddings=max(32768, context), use_cache=False)
    with torch.device("cuda"):
        try:
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
        except TypeError:  # before transformers 4.56
            model = AutoModelForCausalLM.from_config(config, torch_dtype=torch.bfloat16, attn_implementation="sdpa")
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=32, lora_dropout=0.0, target_modules=MODULES, task_type="CAUSAL_LM"))


def measure(arguments, rows_at_once, checkpointing):
    """Seconds of each timed step; a step takes the whole batch, `rows_at_once` at a time."""
    torch.manual_seed(1)
    model = adapted(arguments.model, arguments.rank, arguments.tokens)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    step_model = torch.compile(model) if arguments.compile else model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, fused=True)
    rows = max(1, arguments.batch // arguments.tokens)
    ids = torch.randint(0, SHAPES[arguments.model][1], (rows, arguments.tokens), device="cuda")
    pieces = ids.split(rows_at_once)
    seconds = []
    for _ in range(WARM_UP + arguments.steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        for piece in pieces:
            # As transformers' Trainer with bf16=True: the adapters, which PEFT keeps in single precision, are multiplied in bfloat16.
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = step_model(input_ids=piece, labels=piece).loss / len(pieces)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP:], rows * arguments.tokens


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, choices=SHAPES)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=16384)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    rows = max(1, arguments.batch // arguments.tokens)
    # The largest piece that fits, first without and then with its layers recomputed: what a careful user would find.
    sizes = [size for size in (rows, rows // 2, rows // 4, 1) if size >= 1]
    attempts = [(size, False) for size in sizes] + [(size, True) for size in sizes]
    for size, checkpointing in dict.fromkeys(attempts):
        try:
            gc.collect()
            torch.compiler.reset()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            seconds, tokens = measure(arguments, size, checkpointing)
        except torch.cuda.OutOfMemoryError:
            continue
        typical = statistics.median(seconds)
        print(json.dumps({"tokens_per_second": tokens / typical, "seconds_a_step": typical, "rows_at_once": size,
                          "recompute": checkpointing, "memory_bytes": torch.cuda.max_memory_reserved(),
                          "torch": torch.__version__}))
        return 0
    print("it does not fit this GPU's memory", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
