"""The story: the stages of the tour, in order. A new system joins by adding its stage to `STAGES`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from shoestring import files, plot
from shoestring.tour import grow, lm, text
from shoestring.tour.heads import heads
from shoestring.tour.match import match
from shoestring.tour.nvae import nvae
from shoestring.tour.rank import rank
from shoestring.tour.stage import Outcome, Settings, Stage

VOCABULARY = 4096
LENGTH = 128
MASKED = (
    "酒店的<mask>态度很好，下次还会来住。",
    "房间很<mask>，就是早餐一般。",
    "这本书的内容非常<mask>，值得一看。",
    "电脑的<mask>很好，速度也快。",
    "中国<mask>总书记、国家主席江泽民发表讲话。",
    "我们要坚持改革<mask>的方针。",
)
BEGUN = ("这本书", "酒店的位置", "笔记本电脑", "新华社北京", "江泽民主席", "全国人民")


def read(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Writes the bundled text as plain files."""
    targets = text.write(settings.folder / "text")
    report = files.Report()
    characters = sum(len(document) for document in files.documents(list(targets.values()), report=report))
    return Outcome(
        f"{report.documents:,} documents, {characters:,} characters of reviews and newspaper",
        {
            "files": [str(path) for path in targets.values()],
            "documents": report.documents,
            "characters": characters,
        },
    )


