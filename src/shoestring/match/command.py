"""`shoestring match`: the list of its commands."""

from __future__ import annotations

import click

from shoestring.match.commands import compare, evaluate, leaks, predict, train
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
