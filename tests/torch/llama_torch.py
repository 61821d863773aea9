"""Llama-family models in plain PyTorch, eager and in fp32: what the engine's training is compared with.

Everything is written from the architectures' published descriptions; sizes and options come from config.json. Linear
layers may carry a LoRA pair: y = W x + b + scale B (A x)."""

import json
import math
import os
import struct

import torch

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def read_safetensors(path):
    """name -> fp32 tensor of a file that holds F32 only."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", f"{path}: {name} is {entry['dtype']}"
        begin, end = entry["data_offsets"]
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32)
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors


def write_safetensors(path, tensors):
    header, offset, pieces = {"__metadata__": {"format": "pt"}}, 0, []
    for name in sorted(tensors):
        data = tensors[name].detach().contiguous().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        pieces.append(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(pieces))


def module_path(layer, module):
    part = "mlp" if module in ("gate_proj", "up_proj", "down_proj") else "self_attn"
    return f"model.layers.{layer}.{part}.{module}"


class Model:
    """`trained` maps names to tensors that require gradients: the adapter's (PEFT names) or all weights."""

    def __init__(self, directory):
        with open(os.path.join(directory, "config.json")) as file:
            self.config = json.load(file)
        self.weights = read_safetensors(os.path.join(directory, "model.safetensors"))
        self.architecture = self.config["architectures"][0]
        self.layers = self.config["num_hidden_layers"]
        self.heads = self.config["num_attention_heads"]
        self.kv_heads = self.config.get("num_key_value_heads", self.heads)
        self.head_dim = self.config.get("head_dim") or self.config["hidden_size"] // self.heads
        self.eps = self.config.get("rms_norm_eps", 1e-6)
        self.window = self.config.get("sliding_window") if self.architecture == "MistralForCausalLM" else None
        self.adapter, self.scale, self.trained = {}, 0.0, {}
        self.inv_freq = self.rope_frequencies()

    def rope_frequencies(self):
        dim, theta = self.head_dim, self.config.get("rope_theta", 10000.0)
        inv = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        scaling = self.config.get("rope_scaling") or {}
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind == "linear":
            inv = inv / scaling["factor"]
        elif kind == "llama3":
            # Long wavelengths are stretched, short ones kept, those between blended.
            context = scaling["original_max_position_embeddings"]
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            turns = context * inv / (2 * math.pi)
            blend = ((turns - low) / (high - low)).clamp(0, 1)
            inv = (1 - blend) * inv / scaling["factor"] + blend * inv
        else:
            assert kind == "default", kind
        return inv

    def init_adapter(self, directory):
        with open(os.path.join(directory, "adapter_config.json")) as file:
            config = json.load(file)
        self.scale = config["lora_alpha"] / config["r"]
        self.adapter = read_safetensors(os.path.join(directory, "adapter_model.safetensors"))
        for tensor in self.adapter.values():
            tensor.requires_grad_(True)
        self.trained = self.adapter

    def train_everything(self):
        for tensor in self.weights.values():
            tensor.requires_grad_(True)
        self.trained = self.weights

    def linear(self, x, layer, module):
        path = module_path(layer, module)
        y = torch.nn.functional.linear(x, self.weights[path + ".weight"], self.weights.get(path + ".bias"))
        a = self.adapter.get(f"base_model.model.{path}.lora_A.weight")
        if a is None:
            return y
        b = self.adapter[f"base_model.model.{path}.lora_B.weight"]
        return y + self.scale * ((x @ a.t()) @ b.t())

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weights[name]

    def rotate(self, x, cos, sin):
        half = x.shape[-1] // 2
        return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin

    def attention(self, x, layer, cos, sin, mask):
        length = x.shape[0]
        prefix = f"model.layers.{layer}.self_attn."
        q = self.linear(x, layer, "q_proj").view(length, self.heads, self.head_dim)
        k = self.linear(x, layer, "k_proj").view(length, self.kv_heads, self.head_dim)
        v = self.linear(x, layer, "v_proj").view(length, self.kv_heads, self.head_dim)
        if self.architecture == "Qwen3ForCausalLM":
            q, k = self.norm(q, prefix + "q_norm.weight"), self.norm(k, prefix + "k_norm.weight")
        q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
        scores = q @ k.transpose(1, 2) / math.sqrt(self.head_dim) + mask
        y = torch.softmax(scores, -1) @ v
        return self.linear(y.transpose(0, 1).reshape(length, -1), layer, "o_proj")

    def mlp(self, x, layer):
        gate = torch.nn.functional.silu(self.linear(x, layer, "gate_proj"))
        return self.linear(gate * self.linear(x, layer, "up_proj"), layer, "down_proj")

    def forward(self, ids):
        """Logits [length, vocabulary] of one sequence."""
        length = ids.shape[0]
        angles = torch.arange(length, dtype=torch.float64)[:, None] * self.inv_freq[None, :]
        cos = torch.cat((angles.cos(), angles.cos()), -1).float()
        sin = torch.cat((angles.sin(), angles.sin()), -1).float()
        places = torch.arange(length)
        visible = places[:, None] >= places[None, :]
        if self.window:
            visible &= places[:, None] - places[None, :] < self.window
        mask = torch.zeros(length, length).masked_fill(~visible, float("-inf"))
        x = self.weights["model.embed_tokens.weight"][ids]
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, prefix + "input_layernorm.weight"), layer, cos, sin, mask)
            x = x + self.mlp(self.norm(x, prefix + "post_attention_layernorm.weight"), layer)
        x = self.norm(x, "model.norm.weight")
        tied = self.config.get("tie_word_embeddings", False)
        return x @ self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"].t()

    def loss_sum(self, row):
        """Sum over supervised positions of the negative log-likelihood, and their number."""
        logits = self.forward(torch.tensor(row["ids"]))
        targets = torch.tensor(row["labels"][1:])
        loss = torch.nn.functional.cross_entropy(logits[:-1], targets, ignore_index=-100, reduction="sum")
        return loss, int((targets != -100).sum())


def train(model, rows, steps, batch_size, learning_rate, weight_decay=0.0, max_grad_norm=1.0, on_step=None):
    """AdamW over `rows` in order, epoch after epoch, the last batch of each with what is left. Losses, a step each."""
    decayed = [t for t in model.trained.values() if t.dim() > 1]
    others = [t for t in model.trained.values() if t.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, betas=(0.9, 0.999), eps=1e-8)
    everything, losses, at = list(model.trained.values()), [], 0
    for _ in range(steps):
        batch = rows[at:at + batch_size]
        at = at + batch_size if at + batch_size < len(rows) else 0
        supervised = sum(sum(label != -100 for label in row["labels"][1:]) for row in batch)
        total = 0.0
        optimizer.zero_grad()
        for row in batch:
            loss, _ = model.loss_sum(row)
            (loss / supervised).backward()
            total += loss.item()
        norm = float(torch.nn.utils.clip_grad_norm_(everything, max_grad_norm))
        optimizer.step()
        losses.append(total / supervised)
        if on_step:
            on_step(losses[-1], norm)
    return losses
