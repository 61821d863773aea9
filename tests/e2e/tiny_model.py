"""Writes a tiny Llama-family model in Hugging Face form: random weights, a byte-level tokenizer without merges, a chat
template. Big enough to be trained on, small enough that a test does it in seconds."""

import json
import os
import random
import struct

CONTEXT = 256
TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def byte_characters():
    """GPT-2's printable stand-ins for the 256 bytes, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_in, spare = {}, 256
    for byte in range(256):
        if byte in printable:
            stand_in[byte] = chr(byte)
        else:
            stand_in[byte] = chr(spare)
            spare += 1
    return [stand_in[byte] for byte in range(256)]


def tokenizer():
    vocabulary = {character: i for i, character in enumerate(byte_characters())}
    special = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True}
               for i, text in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocabulary, "merges": []}}


def config(hidden, layers, context):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
            "intermediate_size": 2 * hidden, "num_hidden_layers": layers, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": context, "vocab_size": 272, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": 256,
            "eos_token_id": 258, "torch_dtype": "float32"}


def shapes(settings):
    hidden, inner = settings["hidden_size"], settings["intermediate_size"]
    narrow = hidden // settings["num_attention_heads"] * settings["num_key_value_heads"]
    yield "model.embed_tokens.weight", (settings["vocab_size"], hidden)
    for layer in range(settings["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (hidden,)
        yield at + "self_attn.q_proj.weight", (hidden, hidden)
        yield at + "self_attn.k_proj.weight", (narrow, hidden)
        yield at + "self_attn.v_proj.weight", (narrow, hidden)
        yield at + "self_attn.o_proj.weight", (hidden, hidden)
        yield at + "post_attention_layernorm.weight", (hidden,)
        yield at + "mlp.gate_proj.weight", (inner, hidden)
        yield at + "mlp.up_proj.weight", (inner, hidden)
        yield at + "mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)


def tensors(settings, bf16=False):
    """(name, shape, bytes): norms are one, the rest is drawn from a fixed seed. A bfloat16 is a float's upper half."""
    draw = random.Random(20)
    for name, shape in shapes(settings):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0] * count if len(shape) == 1 else [draw.gauss(0, 0.08) for _ in range(count)]
        whole = struct.pack(f"<{count}f", *values)
        yield name, shape, b"".join(whole[at + 2:at + 4] for at in range(0, len(whole), 4)) if bf16 else whole


def safetensors(parts, bf16=False):
    """The bytes of a file that holds `parts`, each as tensors() gives it."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, data in parts:
        header[name] = {"dtype": "BF16" if bf16 else "F32", "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in parts)


def write_shards(directory, settings, shards):
    """The weights in bfloat16, dealt to so many files, and their index."""
    parts = list(tensors(settings, bf16=True))
    placed, size = {}, 0
    for shard in range(shards):
        name, mine = f"model-{shard + 1:05}-of-{shards:05}.safetensors", parts[shard::shards]
        with open(os.path.join(directory, name), "wb") as file:
            file.write(safetensors(mine, bf16=True))
        placed.update({tensor: name for tensor, _, _ in mine})
        size += sum(len(data) for _, _, data in mine)
    with open(os.path.join(directory, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"metadata": {"total_size": size}, "weight_map": placed}, file)


def write(directory, hidden=64, layers=2, shards=0, context=CONTEXT):
    """`shards`: 0 for one file in single precision, else so many in bfloat16."""
    os.makedirs(directory, exist_ok=True)
    settings = config(hidden, layers, context)
    if shards:
        settings["torch_dtype"] = "bfloat16"
    tokenizer_config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": None, "eos_token": "<|im_end|>",
                        "pad_token": "<|endoftext|>", "add_bos_token": False, "model_max_length": context,
                        "chat_template": TEMPLATE}
    for name, content in [("config.json", settings), ("tokenizer.json", tokenizer()),
                          ("tokenizer_config.json", tokenizer_config)]:
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            json.dump(content, file)
    if shards:
        write_shards(directory, settings, shards)
        return directory
    with open(os.path.join(directory, "model.safetensors"), "wb") as file:
        file.write(safetensors(list(tensors(settings))))
    return directory
