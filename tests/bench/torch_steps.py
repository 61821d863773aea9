#!/usr/bin/python3
"""Trains a case of make_case.py in PyTorch eager, two threads, and prints a JSON line: seconds of each step after the
first, tokens a step, losses, peak memory. All rows of a batch have one length and run as one batch.

    torch_steps.py DIR STEPS BATCH_SIZE THREADS"""

import json
import os
import resource
import sys
import time

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torch"))
from llama_torch import Model  # noqa: E402


class Batched(Model):
    """The same model with a batch dimension in front, as PyTorch is at its fastest."""

    def attention(self, x, layer, cos, sin, mask):
        batch, length, _ = x.shape
        q = self.linear(x, layer, "q_proj").view(batch, length, self.heads, self.head_dim).transpose(1, 2)
        k = self.linear(x, layer, "k_proj").view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.linear(x, layer, "v_proj").view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        scores = q @ k.transpose(2, 3) / self.head_dim ** 0.5 + mask
        y = torch.softmax(scores, -1) @ v
        return self.linear(y.transpose(1, 2).reshape(batch, length, -1), layer, "o_proj")

    def forward_batch(self, ids):
        length = ids.shape[1]
        angles = torch.arange(length, dtype=torch.float64)[:, None] * self.inv_freq[None, :]
        cos = torch.cat((angles.cos(), angles.cos()), -1).float()
        sin = torch.cat((angles.sin(), angles.sin()), -1).float()
        mask = torch.full((length, length), float("-inf")).triu(1)
        x = self.weights["model.embed_tokens.weight"][ids]
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, prefix + "input_layernorm.weight"), layer, cos, sin, mask)
            x = x + self.mlp(self.norm(x, prefix + "post_attention_layernorm.weight"), layer)
        return self.norm(x, "model.norm.weight") @ self.weights["model.embed_tokens.weight"].t()


def main():
    directory, steps, batch_size, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    with open(os.path.join(directory, "rows.jsonl")) as file:
        rows = [json.loads(line) for line in file]
    model = Batched(os.path.join(directory, "base"))
    model.init_adapter(os.path.join(directory, "adapter"))
    optimizer = torch.optim.AdamW(model.adapter.values(), lr=1e-4, weight_decay=0.0)
    seconds, losses, tokens = [], [], 0
    for step in range(steps):
        start = time.perf_counter()
        batch = torch.tensor([rows[(step * batch_size + i) % len(rows)]["ids"] for i in range(batch_size)])
        optimizer.zero_grad()
        logits = model.forward_batch(batch)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), batch[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(model.adapter.values()), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
        tokens = batch.numel()
    print(json.dumps({"seconds": seconds[1:], "tokens": tokens, "losses": losses, "torch": torch.__version__,
                      "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
