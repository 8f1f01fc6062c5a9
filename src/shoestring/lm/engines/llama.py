"""The llama.cpp back end, for GGUF files: the same interface, over llama-cpp-python's C functions.

Rows are llama.cpp's sequences in one cache; forks and doubled rows share cells instead of copying them.
llama.cpp gets token ids and gives logits; tokenizer and sampling are the same as with torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.lm.engines.base import (
    CacheFull,
    Progress,
    Token,
    joined,
    log_chances,
    require_length,
    tokens_of,
)
from shoestring.lm.engines.texts import Texts, ends_of_folder, fitted, tokenizer_of
from shoestring.lm.weights.gguf_file import FILE
from shoestring.lm.weights.gguf_header import read_header
from shoestring.lm.weights.gguf_tokenizer import ends_of_gguf, tokenizer_of_gguf

ROWS = 64  # sequences at once
_CHUNK = 512  # tokens that are read at once
_CONTEXTS, _CELLS = 4, 8192  # rows of full length that the cache has room for, and tokens at most


class LlamaEngine:
    """A GGUF model, see `engine.Engine`.

    Args:
        path: a GGUF file; it has a vocabulary, or lies beside config.json and a tokenizer.
        threads: 0 is every core.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        self.api: Any = require("gguf", "llama_cpp")
        self._log = self.api.llama_log_callback(lambda level, text, data: None)
        self.api.llama_log_set(self._log, None)
        self.api.llama_backend_init()
        settings = self.api.llama_model_default_params()
        settings.use_extra_bufts = False  # which crash on processors with AMX
        self._model = self.api.llama_model_load_from_file(str(path).encode(), settings)
        if not self._model:
            raise InputError(
                f"{path}: llama.cpp cannot read it; it is damaged or half copied, convert it again"
            )
        self.vocabulary, positions, self.texts = _described(path)
        self.positions, self.tokenizer = min(positions, _CELLS), self.texts.tokenizer
        self.name = path.resolve().parent.name if path.name == FILE else path.stem
        self.kind = "llama.cpp on cpu"
        threads = threads or len(os.sched_getaffinity(0))
        self.context = self.api.llama_init_from_model(self._model, self._settings(threads))
        if not self.context:
            raise InputError(f"{path}: llama.cpp has no memory for its cache")
        heads, kept = self.api.llama_model_n_head(self._model), self.api.llama_model_n_head_kv(self._model)
        width = self.api.llama_model_n_embd(self._model) // heads * kept
        self.cell_bytes = self.api.llama_model_n_layer(self._model) * 2 * width * 2  # keys and values in fp16
        self.cache_bytes: int | None = self.api.llama_n_ctx(self.context) * self.cell_bytes
        self._memory = self.api.llama_get_memory(self.context)
        self._batch = self.api.llama_batch_init(_CHUNK, 0, 1)
        self._free = list(range(ROWS))

    def open(self, rows: Sequence[Sequence[int]], progress: Progress | None = None) -> LlamaSession:
        """Returns a session that has read the rows."""
        session = LlamaSession(self, [[] for _ in rows], [self.take() for _ in rows])
        session.read([list(row) for row in rows], progress)
        return session

    def logprobs(self, ids: Sequence[int]) -> list[float]:
        """Returns the log-probability of each token but the first."""
        return [token.logprob for token in self.tokens(ids, 0)]

    def tokens(self, ids: Sequence[int], top: int) -> list[Token]:
        """Returns each token but the first with its log-probability and the `top` most likely ones."""
        session = LlamaSession(self, [[]], [self.take()])
        try:
            found = []
            for begin in range(0, len(ids) - 1, _CHUNK):
                part = list(ids[begin : min(begin + _CHUNK, len(ids) - 1)])
                rows = [
                    (token, begin + place, session.sequences[0], True) for place, token in enumerate(part)
                ]
                asked = torch.tensor(list(ids[begin + 1 : begin + 1 + len(part)]))
                found += tokens_of(self.decode(rows), asked, top)
            return found
        finally:
            session.close()

    def take(self) -> int:
        """Returns a sequence that nobody uses."""
        if not self._free:
            raise OptionError(
                f"llama.cpp: more than {ROWS} rows at once; ask for fewer samples, beams or candidates"
            )
        return self._free.pop()

    def release(self, sequence: int) -> None:
        """Forgets a sequence's tokens."""
        self.api.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self._free.append(sequence)

    def copy(self, sequence: int, length: int) -> int:
        """Returns a new sequence of the first tokens of another; they share cells."""
        new = self.take()
        self.api.llama_memory_seq_cp(self._memory, sequence, new, 0, length)
        return new

    def decode(self, tokens: Sequence[tuple[int, int, int, bool]]) -> Tensor:
        """Reads (token, position, sequence, whether its logits are wanted) and returns the logits wanted."""
        import numpy as np

        found, rest = [], iter(tokens)
        while part := list(islice(rest, _CHUNK)):
            for place, (token, position, sequence, wanted) in enumerate(part):
                self._batch.token[place] = token
                self._batch.pos[place] = position
                self._batch.n_seq_id[place] = 1
                self._batch.seq_id[place][0] = sequence
                self._batch.logits[place] = wanted
            self._batch.n_tokens = len(part)
            if self.api.llama_decode(self.context, self._batch) != 0:
                raise CacheFull("llama.cpp: its cache is full; ask for fewer or shorter rows")
            for place, (*_, wanted) in enumerate(part):
                if wanted:
                    pointer = self.api.llama_get_logits_ith(self.context, place)
                    found.append(torch.from_numpy(np.ctypeslib.as_array(pointer, (self.vocabulary,)).copy()))
        return torch.stack(found) if found else torch.empty(0, self.vocabulary)

    def _settings(self, threads: int) -> Any:
        settings = self.api.llama_context_default_params()
        settings.n_ctx = min(self.positions * _CONTEXTS, _CELLS)
        settings.n_batch = settings.n_ubatch = _CHUNK
        settings.n_seq_max = ROWS
        settings.kv_unified = True
        settings.n_threads = settings.n_threads_batch = threads
        return settings


