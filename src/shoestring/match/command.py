"""`shoestring match`: the list of its commands."""

from __future__ import annotations

import click

from shoestring.match.fitting import compare, train
from shoestring.match.judging import evaluate, leaks, predict
from shoestring.match.scores import threshold
from shoestring.match.searching import delete, index, search, serve

verb = click.Group(
    "match",
    {
        str(each.name): each
        for each in (
            train,
            predict,
            evaluate,
            compare,
            threshold,
            leaks,
            index,
            search,
            delete,
            serve,
        )
    },
    help="Are these two texts the same? Train, choose a threshold, compare, search.",
)
