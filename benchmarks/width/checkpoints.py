"""GPT-2 folders and Megatron shards of CPM's width with random weights, written one tensor at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from shoestring.lm.weights.megatron import entries, shard
from shoestring.lm.weights.safetensors_file import Shape, Writer
from shoestring.lm.weights.sources import HEADS, FolderSource

HIDDEN, POSITIONS, VOCABULARY, LAYERS = 2560, 1024, 30_000, 32
WORDS = (
    "天气", "北京", "今天", "我们", "中国", "人民", "学习", "工作", "生活", "美丽", "城市", "历史", "文化", "经济",
    "发展",
)  # fmt: skip


def build(folder: Path, layers: int, vocabulary: Path, hidden: int = HIDDEN) -> Path:
    """Writes a folder unless it is there already, and returns it."""
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    plan = {
        f"transformer.{name}": Shape(torch.float16, sizes) for name, sizes in _sizes(layers, hidden).items()
    }
    block = torch.randn(1 << 24).mul_(0.02).half()
    with (folder / "model.safetensors").open("wb") as file:
        writer = Writer(file, plan)
        for name, shape in plan.items():
            count = torch.Size(shape.sizes).numel()
            values = block.repeat(-(-count // len(block)))[:count].view(shape.sizes)
            writer.write(name, values + 1 if "ln_" in name and name.endswith("weight") else values)
    from shoestring.lm.tokenizer import CpmTokenizer

    CpmTokenizer(vocabulary).save_pretrained(folder)
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "n_embd": hidden, "n_layer": layers, "n_head": HEADS[hidden], "n_positions": POSITIONS,
        "vocab_size": VOCABULARY,
        "layer_norm_epsilon": 1e-5, "bos_token_id": None, "eos_token_id": 7, "pad_token_id": 5,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def shards(model: Path, folder: Path, layers: int) -> Path:
    """Writes a folder's weights as two Megatron shards in the older pickle format, as CPM-LM was released."""
    source, pieces = FolderSource(model), [{}, {}]
    for entry in entries(layers):
        whole = source.read(entry.hugging_face)
        for rank, piece in enumerate(shard(entry.rule, whole.t() if entry.transposed else whole, 2)):
            pieces[rank][entry.megatron] = piece.clone()
    folder.mkdir()
    for rank in range(2):
        path = folder / f"mp_rank_{rank:02d}_model_states.pt"
        torch.save({"module": pieces[rank], "mp_world_size": 2}, path, _use_new_zipfile_serialization=False)
        pieces[rank] = {}
    shutil.copy(model / "chinese_vocab.model", folder)
    return folder


def weights(folder: Path) -> int:
    """Returns the bytes that a token reads: the file, without the positions, which are a thousandth."""
    return max(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".gguf"))


def _sizes(layers: int, hidden: int) -> dict[str, tuple[int, ...]]:
    sizes: dict[str, tuple[int, ...]] = {
        "wte.weight": (VOCABULARY, hidden),
        "wpe.weight": (POSITIONS, hidden),
    }
    linear = {"attn.c_attn": (1, 3), "attn.c_proj": (1, 1), "mlp.c_fc": (1, 4), "mlp.c_proj": (4, 1)}
    for layer in range(layers):
        for name, (inputs, outputs) in linear.items():
            sizes[f"h.{layer}.{name}.weight"] = (inputs * hidden, outputs * hidden)
            sizes[f"h.{layer}.{name}.bias"] = (outputs * hidden,)
        for name in ("ln_1", "ln_2"):
            sizes |= {f"h.{layer}.{name}.{part}": (hidden,) for part in ("weight", "bias")}
    return sizes | {"ln_f.weight": (hidden,), "ln_f.bias": (hidden,)}
