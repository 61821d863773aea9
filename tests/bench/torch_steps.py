#!/usr/bin/python3
"""Trains a case of make_case.py in PyTorch eager and prints a JSON line: tokens, seconds and loss of each step.

    torch_steps.py DIR --steps N --batch N --threads N [--head all|rows]

It is PyTorch as a careful script has it: frozen weights ask for no gradient, cosines, sines and the causal mask are made once, a
batch is padded at the right to its longest row (which causal attention never looks back at), labels are shifted and not the
logits, so that these are not copied. --head all: the logits of all positions, unsupervised ones ignored by the loss, as usual;
rows: of the supervised positions only."""

import argparse
import json
import os
import sys
import time

import torch
from torch.nn import functional

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torch"))
from llama_torch import Model, module_path  # noqa: E402

IGNORED = -100


class Batched(Model):
    """The same model over a batch: activations are [batch * length, hidden], as matrix products are fastest."""

    def __init__(self, directory, longest):
        super().__init__(directory)
        angles = torch.arange(longest, dtype=torch.float64)[:, None] * self.inv_freq[None, :]
        self.cos = torch.cat((angles.cos(), angles.cos()), -1).float()
        self.sin = torch.cat((angles.sin(), angles.sin()), -1).float()
        self.mask = torch.full((longest, longest), float("-inf")).triu(1)

    def linear(self, x, layer, module):
        path = module_path(layer, module)
        y = x @ self.weights[path + ".weight"].t()
        a = self.adapter[f"base_model.model.{path}.lora_A.weight"]
        b = self.adapter[f"base_model.model.{path}.lora_B.weight"]
        return torch.addmm(y, x @ a.t(), b.t(), alpha=self.scale)

    def attend(self, x, layer, batch, length):
        split = (batch, length, self.heads, self.head_dim)
        q, k, v = (self.linear(x, layer, name).view(split).transpose(1, 2) for name in ("q_proj", "k_proj", "v_proj"))
        cos, sin = self.cos[:length], self.sin[:length]
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        scores = (q * self.head_dim ** -0.5) @ k.transpose(2, 3) + self.mask[:length, :length]
        y = torch.softmax(scores, -1) @ v
        return self.linear(y.transpose(1, 2).reshape(batch * length, -1), layer, "o_proj")

    def loss(self, ids, targets, head):
        """Mean over the supervised positions; both tensors are [batch, length]."""
        x = functional.embedding(ids.view(-1), self.weights["model.embed_tokens.weight"])
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            x = x + self.attend(self.norm(x, prefix + "input_layernorm.weight"), layer, *ids.shape)
            x = x + self.mlp(self.norm(x, prefix + "post_attention_layernorm.weight"), layer)
        x, targets = self.norm(x, "model.norm.weight"), targets.view(-1)
        if head == "rows":
            supervised = (targets != IGNORED).nonzero().view(-1)
            x, targets = x[supervised], targets[supervised]
        return functional.cross_entropy(x @ self.weights["model.embed_tokens.weight"].t(), targets, ignore_index=IGNORED)


def padded(rows):
    """ids and the next token to learn at each position, padded to the longest row."""
    longest = max(len(row["ids"]) for row in rows)
    ids = [row["ids"] + [0] * (longest - len(row["ids"])) for row in rows]
    targets = [row["labels"][1:] + [IGNORED] * (longest - len(row["ids"]) + 1) for row in rows]
    return torch.tensor(ids), torch.tensor(targets)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--head", choices=["all", "rows"], default="all")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with open(os.path.join(arguments.directory, "rows.jsonl")) as file:
        rows = [json.loads(line) for line in file]
    model = Batched(os.path.join(arguments.directory, "base"), max(len(row["ids"]) for row in rows))
    model.init_adapter(os.path.join(arguments.directory, "adapter"))
    trained = list(model.adapter.values())
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    tokens, seconds, losses = [], [], []
    for step in range(arguments.steps):
        start = time.perf_counter()
        batch = [rows[(step * arguments.batch + i) % len(rows)] for i in range(arguments.batch)]
        optimizer.zero_grad(set_to_none=True)
        loss = model.loss(*padded(batch), arguments.head)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
        tokens.append(sum(len(row["ids"]) for row in batch))
    print(json.dumps({"tokens": tokens, "seconds": seconds, "losses": losses, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
