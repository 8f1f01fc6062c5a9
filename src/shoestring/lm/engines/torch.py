"""The torch back end: any Hugging Face decoder on CPU or GPU, on the CPU also in int8 and int4.

- Rows of different lengths are padded on the left; positions count real tokens.
- Candidates are scored in one row under a tree-shaped mask: each sees the session's tokens and its own, so the
  shared keys and values are neither copied nor computed again. Families that make masks of their own get a row for
  each candidate instead.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring._errors import OptionError
from shoestring.lm.engines import cache as caches
from shoestring.lm.engines.base import Progress, Token, joined, log_chances, require_length, tokens_of
from shoestring.lm.engines.families import ROWS, positions_of, require_known
from shoestring.lm.engines.fused import fused_of
from shoestring.lm.engines.texts import texts_of
from shoestring.lm.engines.tree import Tree, branching
from shoestring.lm.weights.few_bits import kernel_name
from shoestring.lm.weights.gguf_source import GgufSource
from shoestring.lm.weights.loading import load_folder, load_source
from shoestring.lm.weights.sources import FolderSource, Source

CHUNK = 256  # tokens that are read at once, so that a long prompt shows progress and memory stays small
ROOM = 0.8  # of the memory that weights may take
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TorchEngine:
    """A Hugging Face decoder, see `engine.Engine`.

    Args:
        folder: config.json, weights, tokenizer; or a GGUF file.
        precision: auto, fp32, bf16, int8 or int4.
        device: by default a GPU if there is one, else the CPU.
    """

    cache_bytes = None

    def __init__(self, folder: Path, precision: str = "auto", device: str | None = None) -> None:
        source = GgufSource(folder) if folder.is_file() else FolderSource(folder)
        require_known(source.config["model_type"])
        self.device = _there(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        precision = _chosen(source, precision, self.device)
        self.model: Any = _loaded(source, precision).to(self.device).eval()
        self.kind = f"torch {precision} on {self.device}"
        self.kind += "" if precision in _DTYPES else f" ({kernel_name()})"
        config = self.model.config
        self.name = folder.resolve().name.removesuffix(".gguf")
        self.vocabulary, self.positions = config.vocab_size, positions_of(config)
        self.texts = texts_of(source, self.vocabulary)
        self.tokenizer = self.texts.tokenizer
        self.fused = fused_of(self.model, self.positions)
        self._takes = inspect.signature(self.model.forward).parameters.keys()

    def open(self, rows: Sequence[Sequence[int]], progress: Progress | None = None) -> TorchSession:
        """Returns a session that has read the rows."""
        session = TorchSession(self, [[] for _ in rows])
        session.read([list(row) for row in rows], progress)
        return session

    def logprobs(self, ids: Sequence[int]) -> list[float]:
        """Returns the log-probability of each token but the first."""
        return [token.logprob for token in self.tokens(ids, 0)]

    @torch.inference_mode()
    def tokens(self, ids: Sequence[int], top: int) -> list[Token]:
        """Returns each token but the first with its log-probability and the `top` most likely ones."""
        require_length(len(ids), self.positions, "the text")
        cache, found = caches.new_cache(), []
        whole = torch.tensor(list(ids), device=self.device)
        for begin in range(0, len(ids) - 1, CHUNK):
            part = whole[begin : min(begin + CHUNK, len(ids) - 1)]
            logits = self.read(part[None], cache, [0], 0)[0]
            found += tokens_of(logits, whole[begin + 1 : begin + 1 + len(part)], top)
        return found

    def read(
        self, ids: Tensor, cache: Any, pads: Sequence[int], keep: int
    ) -> Float[Tensor, "rows kept vocabulary"]:
        """Returns the logits of the last `keep` tokens, 0 is all, of rows whose first columns may be padding."""
        if self.fused is not None:
            return self.fused(ids, cache, pads, keep)
        padding = torch.tensor(pads, device=self.device)[:, None]
        seen = cache.get_seq_length()
        columns = torch.arange(seen + ids.shape[1], device=self.device)
        mask = (columns >= padding).long() if any(pads) else None
        return self.forward(ids, cache, (columns[seen:] - padding).clamp(min=0), mask, keep)

    def forward(
        self, ids: Tensor, cache: Any, positions: Tensor, mask: Tensor | None, keep: int
    ) -> Float[Tensor, "rows kept vocabulary"]:
        """Returns the logits of the last `keep` tokens, 0 is all; keys and values are appended to the cache."""
        wanted = {"position_ids": positions, "logits_to_keep": keep}
        taken = {name: value for name, value in wanted.items() if name in self._takes}
        output = self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **taken
        )
        return output.logits[:, -keep:]


class TorchSession:
    """See `engine.Session`."""

    def __init__(self, engine: TorchEngine, ids: list[list[int]]) -> None:
        self.engine, self.ids = engine, ids
        self.cache = caches.new_cache()
        self.pads = [0] * len(ids)  # columns on the left of each row that are no tokens
        self.logits = torch.empty(len(ids), 0)

    @property
    def nbytes(self) -> int:
        """Memory that the keys and values take."""
        return caches.nbytes(self.cache)

    @torch.inference_mode()
    def read(self, rows: list[list[int]], progress: Progress | None = None) -> None:
        """Appends tokens to rows that are empty, or to the only row."""
        if not all(rows):
            raise OptionError("a prompt without tokens: there is nothing to go on from; give at least a word")
        for old, new in zip(self.ids, rows, strict=True):
            require_length(len(old) + len(new), self.engine.positions, "the prompt")
        width = max(map(len, rows))
        padded = [[row[0]] * (width - len(row)) + row for row in rows]
        with self._whole_or_not():
            self.pads = [pad + width - len(row) for pad, row in zip(self.pads, rows, strict=True)]
            for begin in range(0, width, CHUNK):
                part = [row[begin : begin + CHUNK] for row in padded]
                self._forward(part, last=begin + CHUNK >= width)
                if progress is not None:
                    progress(len(part[0]))
        self.ids = [old + new for old, new in zip(self.ids, rows, strict=True)]

    def extend(self, tokens: Sequence[int], progress: Progress | None = None) -> None:
        """Appends tokens to the only row."""
        self.read([list(tokens)], progress)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> None:
        """Appends one token to each row."""
        if len(tokens) != len(self.ids):
            raise OptionError(f"{len(tokens):,} tokens for {len(self.ids):,} rows; give one to each")
        with self._whole_or_not():
            self._forward([[token] for token in tokens], last=True)
        for row, token in zip(self.ids, tokens, strict=True):
            row.append(token)

    def select(self, rows: Sequence[int]) -> None:
        """Keeps the given rows; columns that are padding in all of them go."""
        spare = min((self.pads[row] for row in rows), default=0)
        self.cache = caches.select(self.cache, rows, spare)
        self.ids = [list(self.ids[row]) for row in rows]
        self.pads = [self.pads[row] - spare for row in rows]
        self.logits = self.logits[list(rows)]

    def fork(self, length: int) -> TorchSession:
        """Returns a session of the first tokens of the only row."""
        new = TorchSession(self.engine, [self.ids[0][:length]])
        new.cache = caches.fork(self.cache, length)
        if length == len(self.ids[0]):
            new.logits = self.logits
        return new

    def join(self, others: Sequence[Any]) -> None:
        """Takes over the rows of other sessions."""
        everyone = [self, *(other for other in others if other.ids)]
        everyone = [each for each in everyone if each.ids]
        lengths = [each.cache.get_seq_length() for each in everyone]
        self.cache = caches.join([each.cache for each in everyone])
        self.pads = [
            pad + max(lengths) - length
            for each, length in zip(everyone, lengths, strict=True)
            for pad in each.pads
        ]
        self.logits = joined([each.logits for each in everyone])
        self.ids = [row for each in everyone for row in each.ids]

    @torch.inference_mode()
    def score(self, continuations: Sequence[Sequence[int]], after: Sequence[int] = ()) -> list[list[float]]:
        """Returns the log-probability of each token of each continuation of the only row and `after`."""
        groups = list(_groups(continuations))
        longest = max((len(each) for group in groups for each in group), default=0)
        require_length(len(self.ids[0]) + len(after) + longest, self.engine.positions, "prompt and candidate")
        if len(groups) > 1 and after:  # the groups share it
            session = self.fork(len(self.ids[0]))
            session.extend(after)
            return session.score(continuations)
        return [scores for group in groups for scores in self._score(group, list(after))]

    def close(self) -> None:
        """Frees the keys and values."""
        self.cache, self.ids = caches.new_cache(), []

    @contextmanager
    def _whole_or_not(self) -> Iterator[None]:
        """Lets the session be as it was if reading ends early: memory is out, or someone pressed Ctrl-C."""
        seen, pads = self.cache.get_seq_length(), self.pads
        try:
            yield
        except BaseException:
            caches.cut(self.cache, seen)
            self.pads = pads
            raise

    def _forward(self, part: list[list[int]], last: bool, keep: int = 1) -> Tensor:
        ids = torch.tensor(part, device=self.engine.device)
        logits = self.engine.read(ids, self.cache, self.pads, keep)
        if last:
            self.logits = logits[:, -1].float().cpu()
        return logits

    def _score(self, group: list[list[int]], trunk: list[int]) -> list[list[float]]:
        if self.engine.model.config.model_type not in ROWS:
            return self._score_tree(group, trunk)
        session = self.fork(len(self.ids[0]))
        if trunk:
            session.extend(trunk)
        return session._score_rows(group)

    def _score_rows(self, group: list[list[int]]) -> list[list[float]]:
        """Scores candidates as rows; what fills the shorter ones on the right is seen by nothing that counts."""
        found = log_chances(self.logits[:1].double()).expand(len(group), -1)[:, None]
        width = max(map(len, group)) - 1
        if width:
            self.select([0] * len(group))
            fed = [(each + [each[0]] * width)[:width] for each in group]
            logits = self._forward(fed, last=False, keep=0)
            found = torch.cat([found, log_chances(logits.double()).cpu()], dim=1)
        return [
            rows.gather(1, torch.tensor(each)[:, None])[:, 0].tolist()
            for each, row in zip(group, found, strict=True)
            for rows in [row[: len(each)]]
        ]

    def _score_tree(self, group: list[list[int]], trunk: list[int]) -> list[list[float]]:
        fed = [candidate[:-1] for candidate in group]  # the last token of each is only asked for
        found = self._tree_logits(trunk, fed)
        first, place, scores = found[:1], 1, []
        for candidate, own in zip(group, fed, strict=True):
            rows = torch.cat([first, found[place : place + len(own)]])
            place += len(own)
            scores.append(rows.gather(1, torch.tensor(candidate)[:, None])[:, 0].tolist())
        return scores

    def _tree_logits(self, trunk: list[int], fed: list[list[int]]) -> Tensor:
        """Returns log-probabilities after the trunk, and after each token of each branch."""
        if not trunk:
            known = log_chances(self.logits[:1].double())
            return torch.cat([known, self._tree(trunk, fed, 0)]) if any(fed) else known
        return self._tree(trunk, fed, len(trunk) - 1)

    def _tree(self, trunk: list[int], fed: list[list[int]], first: int) -> Tensor:
        """Returns log-probabilities of all tokens from the first asked for on; each sees the trunk and its branch."""
        device, seen = self.engine.device, self.cache.get_seq_length()
        branches = [(index, place, token) for index, own in enumerate(fed) for place, token in enumerate(own)]
        nodes = [(-1, place - len(trunk), token) for place, token in enumerate(trunk)] + branches
        owner, place, tokens = torch.tensor(nodes, device=device).unbind(1)
        before = torch.ones(len(nodes), seen, dtype=torch.bool, device=device)
        branch = ((owner[:, None] == owner) | (owner == -1)) & (place[:, None] >= place)
        depth = place + seen + len(trunk)
        tree = Tree(torch.cat([torch.arange(seen, device=device), depth]), torch.cat([before, branch], dim=1))
        with self._whole_or_not(), branching(tree):
            logits = self.engine.forward(tokens[None], self.cache, depth[None], None, len(nodes) - first)
        caches.cut(self.cache, seen)
        return log_chances(logits[0].double()).cpu()


def _groups(continuations: Sequence[Sequence[int]]) -> Iterator[list[list[int]]]:
    """Cuts candidates into groups of few enough tokens to be read at once."""
    group: list[list[int]] = []
    for each in continuations:
        if not each:
            raise OptionError("a candidate without tokens cannot be scored; give each at least one character")
        if group and sum(map(len, group)) + len(each) > CHUNK:
            yield group
            group = []
        group.append(list(each))
    if group:
        yield group


def _there(device: str) -> torch.device:
    """Returns a device of this machine.

    Raises:
        OptionError: it has no such device.
    """
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError):
        raise OptionError(
            f"--device {device}: is not on this machine; leave it out, or pass --device cpu"
        ) from None
    return torch.device(device)


def _chosen(source: Source, precision: str, device: torch.device) -> str:
    """Returns the precision that auto means here, and refuses what does not go together."""
    stored = source.config.get("quantization_config", {}).get("bits")
    if stored is not None and precision not in ("auto", f"int{stored}"):
        raise OptionError(
            f"--precision {precision}: {source.folder} is stored in int{stored}; convert from the original"
        )
    if stored is not None:
        precision = f"int{stored}"
    if precision == "auto":
        precision = "bf16" if device.type != "cpu" else "fp32"
        _require_room(source, precision)
    if precision.startswith("int") and device.type != "cpu":
        raise OptionError(f"--precision {precision}: runs on the CPU; pass --device cpu, or --precision bf16")
    return precision


def _require_room(source: Source, precision: str) -> None:
    """Refuses fp32 weights that this machine cannot hold: fewer bits cost quality, so they are asked for by name."""
    if precision != "fp32" or not hasattr(os, "sysconf"):
        return
    needed = 4 * sum(torch.Size(shape.sizes).numel() for shape in source.shapes.values())
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > ROOM * there:
        raise OptionError(
            f"--precision auto: fp32 takes {needed / 1e9:.1f} GB, this machine has {there / 1e9:.1f}; pass --precision "
            "int8, a quarter of that at little more perplexity, or int4"
        )


def _loaded(source: Source, precision: str) -> Any:
    from shoestring.transformer.model.heads import register

    register()
    if precision not in _DTYPES:
        return load_source(source, int(precision.removeprefix("int")))
    if isinstance(source, GgufSource):
        return load_source(source).to(_DTYPES[precision])
    return load_folder(source).to(_DTYPES[precision])
