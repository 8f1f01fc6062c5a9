"""The tour's growth: the decoder that was just trained, twice and one and a half times as wide, and trained on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from shoestring import plot
from shoestring.tour.stage import Outcome, Settings

STEPS = 40
BATCH = 8
HELD_OUT = 8  # blocks
LENGTH = 128
RATE = 5e-4  # lower than the first time: a grown model is not a new one
WIDER = ("2x", "1.5x")


def grow(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Grows the decoder, compares what the three compute, and trains each on for the same number of steps."""
    from shoestring.grow import Request
    from shoestring.grow import grow as enlarge

    source = Path(before["decoder"].facts["folder"])
    folders, rows = {"as it was": source}, []
    for name in WIDER:
        target = settings.folder / f"decoder-{name}"
        report = enlarge(source, target, Request(hidden=name, seed=settings.seed), overwrite=True)
        assert report.proof is not None
        rules = report.proof.trials[0]
        rows.append(
            (
                f"{name} hidden",
                report.plan.parameters,
                f"{rules.error:.1e}",
                f"{_difference(source, target):.1e}",
            )
        )
        folders[name] = target
    examples = _examples(settings, before)
    curves = {name: _trained(folder, settings, *examples) for name, folder in folders.items()}
    picture = settings.folder / "grow.png"
    plot.loss_curves(curves, picture, title="The decoder trained on, as it was and grown")
    last = {name: points[-1][1] for name, points in curves.items()}
    return Outcome(
        f"2x and 1.5x as wide: max difference of logits in fp64 {rows[0][2]} and {rows[1][2]}; "
        f"held-out loss after {STEPS} more steps: "
        + ", ".join(f"{name} {loss:.2f}" for name, loss in last.items()),
        {"rows": rows, "held_out_loss": last},
        figures=[
            ("Held-out loss of the decoder and of its two growths, trained on from the same point", picture)
        ],
        tables=[
            ("The grown decoders compute what it did", ("model", "parameters", "fp64", "fp32, whole"), rows)
        ],
    )


def _difference(source: Path, target: Path) -> float:
    """Returns the largest difference of logits of the two whole models, in fp32."""
    import torch

    models = [_loaded(folder) for folder in (source, target)]
    ids = torch.arange(300, 300 + 64)[None]
    with torch.no_grad():
        one, two = (model(ids).logits for model in models)
    return float((one - two).abs().max())


def _examples(settings: Settings, before: dict[str, Outcome]) -> tuple[Any, Any]:
    """Packs the first of the tour's texts and returns what to train on and what is held out."""
    from shoestring import files, hub
    from shoestring.transformer.pretraining.objectives import Examples, held_out
    from shoestring.transformer.pretraining.packing import pack

    corpus = settings.folder / "grow-corpus"
    tokenizer = hub.load_tokenizer(before["tokenizer"].facts["folder"])
    frame = tokenizer.bos_token_id, tokenizer.eos_token_id
    blocks = pack(files.documents(before["text"].facts["files"][:1]), tokenizer, frame, corpus, LENGTH)
    chosen, out = held_out(len(blocks))
    kept = out[:HELD_OUT]
    return (
        Examples(blocks, chosen, STEPS * BATCH, settings.seed),
        Examples(blocks, kept, len(kept), settings.seed),
    )


def _trained(folder: Path, settings: Settings, examples: Any, kept: Any) -> list[tuple[float, float]]:
    """Trains a copy and returns its held-out losses, from step 0."""
    from shoestring.train import TrainSettings, fit

    run = TrainSettings(steps=STEPS, batch_size=BATCH, learning_rate=RATE, seed=settings.seed)
    with tempfile.TemporaryDirectory() as scratch:
        history = fit(
            _loaded(folder), examples, run, Path(scratch), eval_examples=kept, eval_every=STEPS // 4,
            ui=settings.ui, title=f"training on: {folder.name}",
        )  # fmt: skip
    return [(0.0, _loss(folder, kept)), *history.eval_losses]


def _loss(folder: Path, examples: Any) -> float:
    """Returns the mean loss of a model over examples."""
    import torch

    model = _loaded(folder)
    losses = []
    with torch.no_grad():
        for index in range(len(examples)):
            inputs = {key: torch.as_tensor(value)[None] for key, value in examples[index].items()}
            losses.append(float(model(**inputs).loss))
    return sum(losses) / len(losses)


def _loaded(folder: Path) -> Any:
    from shoestring import hub
    from shoestring.transformer import ShoestringForCausalLM

    with hub.silenced():
        return ShoestringForCausalLM.from_pretrained(folder).eval()
