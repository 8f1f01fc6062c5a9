"""From nothing: a tokenizer, a small encoder trained for a minute, words that it fills in. What minutes buy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shoestring import files
from shoestring.tour.stage import Outcome, Settings

VOCABULARY, LENGTH = 4096, 128
SHARE = 0.25  # of the tour's minutes: 56 s
MASKED = (
    "酒店的<mask>态度很好，下次还会来住。", "房间很<mask>，就是早餐一般。", "这本书的内容非常<mask>，值得一看。",
    "电脑的<mask>很好，速度也快。", "我们要坚持改革<mask>的方针。",
)  # fmt: skip


def scratch(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Trains a tokenizer and an encoder and fills in masked words."""
    from shoestring.train import TrainSettings
    from shoestring.transformer import preset, pretrain, train_tokenizer
    from shoestring.transformer.tokenizer import count_words

    sources = before["text"].facts["files"]
    trained = train_tokenizer(count_words(files.documents(sources)), VOCABULARY)
    with files.atomic_folder(settings.folder / "tokenizer", overwrite=True) as folder:
        trained.save_pretrained(folder)
    target = settings.folder / "encoder"
    done = pretrain(
        files.documents(sources), trained, target,
        # Minutes are few: a shallow model and small batches take more steps, which is what counts early on.
        config=preset("nano", num_layers=2),
        settings=TrainSettings(steps=1, batch_size=8, learning_rate=2e-3, seed=settings.seed),
        minutes=SHARE * settings.minutes, length=LENGTH, overwrite=(target / "config.json").exists(), ui=settings.ui,
    )  # fmt: skip
    rows = _filled(target)
    return Outcome(
        f"{len(trained):,} pieces; {done.parameters / 1e6:.1f} M weights, {done.history.steps[-1]:,} steps in "
        f"{done.history.seconds:.0f} s: {done.loss:.2f} nats a masked token (guessing: {done.untrained_loss:.2f}); "
        f"{rows[0][0]} → {rows[0][1]}",
        {
            "folder": str(target), "parameters": done.parameters, "steps": done.history.steps[-1],
            "held_out_loss": done.loss, "guessing_loss": done.untrained_loss, "filled": rows,
        },
        figures=[("Loss of the encoder", target / "loss.png")],
        tables=[("The most likely words", ("sentence", "1", "2", "3"), rows)],
        command="shoestring tokenizer YOUR-TEXT/ -o tokenizer; "
        "shoestring pretrain YOUR-TEXT/ --tokenizer tokenizer -o model",
    )  # fmt: skip


def _filled(folder: Path) -> list[tuple[Any, ...]]:
    import torch

    from shoestring import hub
    from shoestring.transformer import ShoestringForMaskedLM

    with hub.silenced():
        model, trained = ShoestringForMaskedLM.from_pretrained(folder).eval(), hub.load_tokenizer(folder)
    rows = []
    for sentence in MASKED:
        inputs = trained(sentence, return_tensors="pt")
        place = (inputs["input_ids"][0] == trained.mask_token_id).nonzero()[0, 0]
        with torch.no_grad():
            chances = model(**inputs).logits[0, place].softmax(-1).topk(3)
        words = [trained.decode([token]) for token in chances.indices]
        rows.append((sentence, *(f"{word} {p:.0%}" for word, p in zip(words, chances.values, strict=True))))
    return rows
