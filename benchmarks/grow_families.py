"""Every text model that transformers lists, at six blocks or more: grown 2x and compared, or refused by name.

    python benchmarks/grow_families.py [--go-on] [--kinds olmo3 phi ...] [--tie untied] [-o OUTPUT]

A kind is what `AutoModelForCausalLM`, `AutoModelForMaskedLM` and `AutoModelForSeq2SeqLM` know. Of each a random model
is made from its own default config: its default pattern of blocks (lists and periods as its code derives them), six of
them at least, sizes that are unequal to each other and larger than those that inference tries, norms and biases far
from 1 and 0. It is saved by transformers, grown from folder to folder by `grow`, with rules where there are some, and
both folders are loaded by transformers in float64, norms too. Each kind has a process of its own with a limit of memory
and of time, and what is found is written at once: `--go-on` tries only what is left. One of four things is found:

    exact     outputs agree to 1e-12 of the largest
    refused   grow says in one line why not; that line is kept
    crashed   anything else was raised
    wrong     grow says that it is exact and it is not

Kinds that are made of several models (speech, pictures) and have no text model of their own under that name are in the
list as well: transformers lists them. What cannot be made at a small size by this script is counted as `not made`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig
from transformers.models.auto import modeling_auto
from transformers.utils import logging

from shoestring._errors import ShoestringError
from shoestring.grow.growing import grow
from shoestring.grow.plan.request import Request
from shoestring.grow.stored.wide import wide

LISTS = (
    modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)
LIMIT = 1e-12
SECONDS = 120  # of processor time, for one kind
LARGEST = 30_000_000  # numbers
MEMORY = 5 << 30  # bytes of address space, of which torch alone takes two
SIZES: dict[str, int] = {
    "hidden_size": 128, "num_attention_heads": 8, "num_key_value_heads": 4, "num_kv_heads": 4, "intermediate_size": 208,
    "vocab_size": 151, "max_position_embeddings": 80, "n_positions": 80, "moe_intermediate_size": 88,
    "shared_expert_intermediate_size": 104, "encoder_ffn_dim": 208, "decoder_ffn_dim": 208, "ffn_dim": 208, "d_ff": 208,
    "encoder_attention_heads": 8, "decoder_attention_heads": 8, "num_encoder_attention_heads": 8,
    "num_decoder_attention_heads": 8, "attention_heads": 8, "num_experts": 12, "num_local_experts": 12,
    "n_routed_experts": 12, "moe_num_experts": 12, "num_experts_per_tok": 2, "moe_k": 2, "moe_topk": 2,
    "num_experts_per_token": 2, "n_group": 1, "topk_group": 1, "num_expert_group": 1, "q_lora_rank": 40,
    "kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 24, "v_head_dim": 24, "d_kv": 24,
    "embedding_size": 48, "ffn_hidden_size": 208, "dff": 208, "dim_ff": 208, "dim_head": 24, "d_inner": 208,
    "hidden_dim": 208, "d_head": 16, "rotary_dim": 8, "intermediate_size_mlp": 224, "expert_ffn_hidden_size": 88,
    "shared_intermediate_size": 104, "dense_intermediate_size": 224, "moe_shared_expert_intermediate_size": 104,
    "shared_experts_intermediate_size": 104, "query_pre_attn_scalar": 24, "src_vocab_size": 151, "tgt_vocab_size": 151,
    "decoder_vocab_size": 151, "index_head_dim": 32, "index_n_heads": 4, "o_lora_rank": 32, "mamba_d_state": 16,
    "state_size": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "linear_head_dim": 16, "linear_num_heads": 8, "max_source_positions": 80,
    "max_target_positions": 80, "swa_num_attention_heads": 8, "swa_num_key_value_heads": 4, "swa_head_dim": 24,
    "feed_forward_size": 208, "attention_head_size": 16, "lru_width": 128, "word_embed_proj_dim": 128,
    "pooler_hidden_size": 128, "input_embedding_size": 48, "output_embedding_size": 96, "entity_vocab_size": 40,
    "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": 151, "num_chroma": 12,
    "n_shared_experts": 1, "num_shared_experts": 1,
}  # fmt: skip
BLOCKS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_decoder_layers", "num_encoder_layers",
          "num_layers", "n_layers", "num_blocks")  # fmt: skip
AS_HIDDEN = ("attention_hidden_size", "embedding_dim")
GROUPED = ("num_key_value_heads", "num_kv_heads")
OTHERS: dict[str, dict[str, Any]] = {  # what a kind's own code wants besides
    "gpt_neo": {"attention_types": [[["global", "local"], 3]]},
    "reformer": {"axial_pos_embds": False, "is_decoder": True},
    "mamba2": {"num_heads": 16, "head_dim": 16},
    "dbrx": {"d_model": 128, "n_heads": 8, "n_layers": 6, "max_seq_len": 80},
    "modernbert": {"pad_token_id": 0}, "modernbert-decoder": {"pad_token_id": 0},
    "axk1": {"head_dim": 16}, "bailing_hybrid": {"head_dim": 16}, "deepseek_v32": {"head_dim": 16},
    "cohere_compass_text": {
        "rope_parameters": {
            f"{kind}_attention": {"rope_type": "default", "rope_theta": 1e4} for kind in ("full", "sliding")
        }
    },
    "dots1": {"n_routed_experts": 12, "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 1},
    "hunyuan_v1_moe": {"head_dim": 16, "num_experts": 4, "moe_topk": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 3},
    "esm": {"vocab_size": 151, "pad_token_id": 1, "mask_token_id": 2, "position_embedding_type": "rotary"},
    "esmc": {"vocab_size": 151},
    "funnel": {"block_sizes": [2, 2, 2], "num_hidden_layers": None, "num_blocks": None},
    "nanochat": {"num_attention_heads": 8, "num_key_value_heads": 4},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "gemma3n_text": {
        "num_kv_shared_layers": 0, "intermediate_size": [208] * 6, "activation_sparsity_pattern": [0.0] * 6,
        "laurel_rank": 16, "layer_types": ["sliding_attention", "full_attention"] * 3,
    },
}  # fmt: skip


def settings(kind: str, blocks: int, head_dim: int | None, unset: bool = False) -> dict[str, Any]:
    """Returns small, unequal sizes for what the default config of a kind has, and for those of its parts.

    Args:
        kind: the `model_type`.
        blocks: how many.
        head_dim: where the config has one.
        unset: set too what the default config leaves open.
    """
    default = AutoConfig.for_model(kind)
    chosen = sized(default, blocks, head_dim, unset)
    for name in getattr(default, "sub_configs", {}):
        part = getattr(default, name, None)
        if part is not None:
            chosen[name] = {"model_type": part.model_type, **sized(part, blocks, head_dim, unset)}
    return {key: value for key, value in (chosen | OTHERS.get(kind, {})).items() if value is not None}


def sized(default: Any, blocks: int, head_dim: int | None, unset: bool) -> dict[str, Any]:
    """Returns small sizes for what one config has."""
    names = getattr(default, "attribute_map", {})
    chosen: dict[str, Any] = {}
    for name, value in {**SIZES, **dict.fromkeys(BLOCKS, blocks)}.items():
        key, old = names.get(name, name), getattr(default, names.get(name, name), None)
        known = isinstance(old, int) and not isinstance(old, bool)
        if (known and (old > value or (name in BLOCKS and old))) or (
            unset and old is None and hasattr(default, key)
        ):
            chosen[key] = value
    if default_groups(default) == 1:
        chosen = {key: 8 if key in GROUPED else value for key, value in chosen.items()}
    for name in AS_HIDDEN:
        if getattr(default, name, None) == getattr(default, "hidden_size", 0):
            chosen[name] = 128
    if head_dim and (
        getattr(default, "head_dim", None) is not None or (unset and hasattr(default, "head_dim"))
    ):
        chosen[names.get("head_dim", "head_dim")] = head_dim
    for key, value in default.to_dict().items():
        if key.endswith("token_id") and isinstance(value, int) and value >= SIZES["vocab_size"]:
            chosen[key] = 0
    return chosen


def default_groups(config: Any) -> int:
    """Returns how many query heads share keys by default."""
    groups = next(
        (getattr(config, name) for name in GROUPED if isinstance(getattr(config, name, None), int)), 0
    )
    heads = getattr(config, "num_attention_heads", 0)
    return heads // groups if groups and isinstance(heads, int) else 0


def head(kind: str) -> str:
    """Returns the class that is saved."""
    names = next(names[kind] for names in LISTS if kind in names)
    return names if isinstance(names, str) else names[0]


def made(kind: str, folder: Path, tie: bool | None) -> str:
    """Saves a random model of a kind; returns what it is, or raises what its code did."""
    error: Exception = ValueError("no sizes")
    for blocks, head_dim, unset in (
        (6, 24, False), (6, 16, False), (6, None, False), (8, 24, False), (8, 16, False), (12, 16, False),
        (6, None, True), (6, 16, True),
    ):  # fmt: skip
        try:
            chosen = settings(kind, blocks, head_dim, unset)
            if tie is not None:
                chosen["tie_word_embeddings"] = tie
            config = AutoConfig.for_model(kind, **chosen)
            with torch.device("meta"):
                empty = getattr(transformers, head(kind))._from_config(config)
            size = sum(each.numel() for each in empty.parameters())
            if size > LARGEST:
                raise ValueError(f"{size / 1e6:.0f} M numbers at the sizes of this script")
            torch.manual_seed(0)
            model = getattr(transformers, head(kind))._from_config(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.is_floating_point():
                        parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.05))
            model.save_pretrained(folder)
            if not torch.isfinite(computed(kind, folder)).all():
                raise ValueError("its outputs are not finite")
            return f"{blocks} blocks, {size / 1e6:.2f} M"
        except Exception as caught:
            error = caught
    raise error


def computed(kind: str, folder: Path) -> torch.Tensor:
    """Returns the logits of a saved model in float64."""
    with wide(), torch.no_grad():
        model = getattr(transformers, head(kind)).from_pretrained(
            folder, dtype=torch.float64, attn_implementation="eager"
        )
        if hasattr(model.config, "_experts_implementation"):
            model.set_experts_implementation("eager")
        model.config.use_cache = False
        ids = torch.randint(5, 150, (2, 23), generator=torch.Generator().manual_seed(3))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = ids.flip(1)
        found = model.eval()(**inputs)
    for name in ("logits", "prediction_logits", "last_hidden_state"):
        if found.get(name) is not None:
            return found[name].double()
    raise ValueError(f"returns {', '.join(found)}")


def one(kind: str, tie: bool | None) -> dict[str, Any]:
    """Makes, grows and compares one kind."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            fact: dict[str, Any] = {"made": made(kind, folder / "small", tie)}
        except Exception as error:
            return {"verdict": "not made", "why": f"{type(error).__name__}: {line(error)}"}
        try:
            report = grow(folder / "small", folder / "big", Request(hidden="2x", dtype="float64"))
            fact["rule"] = "inferred" if report.plan.inferred else "explicit"
            fact["says"] = list(report.plan.exact)
            old, new = computed(kind, folder / "small"), computed(kind, folder / "big")
            fact["error"] = float((new[..., : old.shape[-1]] - old).abs().max() / old.abs().max())
            fact["verdict"] = "exact" if fact["error"] <= LIMIT else "wrong"
        except ShoestringError as error:
            fact |= {"verdict": "refused", "why": line(error)}
        except Exception as error:
            fact |= {"verdict": "crashed", "why": f"{type(error).__name__}: {line(error)}"}
    return fact | {"seconds": round(time.perf_counter() - start, 1)}


