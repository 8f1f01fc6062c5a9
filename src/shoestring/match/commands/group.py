"""`shoestring match`: the list of its commands."""

from __future__ import annotations

from shoestring import ui
from shoestring.match.commands.audit import audit
from shoestring.match.commands.compare import compare
from shoestring.match.commands.delete import delete
from shoestring.match.commands.eval import evaluate
from shoestring.match.commands.index import index
from shoestring.match.commands.leaks import leaks
from shoestring.match.commands.predict import predict
from shoestring.match.commands.search import search
from shoestring.match.commands.serve import serve
from shoestring.match.commands.threshold import threshold
from shoestring.match.commands.train import train

verb = ui.Group(
    "match", train, predict, evaluate, compare, threshold, audit, leaks, index, search, delete, serve,
    help="Are these two texts the same? Train, choose a threshold, compare, search.",
)  # fmt: skip
