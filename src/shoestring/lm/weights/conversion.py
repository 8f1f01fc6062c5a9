"""From released weights to a folder that runs: Hugging Face, int8, int4, or GGUF; one tensor in memory at a time.

- A Hugging Face folder keeps the weights' bits; AutoModel loads it.
- int8 and int4 folders are read by `shoestring lm` alone; the embedding and the head, which it is tied to, stay
  at 8 bits. transformers refuses such a folder rather than reading it wrongly.
- The vocabulary is checked against the weights.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.files import atomic, atomic_folder
from shoestring.lm.tokenizer import FILE, CpmTokenizer
from shoestring.lm.weights import gguf_file
from shoestring.lm.weights.gguf_source import GgufSource
from shoestring.lm.weights.loading import require_fitting
from shoestring.lm.weights.opening import open_source
from shoestring.lm.weights.pieces import Piece, plain, quantized
from shoestring.lm.weights.published import checking
from shoestring.lm.weights.quantize import GROUP
from shoestring.lm.weights.safetensors_file import Writer
from shoestring.lm.weights.skeleton import config_of, empty, layers_of, matched, require_mostly_linear
from shoestring.lm.weights.sources import QUANTIZED, MegatronSource, Source
from shoestring.ui import UI

WEIGHTS = "model.safetensors"
TARGETS = ("hf", "int8", "int4", *gguf_file.TYPES)
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", FILE, "generation_config.json", "chat_template.jinja",
)  # fmt: skip
_THREADS = 2  # that make tensors, each of which holds one in memory
_FLUSHED = 128 << 20  # bytes after which the disk is told to begin writing
_VOCABULARY_PLACES = (FILE, f"../{FILE}", f"bpe_3w_new/{FILE}", f"../bpe_3w_new/{FILE}")


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote.

    Args:
        output: the folder.
        parameters: number of weights.
        bytes: of the weights' file.
    """

    output: Path
    parameters: int
    bytes: int


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    to: str = "hf",
    vocabulary: str | os.PathLike[str] | None = None,
    heads: int | None = None,
    published: bool = True,
    overwrite: bool = False,
    ui: UI | None = None,
) -> Converted:
    """Converts weights.

    Args:
        source: the folder of CPM's shards, or a Hugging Face folder.
        output: a folder to be made.
        to: one of `TARGETS`.
        vocabulary: CPM's chinese_vocab.model, if it does not lie with the weights.
        heads: number of attention heads, for shards of an unknown size.
        published: check CPM-LM's files against the published SHA-1 and MD5.
        overwrite: replace a folder.
        ui: shows progress.

    Raises:
        InputError: weights or vocabulary are missing, damaged, refused, or do not fit each other.
        OptionError: unknown target.
        OutputError: the output exists or cannot be written.
    """
    ui = ui or UI(quiet=True)
    if to not in TARGETS:
        raise OptionError(f"--to {to}: unknown; choose one of {', '.join(TARGETS)}")
    weights = open_source(source, heads)
    _require_plain(weights, source)
    tokenizer = cpm_vocabulary(weights, vocabulary)
    few = to in ("int8", "int4")
    pieces = list(_few_pieces(weights, int(to[3:])) if few else _same_pieces(weights))
    total = sum(shape.bytes for shape in weights.shapes.values())
    parameters = sum(math.prod(shape.sizes) for shape in weights.shapes.values())
    with ExitStack() as stack:
        shards = (
            weights.files
            if published and isinstance(weights, MegatronSource) and weights.as_published
            else []
        )
        check = stack.enter_context(checking(shards))
        bar = stack.enter_context(ui.bar(f"converting to {to}", total, "B"))
        draft = stack.enter_context(atomic_folder(Path(output), overwrite))
        config = dict(weights.config)
        if to in gguf_file.TYPES:
            size = gguf_file.write(draft, weights, to, bar.update)
        else:
            _write_weights(draft / WEIGHTS, pieces, check, lambda piece: bar.update(piece.bytes))
            size = (draft / WEIGHTS).stat().st_size
        check.result()
        if few:
            config["quantization_config"] = {"bits": int(to[3:]), "group": GROUP}
            config |= {"model_type": QUANTIZED, "base_model_type": config["model_type"]}
        (draft / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
        _write_tokenizer(draft, weights, tokenizer)
        (draft / "README.md").write_text(_card(Path(output).name, weights, to, parameters), "utf-8")
    return Converted(Path(output), parameters, size)


def _few_pieces(weights: Source, bits: int) -> Iterator[Piece]:
    model = empty(config_of(weights.config))
    layers = layers_of(model)
    require_mostly_linear(model, layers)
    return quantized(matched(weights, model), layers, bits)


def _same_pieces(weights: Source) -> Iterator[Piece]:
    require_fitting(weights)
    return plain(weights)


def cpm_vocabulary(weights: Source, vocabulary: str | os.PathLike[str] | None) -> CpmTokenizer | None:
    """Returns CPM's tokenizer for CPM's weights, or None for others, which bring their own.

    Raises:
        InputError: it is needed and not there, or is not that of the weights.
    """
    if vocabulary is None and not isinstance(weights, MegatronSource):
        return None
    places = (
        [Path(vocabulary)]
        if vocabulary is not None
        else [weights.folder / place for place in _VOCABULARY_PLACES]
    )
    found = next((place for place in places if place.is_file()), None)
    if found is None and vocabulary is None:
        raise InputError(f"{weights.folder}: {FILE} is not with the weights; pass --vocab FILE")
    tokenizer = CpmTokenizer(found or places[0])
    wanted = weights.config["vocab_size"]
    if len(tokenizer) != wanted:
        raise InputError(
            f"{found}: {len(tokenizer):,} pieces, but the weights have {wanted:,}; it belongs to another model"
        )
    return tokenizer


def _write_weights(path: Path, pieces: list[Piece], check: Future, progress: Callable[[Piece], Any]) -> None:
    """Makes and writes pieces in a few threads; the disk takes what is there while others are being made."""
    shapes = {name: shape for piece in pieces for name, shape in piece.shapes.items()}
    with atomic(path, "wb") as file, ExitStack() as stack:
        writer = Writer(file, shapes)

        def work(piece: Piece) -> Piece:
            for name, tensor in piece.make().items():
                writer.write(name, tensor)
            return piece

        makers, flusher = (ThreadPoolExecutor(threads) for threads in (_THREADS, 1))
        for pool in (makers, flusher):
            stack.callback(pool.shutdown, cancel_futures=True)
        unflushed = 0
        for piece in makers.map(work, pieces):
            progress(piece)
            if check.done():
                check.result()
            unflushed += sum(shape.bytes for shape in piece.shapes.values())
            if unflushed > _FLUSHED:
                flusher.submit(os.fsync, file.fileno())
                unflushed = 0


def _write_tokenizer(draft: Path, weights: Source, tokenizer: CpmTokenizer | None) -> None:
    if isinstance(weights, GgufSource):
        weights.tokenizer.save_pretrained(draft)
        ends = {"eos_token_id": weights.ends, "bos_token_id": weights.tokenizer.bos_token_id}
        (draft / "generation_config.json").write_text(json.dumps(ends) + "\n", "utf-8")
        return
    if tokenizer is not None:
        tokenizer.model_max_length = weights.config.get("n_positions", tokenizer.model_max_length)
        tokenizer.save_pretrained(draft)
        return
    for name in _TOKENIZER_FILES:
        if (weights.folder / name).is_file():
            shutil.copyfile(weights.folder / name, draft / name)


def _require_plain(weights: Source, source: object) -> None:
    if "quantization_config" in weights.config:
        raise InputError(f"{source}: is quantized already; convert from the unquantized weights")


def _card(title: str, weights: Source, to: str, parameters: int) -> str:
    kind = "as they were" if to == "hf" else f"in {to}, to be run by `shoestring lm`"
    return hub.model_card(
        title,
        f"Weights converted by `shoestring lm convert`, {kind}.",
        tags=["text-generation"],
        facts={"parameters": f"{parameters:,}", "model_type": weights.config["model_type"]},
        example=f"""
import shoestring.lm.tokenizer  # registers CPM's tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{title}")
tokenizer = AutoTokenizer.from_pretrained("{title}")
"""
        if to == "hf"
        else None,
    )
