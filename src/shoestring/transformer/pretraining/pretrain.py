"""Pre-training: a corpus and a tokenizer in, a Hugging Face model out.

- `mlm` trains an encoder to fill in whole masked words, `clm` a decoder to continue, `unilm` a decoder to continue a
  source that it reads both ways.
- Documents are packed into blocks without padding; 2 % of the blocks are held out and measured.
- Interrupted, the same command goes on from the last checkpoint to the same weights.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import sys
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from shoestring import hub
from shoestring._errors import OptionError, OutputError
from shoestring.train import History, TrainSettings, checkpoint, fit, record
from shoestring.train.settings import steps_within
from shoestring.transformer.model.configuration import ShoestringConfig
from shoestring.transformer.model.heads import ShoestringForCausalLM, ShoestringForMaskedLM
from shoestring.transformer.pretraining.objectives import OBJECTIVES, Examples, Masking, held_out
from shoestring.transformer.pretraining.packing import Blocks, opened, pack
from shoestring.transformer.pretraining.roles import Roles, framed, roles_of
from shoestring.ui import UI

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MODELS = {"mlm": ShoestringForMaskedLM, "clm": ShoestringForCausalLM, "unilm": ShoestringForCausalLM}
WARM, TIMED = 2, 11  # steps of the calibration
EVALUATIONS = 4  # over a run


@dataclass(frozen=True)
class Pretrained:
    """What a pre-training run left behind.

    Args:
        folder: the model.
        parameters: number of weights.
        tokens: tokens of the corpus.
        epochs: how often each was seen.
        history: losses.
        loss: of the held-out blocks at the end, in nats per asked token.
        untrained_loss: what uniform guessing costs, log(vocab_size).
    """

    folder: Path
    parameters: int
    tokens: int
    epochs: float
    history: History
    loss: float
    untrained_loss: float


def pretrain(
    documents: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    output: str | Path,
    *,
    objective: str = "mlm",
    config: ShoestringConfig | None = None,
    settings: TrainSettings | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    length: int = 128,
    overwrite: bool = False,
    ui: UI | None = None,
) -> Pretrained:
    """Pre-trains a model from random weights.

    Args:
        documents: texts.
        tokenizer: any fast one that has tokens to begin and end a text, and for `mlm` one to mask with.
        output: folder for the model, its log, its loss curve and its checkpoints.
        objective: `mlm`, `clm` or `unilm`.
        config: the model; vocab_size and is_decoder follow from tokenizer and objective.
        settings: the run; its `steps` follow from `minutes` or `epochs` if given; one epoch if nothing is.
        epochs: passes over the corpus.
        minutes: train for about so long, by timing a few steps first.
        length: tokens in a block.
        overwrite: replace a finished model.
        ui: shows progress.

    Raises:
        InputError: too little text.
        OptionError: unknown objective, or settings that do not fit.
        OutputError: `output` holds a finished model or cannot be written.
    """
    ui, output = ui or UI(), Path(output)
    if objective not in OBJECTIVES:
        raise OptionError(f"--objective {objective}: unknown; choose one of {', '.join(OBJECTIVES)}")
    roles = roles_of(tokenizer, objective)
    if not overwrite and (output / "config.json").exists():
        raise OutputError(f"{output}: holds a finished model; choose another name or pass --overwrite")
    if settings is None:
        settings, epochs = TrainSettings(steps=1), 1.0 if epochs is None else epochs
    blocks = _packed(documents, tokenizer, roles, output / "corpus", length, objective == "mlm", ui)
    model = _fresh(config or ShoestringConfig(), roles, objective, length, settings.seed)
    chosen, out = held_out(len(blocks))
    masking = None if roles.mask is None else Masking(roles.mask, roles.noise, roles.special)
    how: dict[str, Any] = {"seed": settings.seed, "masking": masking, "split": objective == "unilm"}
    examples = Examples(blocks, chosen, sys.maxsize, **how)
    if minutes is not None:
        before = [] if overwrite else checkpoint.all_of(output / "checkpoints")
        settings = replace(settings, steps=_steps_within(minutes, model, examples, settings, before, ui))
    elif epochs is not None:
        settings = replace(settings, steps=max(1, round(epochs * len(chosen) / settings.batch_size)))
    history = fit(
        model,
        examples,
        settings,
        output,
        eval_examples=Examples(blocks, out, len(out), **how),
        eval_every=max(1, settings.steps // EVALUATIONS),
        about={"objective": objective, "corpus": _fingerprint(blocks), "model": _shape(model.config)},
        resume=not overwrite,
        ui=ui,
        title=f"pre-training ({objective})",
    )
    done = Pretrained(
        folder=output,
        parameters=model.num_parameters(),
        tokens=len(blocks.tokens),
        epochs=settings.examples / len(chosen),
        history=history,
        loss=history.eval_losses[-1][1],
        untrained_loss=math.log(roles.size),
    )
    hub.save(output, model, framed(tokenizer, roles, objective), _card(done, objective))
    if hub.is_main_process():
        shutil.rmtree(output / "corpus", ignore_errors=True)
    return done


def _packed(
    documents: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    roles: Roles,
    folder: Path,
    length: int,
    words: bool,
    ui: UI,
) -> Blocks:
    """Packs on the first process of the machine and opens on all."""
    from accelerate import PartialState

    with PartialState().local_main_process_first():
        if PartialState().is_local_main_process:
            texts = ui.track(documents, "tokenizing", unit="doc")
            pack(texts, tokenizer, (roles.start, roles.end), folder, length, words)
    return opened(folder, length)


def _fresh(
    config: ShoestringConfig, roles: Roles, objective: str, length: int, seed: int
) -> ShoestringForMaskedLM | ShoestringForCausalLM:
    config = deepcopy(config)
    config.vocab_size, config.is_decoder = roles.size, objective != "mlm"
    config.prefix_lm = objective == "unilm"
    config.bos_token_id, config.eos_token_id, config.pad_token_id = roles.start, roles.end, roles.pad
    if config.position == "learned" and length > config.max_position_embeddings:
        raise OptionError(
            f"--length {length}: the model has {config.max_position_embeddings} learned positions; "
            f"set max_position_embeddings={length}"
        )
    torch.manual_seed(seed)
    return MODELS[objective](config)


def _steps_within(
    minutes: float,
    model: torch.nn.Module,
    examples: Examples,
    settings: TrainSettings,
    before: list[Path],
    ui: UI,
) -> int:
    """Times a few steps on a copy of the model and returns how many fit; a resumed run keeps its number."""
    from accelerate.utils import broadcast_object_list

    if before:
        return checkpoint.load(before[-1])["identity"]["steps"]
    ui.say(f"timing {TIMED} steps")
    with TemporaryDirectory() as folder:
        trial = replace(settings, steps=WARM + TIMED, log_every=1, save_every=10**9)
        fit(deepcopy(model), examples, trial, folder, ui=UI(quiet=True))
        seconds = [line["seconds"] for line in record.read(Path(folder, "log.jsonl")) if "loss" in line]
    each = [after - before for before, after in pairwise(seconds[WARM - 1 :])]
    return broadcast_object_list([steps_within(60 * minutes, each) if each else 0])[0]


def _fingerprint(blocks: Blocks) -> str:
    return hashlib.sha256(blocks.tokens.data).hexdigest()[:16]


def _shape(config: ShoestringConfig) -> dict[str, Any]:
    """Returns the settings that make the model what it is."""
    said = config.to_dict()
    return {name: said[name] for name in ShoestringConfig.__annotations__ if name in said}


def _card(done: Pretrained, objective: str) -> str:
    kind = {
        "mlm": "encoder, to fill in masked words",
        "clm": "decoder, to continue text",
        "unilm": "prefix decoder, to continue a source that it reads both ways",
    }[objective]
    head = "MaskedLM" if objective == "mlm" else "CausalLM"
    return hub.model_card(
        done.folder.name,
        f"A shoestring Transformer ({kind}), pre-trained from random weights.",
        tags=["fill-mask" if objective == "mlm" else "text-generation"],
        facts={
            "parameters": f"{done.parameters:,}",
            "tokens in the corpus": f"{done.tokens:,}",
            "epochs": f"{done.epochs:.2f}",
            "held-out loss, nats per token asked": f"{done.loss:.3f}",
            "the same by uniform guessing": f"{done.untrained_loss:.3f}",
        },
        example=f"""
import shoestring.transformer.model.heads  # registers the family with the Auto classes
from transformers import AutoModelFor{head}, AutoTokenizer

model = AutoModelFor{head}.from_pretrained("{done.folder.name}")
tokenizer = AutoTokenizer.from_pretrained("{done.folder.name}")
""",
    )
