"""`Matcher`: any sentence-transformers folder, bi-encoder or cross-encoder, that scores and judges pairs.

- Bi-encoder: the cosine of two embeddings; each text is embedded once, so the order of a pair does not matter.
- Cross-encoder: the raw logit; of two logits their difference; of more the expected grade. The mean of both orders of
  the two texts, unless the threshold was chosen one way.
- A search embeds queries and documents by the model's own prompts for them, as E5, BGE and Qwen3 want it.
- A folder that `shoestring match train` wrote carries its threshold and calibration.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import InputError, OptionError
from shoestring.match.deciding.decision import Decision, read_decision
from shoestring.match.loading import PRECISIONS, halve, load_model, takes_bf16

BATCH = 32  # on a CPU as fast as more, and less of it is padding
ROLES = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}  # names that models have for prompts
Progress = Callable[[float], Any]


@dataclass(frozen=True)
class Predictions:
    """What a matcher says about n pairs.

    Args:
        scores: (n,).
        probabilities: (n,) that a pair is a match; None where the model has no calibration.
        verdicts: (n,) of 0 and 1; None where it has no threshold.
    """

    scores: NDArray
    probabilities: NDArray | None
    verdicts: NDArray | None


class Matcher:
    """A model that tells how alike two texts are.

    Args:
        folder: of the model, or its name on the hub.
        device: auto, cpu, cuda or mps.
        model: one that is loaded already, instead of the folder's.
        decision: instead of the folder's.
        one_way: a cross-encoder reads a pair in the order given and no other, at half the price. None does what its
            threshold was chosen with, and without a threshold reads both.
        precision: in which a bi-encoder's transformer computes; `auto` is bf16 where the processor multiplies it.
            Pooling stays in fp32, and an index of one precision can be searched in the other.

    Raises:
        InputError: no such model, or it cannot be loaded.
        OptionError: `one_way` contradicts the threshold; a cross-encoder in bf16.

    >>> Matcher("model").predict([("今天天气好", "天气不错")]).verdicts  # doctest: +SKIP
    array([1])
    """

    def __init__(
        self, folder: str | Path, device: str = "auto", model: Any = None, decision: Decision | None = None,
        one_way: bool | None = None, precision: str = "fp32",
    ) -> None:  # fmt: skip
        self.folder = Path(folder)
        self.decision = decision or read_decision(self.folder)
        self.model: Any = model or load_model(folder, device)
        self.crossed = type(self.model).__name__ == "CrossEncoder"
        chosen = self.decision.one_way if self.decision else None
        if None not in (chosen, one_way) and chosen != one_way and self.crossed:
            raise OptionError(
                f"{folder}: its threshold was chosen on {'one order' if chosen else 'the mean of both orders'} of the "
                "texts; choose it anew with shoestring match train --epochs 0"
            )
        self.one_way = bool(chosen if one_way is None else one_way)
        self.precision, self._weights = self._chosen(precision), ""
        if self.precision == "bf16":
            self._weights = self._digest()  # of the weights as they are in the folder
            halve(self.model[0])

    def _chosen(self, precision: str) -> str:
        if precision not in PRECISIONS:
            raise OptionError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
        if precision == "bf16" and self.crossed:
            raise OptionError(f"{self.folder}: a cross-encoder computes in fp32 only; leave precision out")
        return "bf16" if not self.crossed and takes_bf16(precision, self.model.device) else "fp32"

    @property
    def mode(self) -> str:
        """`bi` or `cross`."""
        return "cross" if self.crossed else "bi"

    def embed(
        self, texts: Sequence[str], batch_size: int = BATCH, progress: Progress | None = None,
        role: str | None = None,
    ) -> NDArray:  # fmt: skip
        """Returns (n, width) float32 embeddings of length 1, a bi-encoder's.

        Args:
            texts: n of them.
            batch_size: texts in a forward pass.
            progress: is told how many were embedded.
            role: `query` or `document` puts before each text what the model has for that; None what it has by default.
        """
        if self.crossed:
            raise OptionError(f"{self.folder}: a cross-encoder has no embeddings; give a bi-encoder")
        require_whole(texts)
        encode, out = self._encoder(role), []
        for start in range(0, len(texts), 32 * batch_size):
            part = list(texts[start : start + 32 * batch_size])
            out.append(
                encode(part, batch_size=batch_size, show_progress_bar=False, normalize_embeddings=True)
            )
            if progress:
                progress(len(part))
        return np.concatenate(out).astype(np.float32) if out else np.zeros((0, self.width), np.float32)

    @property
    def searches_as_it_judges(self) -> bool:
        """Whether queries and documents are embedded as the pairs that chose the threshold: else it says nothing."""
        prompts, usual = self.model.prompts, self.model.default_prompt_name
        return all(prompts.get(self._prompt(role), "") == prompts.get(usual, "") for role in ROLES)

    @property
    def width(self) -> int:
        """The number of components of an embedding."""
        return self.model.get_embedding_dimension()

    def scores(
        self, pairs: Sequence[tuple[str, str]], batch_size: int = BATCH, progress: Progress | None = None,
        one_way: bool | None = None,
    ) -> NDArray:  # fmt: skip
        """Returns (n,) float64 scores; the larger, the more alike.

        Args:
            pairs: n of two texts.
            batch_size: texts or pairs in a forward pass.
            progress: is told how many pairs were scored.
            one_way: of a cross-encoder, instead of the matcher's own.

        Raises:
            InputError: the model gives a score that is no number.
        """
        pairs = list(pairs)
        if not pairs:
            return np.zeros(0)
        if not self.crossed:
            found = self._cosines(pairs, batch_size, progress)
        elif self.one_way if one_way is None else one_way:
            found = self._logits(pairs, batch_size, progress)
        else:
            half = progress and (lambda count: progress(count / 2))
            found = self._logits(pairs, batch_size, half) / 2
            found += self._logits([(two, one) for one, two in pairs], batch_size, half) / 2
        wrong = np.flatnonzero(~np.isfinite(found))
        if len(wrong):
            raise InputError(
                f"{self.folder}: pair {wrong[0] + 1:,} scores {found[wrong[0]]}; the weights are broken"
            )
        return found

    def predict(
        self, pairs: Sequence[tuple[str, str]], batch_size: int = BATCH, progress: Progress | None = None,
        one_way: bool | None = None,
    ) -> Predictions:  # fmt: skip
        """Returns scores, and with a threshold in the folder probabilities and verdicts; see `scores`."""
        scores = self.scores(pairs, batch_size, progress, one_way)
        if self.decision is None:
            return Predictions(scores, None, None)
        return Predictions(scores, self.decision.calibration(scores), self.decision.verdicts(scores))

    def too_long(self, texts: Sequence[str], role: str | None = None) -> int:
        """Returns how many texts are cut because they and their prompt have more tokens than the model reads.

        Args:
            texts: to be read.
            role: as in `embed`.
        """
        most, texts = self.model.max_seq_length, list(dict.fromkeys(texts))
        if not texts or most in (None, math.inf):  # static embeddings read all of a text
            return 0
        limit = most // (2 if self.crossed else 1)
        name = self._prompt(role) if role else self.model.default_prompt_name
        prompt = "" if self.crossed else self.model.prompts.get(name, "")
        read = [prompt + text for text in texts]
        ids = self.model.tokenizer(read, truncation=False, verbose=False)["input_ids"]
        return sum(len(each) > limit for each in ids)

    def fingerprint(self) -> str:
        """Returns SHA-256 over all that an embedding depends on: equal means equal scores.

        Weights, the modules in order with their settings (pooling, length, normalisation), tokenizer and prompts.
        """
        settings = json.dumps(self._settings(), sort_keys=True, default=str)
        return hashlib.sha256((settings + (self._weights or self._digest())).encode()).hexdigest()

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            if ".pooler." in name and not self._reads_pooler:  # where the folder has none it is random
                continue
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).numpy().tobytes())
        return digest.hexdigest()

    @property
    def _reads_pooler(self) -> bool:
        """Whether the model's own pooler says something: in cross-encoders, and where its output is the embedding."""
        return self.crossed or any("pooler_output" in str(each.get_config_dict()) for each in self.model)

    def _settings(self) -> dict[str, Any]:
        model, base = self.model, self.model.transformers_model
        config = base.config.to_dict() if base is not None else {}
        for incidental in ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"):
            config.pop(incidental, None)
        return {
            "modules": [(type(each).__name__, each.get_config_dict()) for each in model],
            "length": model.max_seq_length, "truncate_dim": None if self.crossed else model.truncate_dim,
            "prompts": model.prompts, "default": model.default_prompt_name, "config": config,
            "tokenizer": _tokenizer_settings(model.tokenizer),
        }  # fmt: skip

    def _encoder(self, role: str | None) -> Callable[..., NDArray]:
        if role is None:
            return self.model.encode
        encode = self.model.encode_query if role == "query" else self.model.encode_document
        return partial(encode, prompt_name=self._prompt(role))

    def _prompt(self, role: str) -> str | None:
        """The name of the prompt for a role; the default one where the model has none or an empty one."""
        prompts = self.model.prompts
        return next((name for name in ROLES[role] if prompts.get(name)), self.model.default_prompt_name)

    def _cosines(self, pairs: list[tuple[str, str]], batch_size: int, progress: Progress | None) -> NDArray:
        texts = sorted({text for pair in pairs for text in pair})
        place = {text: at for at, text in enumerate(texts)}
        step = len(pairs) / len(texts)
        vectors = self.embed(texts, batch_size, progress and (lambda count: progress(count * step)))
        one, two = (np.array([place[pair[side]] for pair in pairs]) for side in (0, 1))
        return np.einsum("nd,nd->n", vectors[one].astype(float), vectors[two].astype(float))

    def _logits(self, pairs: list[tuple[str, str]], batch_size: int, progress: Progress | None) -> NDArray:
        from torch import nn

        require_whole([text for pair in pairs for text in pair])
        out = []
        for start in range(0, len(pairs), 16 * batch_size):
            part = pairs[start : start + 16 * batch_size]
            raw = self.model.predict(
                part, batch_size=batch_size, activation_fn=nn.Identity(), show_progress_bar=False
            )
            out.append(_one_score(np.asarray(raw, float).reshape(len(part), -1)))
            if progress:
                progress(len(part))
        return np.concatenate(out)


def require_whole(texts: Sequence[str]) -> None:
    """Refuses halves of surrogate pairs, which are no characters and which no tokenizer takes.

    Raises:
        InputError: there is one.
    """
    for number, text in enumerate(texts, 1):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {number:,}: character {error.start + 1:,} is {text[error.start]!a}, no whole character"
            ) from error


def _tokenizer_settings(tokenizer: Any) -> Any:
    """All that decides about token ids; not what the last call left there."""
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    core = (
        json.loads(fast.to_str())
        if isinstance(fast, import_module("tokenizers").Tokenizer)
        else fast.get_vocab()
    )
    core.pop("truncation", None)
    core.pop("padding", None)
    return [core, *(getattr(tokenizer, name, None) for name in ("special_tokens_map", "truncation_side"))]


def _one_score(logits: NDArray) -> NDArray:
    if logits.shape[1] == 1:
        return logits[:, 0]
    if logits.shape[1] == 2:
        return logits[:, 1] - logits[:, 0]
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return chances @ np.arange(logits.shape[1]) / chances.sum(axis=1)