def _described(path: Path) -> tuple[int, int, Texts]:
    """Returns the vocabulary's size, the positions and the texts of a file, or of the folder that we put it in."""
    if (path.parent / "config.json").is_file():
        config = json.loads((path.parent / "config.json").read_text("utf-8"))
        size, positions = config["vocab_size"], config.get("n_positions") or config["max_position_embeddings"]
        return size, positions, Texts(tokenizer_of(path.parent, size), ends_of_folder(path.parent, size))
    values, tensors = read_header(path)
    size, positions = (
        tensors["token_embd.weight"].sizes[0],
        values[f"{values['general.architecture']}.context_length"],
    )
    return size, positions, Texts(fitted(tokenizer_of_gguf(values, path), size, path), ends_of_gguf(values))


class LlamaSession:
    """See `engine.Session`."""

    def __init__(self, engine: LlamaEngine, ids: list[list[int]], sequences: list[int]) -> None:
        self.engine, self.ids, self.sequences = engine, ids, sequences
        self.logits = torch.empty(len(ids), 0)

    @property
    def nbytes(self) -> int:
        """Memory that the keys and values take."""
        return sum(map(len, self.ids)) * self.engine.cell_bytes

    def read(self, rows: list[list[int]], progress: Progress | None = None) -> None:
        """Appends tokens to each row."""
        if not all(rows):
            raise OptionError("a prompt without tokens: there is nothing to go on from; give at least a word")
        for old, new in zip(self.ids, rows, strict=True):
            require_length(len(old) + len(new), self.engine.positions, "the prompt")
        found = []
        for index, row in enumerate(rows):
            seen, last = len(self.ids[index]), len(row) - 1
            tokens = [(t, seen + p, self.sequences[index], p == last) for p, t in enumerate(row)]
            for begin in range(0, len(tokens), _CHUNK):
                found.append(self.engine.decode(tokens[begin : begin + _CHUNK]))
                if progress is not None:
                    progress(len(tokens[begin : begin + _CHUNK]))
            self.ids[index] = self.ids[index] + row
        self.logits = torch.cat(found)

    def extend(self, tokens: Sequence[int], progress: Progress | None = None) -> None:
        """Appends tokens to the only row."""
        self.read([list(tokens)], progress)

    def step(self, tokens: Sequence[int]) -> None:
        """Appends one token to each row."""
        rows = zip(tokens, self.ids, self.sequences, strict=True)
        self.logits = self.engine.decode([(token, len(ids), sequence, True) for token, ids, sequence in rows])
        for row, token in zip(self.ids, tokens, strict=True):
            row.append(token)

    def select(self, rows: Sequence[int]) -> None:
        """Keeps the given rows; doubled ones share cells."""
        old, used, sequences = self.sequences, set(), []
        for row in rows:
            again = row in used
            sequences.append(self.engine.copy(old[row], -1) if again else old[row])
            used.add(row)
        for row in set(range(len(old))) - used:
            self.engine.release(old[row])
        self.sequences, self.ids = sequences, [list(self.ids[row]) for row in rows]
        self.logits = self.logits[list(rows)]

    def fork(self, length: int) -> LlamaSession:
        """Returns a session of the first tokens of the only row."""
        new = LlamaSession(self.engine, [self.ids[0][:length]], [self.engine.copy(self.sequences[0], length)])
        if length == len(self.ids[0]):
            new.logits = self.logits
        return new

    def join(self, others: Sequence[Any]) -> None:
        """Takes over the rows of other sessions."""
        everyone = [each for each in (self, *others) if each.ids]
        self.logits = joined([each.logits for each in everyone])
        ids, sequences = [row for each in everyone for row in each.ids], [
            sequence for each in everyone for sequence in each.sequences
        ]  # fmt: skip
        for each in others:
            each.ids, each.sequences = [], []
        self.ids, self.sequences = ids, sequences

    def score(self, continuations: Sequence[Sequence[int]], after: Sequence[int] = ()) -> list[list[float]]:
        """Returns the log-probability of each token of each continuation of the only row and `after`."""
        if after:
            session = self.fork(len(self.ids[0]))
            session.extend(after)
            return session.score(continuations)
        if not all(continuations):
            raise OptionError("a candidate without tokens cannot be scored; give each at least one character")
        longest = max(map(len, continuations), default=0)
        require_length(len(self.ids[0]) + longest, self.engine.positions, "prompt and candidate")
        first, seen = log_chances(self.logits[:1].double()), len(self.ids[0])
        scores = []
        for begin in range(0, len(continuations), ROWS // 4):
            group = continuations[begin : begin + ROWS // 4]
            copies = [self.engine.copy(self.sequences[0], -1) for _ in group]
            fed = [
                (token, seen + place, copied, True)
                for each, copied in zip(group, copies, strict=True)
                for place, token in enumerate(each[:-1])
            ]
            found, place = log_chances(self.engine.decode(fed).double()), 0
            for each in group:
                rows = torch.cat([first, found[place : place + len(each) - 1]])
                place += len(each) - 1
                scores.append(rows.gather(1, torch.tensor(list(each))[:, None])[:, 0].tolist())
            for copied in copies:
                self.engine.release(copied)
        return scores

    def close(self) -> None:
        """Gives the sequences back."""
        for sequence in self.sequences:
            self.engine.release(sequence)
        self.ids, self.sequences = [], []

    def __del__(self) -> None:
        self.close()