def count(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Counts words, as jieba does."""
    from shoestring.count import count_words
    from shoestring.count.analysis import laws

    table = count_words(before["text"].facts["files"])
    zipf = settings.folder / "zipf.png"
    plot.zipf({"reviews and newspaper": laws.zipf(table)}, zipf)
    top = list(islice((item for item in table.items() if len(item[0]) > 1), 20))
    return Outcome(
        f"{table.total:,} words, {table.distinct:,} distinct; the most frequent of several characters: "
        + " ".join(word for word, _ in top[:8]),
        {"words": table.total, "distinct": table.distinct, "top": top},
        figures=[("Word frequency by rank: Zipf's law", zipf)],
        tables=[("The most frequent words of several characters", ("word", "count"), top)],
    )


def tokenizer(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Trains a tokenizer."""
    from shoestring.transformer.tokenizer import count_words, train_tokenizer

    counts = count_words(files.documents(before["text"].facts["files"]))
    trained = train_tokenizer(counts, VOCABULARY)
    with files.atomic_folder(settings.folder / "tokenizer", overwrite=True) as folder:
        trained.save_pretrained(folder)
    sample = trained.tokenize("我们在北京大学读书，喜欢自然语言处理。")
    return Outcome(
        f"{len(trained):,} pieces; " + "|".join(sample),
        {"vocabulary": len(trained), "sample": sample, "folder": str(settings.folder / "tokenizer")},
    )


def encoder(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Pre-trains a nano encoder on masked words."""
    return _pretrained(settings, before, "encoder", "mlm")


def decoder(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Pre-trains a nano decoder on the next token."""
    return _pretrained(settings, before, "decoder", "clm")


def fill(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Fills in masked words with the encoder."""
    import torch

    model, trained = _loaded(before["encoder"])
    rows = []
    for sentence in MASKED:
        inputs = trained(sentence, return_tensors="pt")
        place = (inputs["input_ids"][0] == trained.mask_token_id).nonzero()[0, 0]
        with torch.no_grad():
            chances = model(**inputs).logits[0, place].softmax(-1).topk(5)
        guesses = [trained.decode([token]) for token in chances.indices]
        rows.append(
            (sentence, *(f"{guess} {p:.0%}" for guess, p in zip(guesses, chances.values, strict=True)))
        )
    return Outcome(
        f"{rows[0][0]} → {rows[0][1]}",
        {"filled": rows},
        tables=[("The five most likely words", ("sentence", "1", "2", "3", "4", "5"), rows)],
    )


def go_on(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Continues sentences with the decoder."""
    import torch

    model, trained = _loaded(before["decoder"])
    torch.manual_seed(settings.seed)
    trained.padding_side = "left"
    inputs = trained(list(BEGUN), return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    ids = model.generate(
        **inputs, max_new_tokens=40, do_sample=True, top_p=0.9, temperature=0.8, repetition_penalty=1.2
    )
    texts = [trained.decode(row, skip_special_tokens=True) for row in ids]
    rows = [(start, whole[len(start) :]) for start, whole in zip(BEGUN, texts, strict=True)]
    return Outcome(
        f"{rows[0][0]} → {rows[0][1]}",
        {"continued": rows},
        tables=[("Sentences that the decoder continued (top-p 0.9)", ("begun", "continued"), rows)],
    )


def relay(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Keeps a simulated 802.1X session for a month, on a simulated clock, against each kind of switch."""
    from shoestring.relay.lab.simulate import soak
    from shoestring.relay.lab.switch import Rules

    rules = (Rules(dialect="ruijie"), Rules(dialect="h3c", handshake=60))
    months = [soak(30, each) for each in rules]
    rows = [(each.dialect, each.strategy, each.echoes, each.handshakes, each.lost) for each in months]
    return Outcome(
        "; ".join(
            f"30 days against a {each.dialect} switch by {each.strategy}, put off line {each.lost} times"
            for each in months
        ),
        {"months": [each._asdict() for each in months]},
        tables=[
            (
                "A month without the PC",
                ("switch", "kept alive by", "echoes", "handshakes", "put off line"),
                rows,
            )
        ],
    )


def _pretrained(settings: Settings, before: dict[str, Outcome], name: str, objective: str) -> Outcome:
    from shoestring import hub
    from shoestring.train import TrainSettings
    from shoestring.transformer.model.configuration import preset
    from shoestring.transformer.pretraining.pretrain import pretrain

    folder = settings.folder / name
    done = pretrain(
        files.documents(before["text"].facts["files"]),
        hub.load_tokenizer(before["tokenizer"].facts["folder"]),
        folder,
        objective=objective,
        # Minutes are few: a shallow model and small batches take more steps, which is what counts early on.
        config=preset("nano", num_layers=2),
        settings=TrainSettings(steps=1, batch_size=8, learning_rate=2e-3, seed=settings.seed),
        minutes=settings.minutes / 2,
        length=LENGTH,
        overwrite=(folder / "config.json").exists(),
        ui=settings.ui,
    )
    steps = done.history.steps[-1]
    return Outcome(
        f"{done.parameters / 1e6:.1f} M parameters, {steps:,} steps: held-out loss {done.loss:.2f} nats "
        f"(guessing: {done.untrained_loss:.2f})",
        {
            "folder": str(folder),
            "parameters": done.parameters,
            "steps": steps,
            "epochs": done.epochs,
            "seconds": done.history.seconds,
            "held_out_loss": done.loss,
            "guessing_loss": done.untrained_loss,
        },
        figures=[(f"Loss of the {name}", folder / "loss.png")],
    )


def _loaded(outcome: Outcome) -> tuple[Any, Any]:
    from shoestring import hub
    from shoestring.transformer.model.heads import ShoestringForCausalLM, ShoestringForMaskedLM

    folder = Path(outcome.facts["folder"])
    family = ShoestringForMaskedLM if folder.name == "encoder" else ShoestringForCausalLM
    with hub.silenced():
        return family.from_pretrained(folder).eval(), hub.load_tokenizer(folder)


STAGES = [
    Stage("text", "Real Chinese text", read),
    Stage("count", "Counting its words", count, needs=("text",)),
    Stage("tokenizer", "A tokenizer from that text", tokenizer, needs=("text",)),
    Stage("encoder", "Pre-training an encoder", encoder, needs=("text", "tokenizer")),
    Stage("fill", "The encoder fills in masked words", fill, needs=("encoder",)),
    Stage("rank", "How many dimensions its attention has", rank, needs=("text", "encoder")),
    Stage("heads", "Wider keys or talking heads? (too short to decide)", heads, needs=("text",)),
    Stage("decoder", "Pre-training a decoder", decoder, needs=("text", "tokenizer")),
    Stage("continue", "The decoder continues sentences", go_on, needs=("decoder",)),
    Stage("grow", "Growing the decoder", grow.grow, needs=("text", "tokenizer", "decoder")),
    Stage(
        "few-shot", "The decoder judges reviews from a few examples", lm.few_shot, needs=("text", "decoder")
    ),
    Stage("match", "Two sentences of one paragraph, or of two", match, needs=("text", "encoder")),
    Stage("nvae", "Digits that a VAE draws", nvae),
    Stage("relay", "A month on line without the PC (simulated)", relay),
]