def line(error: BaseException) -> str:
    """Returns the first lines of an error without the folder of this run."""
    text = " ".join(str(error).split())
    return text.partition("/small: ")[2][:300] or text[:300]


def limited(kind: str, tie: bool | None, answer: Connection) -> None:
    """Tries one kind in a process of its own, within SECONDS and MEMORY."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    answer.send(one(kind, tie))


def tried(kind: str, tie: bool | None) -> dict[str, Any]:
    """Returns what is found about one kind, also where its process did not live to tell."""
    forked = multiprocessing.get_context("fork")
    answer, end = forked.Pipe(duplex=False)
    worker = forked.Process(target=limited, args=(kind, tie, end))
    worker.start()
    end.close()
    try:
        return answer.recv()
    except EOFError:
        worker.join()
        what = (
            f"took more than {SECONDS} s"
            if worker.exitcode == -signal.SIGXCPU
            else f"died ({worker.exitcode})"
        )
        return {"verdict": "not tried", "why": what}
    finally:
        worker.join()


def main() -> None:
    """Tries every kind and writes what was found after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", nargs="*")
    parser.add_argument("--tie", choices=["default", "tied", "untied"], default="default")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/grow_families.json"))
    parser.add_argument(
        "--go-on", action="store_true", help="keep what the output has, try what is not tried"
    )
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    tie = {"default": None, "tied": True, "untied": False}[options.tie]
    every = sorted({kind for names in LISTS for kind in names})
    found: dict[str, dict[str, Any]] = {kind: {"verdict": "not tried"} for kind in every}
    if options.go_on:
        found |= json.loads(options.output.read_text("utf-8"))["kinds"]
    kinds = options.kinds or [kind for kind in every if found[kind]["verdict"] == "not tried"]
    for kind in kinds:
        found[kind] = fact = tried(kind, tie)
        print(f"{kind:24} {fact['verdict']:9} {fact.get('error', '')!s:24} {fact.get('why', '')}", flush=True)
        counts = Counter(each["verdict"] for each in found.values())
        summary = {
            "transformers": transformers.__version__,
            "head": options.tie,
            "kinds": len(found),
            **counts,
        }
        options.output.write_text(json.dumps({"summary": summary, "kinds": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
