#!/usr/bin/python3
"""Trains the same rows from the same initial adapter by `finetuned train` and by plain PyTorch, and compares.

    parity.py --finetuned build/release/finetuned [--shared DIR] [--case NAME]

Each loss must agree within 2e-5 relative and what was trained by a cosine of at least 0.99999. Exit 77: there is no
PyTorch, or nothing to compare."""

import argparse
import json
import os
import subprocess
import sys
import tempfile

try:
    import torch
except ImportError:
    print("skipped: python3-torch is not installed")
    sys.exit(77)

from cases import CASES, SMALL, random_rows, write_adapter, write_base, write_rows
from llama_torch import Model, read_safetensors, train

LOSS_RELATIVE = 2e-5
COSINE = 0.99999


def run_engine(program, arguments):
    done = subprocess.run([program, "train", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"finetuned train {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")


def cosine(ours, theirs):
    assert ours.keys() == theirs.keys(), f"tensors differ: {ours.keys() ^ theirs.keys()}"
    a = torch.cat([ours[name].double().flatten() for name in sorted(ours)])
    b = torch.cat([theirs[name].detach().double().flatten() for name in sorted(ours)])
    return float((a @ b) / (a.norm() * b.norm())), float((a - b).abs().max())


def compare(name, log, norms, losses, ours, theirs, start):
    with open(log) as file:
        steps = [json.loads(line) for line in file]
    assert len(steps) == len(losses), f"{name}: {len(steps)} steps, not {len(losses)}"
    worst = max(abs(step["loss"] - loss) / loss for step, loss in zip(steps, losses))
    worst_norm = max(abs(step["grad_norm"] - norm) / norm for step, norm in zip(steps, norms))
    alike, apart = cosine(ours, theirs)
    moved, _ = cosine({k: ours[k] - start[k] for k in ours}, {k: theirs[k].detach() - start[k] for k in ours})
    good = worst <= LOSS_RELATIVE and alike >= COSINE and moved >= 0.999
    print(f"{name}: {len(losses)} steps, loss {losses[0]:.5f} -> {losses[-1]:.5f}, worst loss {worst:.1e} relative, "
          f"worst gradient norm {worst_norm:.1e}, cosine {alike:.9f} (of the change {moved:.9f}), "
          f"largest difference {apart:.1e}: {'equal' if good else 'NOT EQUAL'}")
    return good


def lora_case(program, name, base, rows, steps, work):
    adapter, out, tokens, log = (os.path.join(work, part) for part in ("adapter", "out", "rows.jsonl", "steps.jsonl"))
    with open(os.path.join(base, "config.json")) as file:
        write_adapter(adapter, json.load(file), seed=11)
    write_rows(tokens, rows)
    run_engine(program, ["--base", base, "--tokens", tokens, "--out", out, "--init-adapter", adapter, "--rank", "8",
                         "--alpha", "16", "--learning-rate", "1e-3", "--batch-size", "4", "--steps", str(steps),
                         "--lr-scheduler", "constant", "--weight-decay", "0.01", "--log", log])
    model = Model(base)
    model.init_adapter(adapter)
    start = {key: tensor.detach().clone() for key, tensor in model.adapter.items()}
    norms = []
    losses = train(model, rows, steps, 4, 1e-3, 0.01, on_step=lambda loss, norm: norms.append(norm))
    return compare(name, log, norms, losses, read_safetensors(os.path.join(out, "adapter_model.safetensors")),
                   model.adapter, start)


def full_case(program, name, base, rows, steps, work):
    out, tokens, log = (os.path.join(work, part) for part in ("out", "rows.jsonl", "steps.jsonl"))
    write_rows(tokens, rows)
    run_engine(program, ["--base", base, "--tokens", tokens, "--out", out, "--full", "--learning-rate", "1e-3",
                         "--batch-size", "4", "--steps", str(steps), "--lr-scheduler", "constant", "--weight-decay",
                         "0.1", "--log", log])
    model = Model(base)
    model.train_everything()
    start = {key: tensor.detach().clone() for key, tensor in model.weights.items()}
    norms = []
    losses = train(model, rows, steps, 4, 1e-3, 0.1, on_step=lambda loss, norm: norms.append(norm))
    return compare(name, log, norms, losses, read_safetensors(os.path.join(out, "model.safetensors")), model.weights, start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--finetuned", required=True)
    parser.add_argument("--shared", default="")
    parser.add_argument("--case", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other
    stories = os.path.join(arguments.shared, "models", "stories260k")
    good, ran = True, 0
    for name in ["stories260k", *CASES, "full-llama", "full-qwen3"]:
        if arguments.case and arguments.case != name:
            continue
        with tempfile.TemporaryDirectory(prefix="finetuned-parity-") as work:
            if name == "stories260k":
                if not os.path.isfile(os.path.join(stories, "config.json")):
                    print("stories260k: skipped, there is no ../shared/models/stories260k")
                    continue
                good &= lora_case(arguments.finetuned, name, stories, random_rows(48, 512, seed=5, longest=120), 32, work)
            else:
                kind = name.removeprefix("full-")
                config, base = {**SMALL, **CASES[kind]}, os.path.join(work, "base")
                write_base(base, config, seed=3)
                rows = random_rows(22, config["vocab_size"], seed=7)
                case = full_case if name.startswith("full-") else lora_case
                good &= case(arguments.finetuned, name, base, rows, 8 if name.startswith("full-") else 32, work)
            ran += 1
    if ran == 0:
        sys.exit(77)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
