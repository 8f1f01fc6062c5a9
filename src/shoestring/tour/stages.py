"""The story: the stages of the tour, in order. A new system joins by adding its stage to `STAGES`."""

from __future__ import annotations

from shoestring import files
from shoestring.tour import text
from shoestring.tour.counting import count
from shoestring.tour.decoder import decoder
from shoestring.tour.growing import grow
from shoestring.tour.matching import match
from shoestring.tour.nvae import nvae
from shoestring.tour.rank import rank
from shoestring.tour.scratch import scratch
from shoestring.tour.searching import search
from shoestring.tour.stage import Outcome, Settings, Stage
from shoestring.tour.talking import talking


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
            "bytes": sum(path.stat().st_size for path in targets.values()),
        },
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
        command="shoestring relay run --wan eth0 --lan br-lan",
        tables=[
            (
                "A month without the PC",
                ("switch", "kept alive by", "echoes", "handshakes", "put off line"),
                rows,
            )
        ],
    )


STAGES = [
    Stage("text", "Real Chinese text", read),
    Stage("count", "Counting its words", count, needs=("text",)),
    Stage("scratch", "From nothing: a tokenizer and an encoder", scratch, needs=("text",)),
    Stage("decoder", "A real decoder", decoder, needs=("text",)),
    Stage("grow", "That decoder, enlarged", grow, needs=("decoder",)),
    Stage("talking", "Talking heads switched on in it", talking, needs=("text", "decoder")),
    Stage("match", "Two sentences of one paragraph, or of two", match, needs=("text",)),
    Stage("search", "Reviews found by meaning", search, needs=("text",)),
    Stage("rank", "How many dimensions attention has", rank, needs=("text",)),
    Stage("nvae", "Digits that a VAE draws", nvae),
    Stage("relay", "A month on line without the PC (simulated)", relay),
]
