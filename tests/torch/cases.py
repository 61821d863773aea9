"""Tiny random base models, adapters and rows, drawn from a seed."""

import json
import os

import torch

from llama_torch import MODULES, module_path, write_safetensors

SMALL = {"hidden_act": "silu", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-6,
         "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": 96, "torch_dtype": "float32"}

CASES = {
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 12},
    "mistral": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 11},
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "llama3-rope": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_theta": 500000.0,
                    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                     "high_freq_factor": 4.0, "original_max_position_embeddings": 32}},
}


def linear_sizes(config):
    hidden, head_dim = config["hidden_size"], config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    wide = config["intermediate_size"]
    return {"q_proj": (queries, hidden), "k_proj": (keys, hidden), "v_proj": (keys, hidden), "o_proj": (hidden, queries),
            "gate_proj": (wide, hidden), "up_proj": (wide, hidden), "down_proj": (hidden, wide)}


def write_base(directory, config, seed, deviation=0.2):
    """A Hugging Face directory with random weights."""
    os.makedirs(directory, exist_ok=True)
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=random) * deviation
    near_one = lambda *shape: 1 + torch.randn(*shape, generator=random) * 0.1
    hidden = config["hidden_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    weights = {"model.embed_tokens.weight": draw(config["vocab_size"], hidden), "model.norm.weight": near_one(hidden)}
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = draw(config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        weights[prefix + "input_layernorm.weight"] = near_one(hidden)
        weights[prefix + "post_attention_layernorm.weight"] = near_one(hidden)
        for module, (rows, columns) in linear_sizes(config).items():
            weights[module_path(layer, module) + ".weight"] = draw(rows, columns)
            if config["architectures"] == ["Qwen2ForCausalLM"] and module in ("q_proj", "k_proj", "v_proj"):
                weights[module_path(layer, module) + ".bias"] = draw(rows)
        if config["architectures"] == ["Qwen3ForCausalLM"]:
            weights[prefix + "self_attn.q_norm.weight"] = near_one(head_dim)
            weights[prefix + "self_attn.k_norm.weight"] = near_one(head_dim)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    write_safetensors(os.path.join(directory, "model.safetensors"), weights)


def write_adapter(directory, config, seed, rank=8, alpha=16, deviation=0.05):
    """A PEFT adapter on all seven linear layers, A and B both random."""
    os.makedirs(directory, exist_ok=True)
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for module, (rows, columns) in linear_sizes(config).items():
            prefix = "base_model.model." + module_path(layer, module)
            tensors[prefix + ".lora_A.weight"] = torch.randn(rank, columns, generator=random) * deviation
            tensors[prefix + ".lora_B.weight"] = torch.randn(rows, rank, generator=random) * deviation
    write_safetensors(os.path.join(directory, "adapter_model.safetensors"), tensors)
    with open(os.path.join(directory, "adapter_config.json"), "w") as file:
        json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "lora_dropout": 0.0,
                   "bias": "none", "fan_in_fan_out": False, "use_rslora": False, "use_dora": False,
                   "target_modules": MODULES, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {},
                   "base_model_name_or_path": "base", "inference_mode": True, "peft_version": "0.13.2"}, file)


def random_rows(count, vocabulary, seed, shortest=6, longest=40, all_supervised=False):
    """Rows whose first third is a prompt (not supervised), of many lengths."""
    random = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        length = int(torch.randint(shortest, longest + 1, (1,), generator=random))
        ids = torch.randint(0, vocabulary, (length,), generator=random).tolist()
        prompt = 0 if all_supervised else length // 3
        rows.append({"ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return rows


def write_rows(path, rows):
    with open(path, "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
