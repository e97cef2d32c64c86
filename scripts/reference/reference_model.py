# SPDX-License-Identifier: Apache-2.0
"""Turns a model of the tests into what transformers loads, with the weights that the goldens name.

A GGUF file is dequantized to float32 (Q4_1, Q8_0 and F32 are enough for SmolLM2); a safetensors folder is
read as it is. Every tensor is checked against the SHA-256 in `tensors.json` before anything is computed.
"""

import hashlib
import json
import pathlib

import numpy
import torch
from gguf import GGMLQuantizationType, GGUFReader
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

BLOCK = 32

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def half(blocks: numpy.ndarray, at: int) -> numpy.ndarray:
    """The float16 at byte `at` of each block, as a float32 column."""
    return blocks[:, at : at + 2].copy().view(numpy.float16).astype(numpy.float32)


def dequantize(tensor) -> numpy.ndarray:
    """A GGUF tensor as float32, rows first (GGUF states the fastest dimension first)."""
    shape = [int(n) for n in reversed(tensor.shape)]
    raw = numpy.ascontiguousarray(tensor.data).view(numpy.uint8).reshape(-1)
    if tensor.tensor_type == GGMLQuantizationType.F32:
        return raw.view(numpy.float32).reshape(shape)
    if tensor.tensor_type == GGMLQuantizationType.Q8_0:
        blocks = raw.reshape(-1, 2 + BLOCK)
        values = half(blocks, 0) * blocks[:, 2:].copy().view(numpy.int8).astype(numpy.float32)
        return values.reshape(shape)
    if tensor.tensor_type == GGMLQuantizationType.Q4_1:
        blocks = raw.reshape(-1, 4 + BLOCK // 2)
        nibbles = numpy.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
        values = half(blocks, 0) * nibbles.astype(numpy.float32) + half(blocks, 2)
        return values.reshape(shape)
    raise SystemExit(f"{tensor.name}: type {tensor.tensor_type.name} is not one of F32, Q8_0 and Q4_1")


def in_rotation_order(weight: numpy.ndarray, heads: int) -> numpy.ndarray:
    """GGUF interleaves the two halves of each head of q and k; transformers wants one after the other."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def gguf_weights(path: pathlib.Path, config: dict) -> dict[str, torch.Tensor]:
    weights = {}
    for tensor in GGUFReader(path).tensors:
        values = dequantize(tensor)
        if tensor.name in TOP_NAMES:
            name = TOP_NAMES[tensor.name]
        else:
            _, layer, part, suffix = tensor.name.split(".")
            name = f"model.layers.{layer}.{LAYER_NAMES[part]}.{suffix}"
            if part == "attn_q":
                values = in_rotation_order(values, config["num_attention_heads"])
            if part == "attn_k":
                values = in_rotation_order(values, config["num_key_value_heads"])
        weights[name] = torch.from_numpy(numpy.array(values))
    return weights


def check_hashes(weights: dict[str, torch.Tensor], golden: pathlib.Path) -> int:
    """Every tensor equals the golden's bit for bit; the tied output projection is the embedding once more."""
    listed = json.loads((golden / "tensors.json").read_text())["tensors"]
    for name, shape, _, _, expected in listed:
        tensor = weights["model.embed_tokens.weight" if name == "lm_head.weight" else name].float()
        digest = hashlib.sha256(tensor.numpy().astype("<f4").tobytes()).hexdigest()
        if list(tensor.shape) != shape or digest != expected:
            raise SystemExit(f"{name} differs from {golden / 'tensors.json'}: the model is another one")
    return len(listed)


def transformers_folder(model: pathlib.Path, golden: pathlib.Path, folder: pathlib.Path) -> int:
    """Writes config.json and float32 or stored weights into `folder`; returns how many tensors were checked."""
    config = json.loads((golden / "tensors.json").read_text())["config"]
    if model.suffix == ".gguf":
        weights = gguf_weights(model, config)
    else:
        weights = load_file(model / "model.safetensors")
    checked = check_hashes(weights, golden)
    config |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu"}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return checked


def open_model(folder: pathlib.Path, dtype: torch.dtype) -> LlamaForCausalLM:
    model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    model.eval()
    wrong = [name for name, tensor in model.named_parameters() if tensor.dtype != dtype]
    # The angles stay float32 in every run of transformers; a model.to(bfloat16) would round them.
    if wrong or model.model.rotary_emb.inv_freq.dtype != torch.float32:
        raise SystemExit(f"not loaded as {dtype}: {wrong[:3]} {model.model.rotary_emb.inv_freq.dtype}")
    return model
