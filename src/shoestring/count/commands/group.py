"""`shoestring count`: the command itself and its subcommands."""

from __future__ import annotations

from shoestring import ui
from shoestring.count.commands.bench import bench
from shoestring.count.commands.compare import compare
from shoestring.count.commands.count import count
from shoestring.count.commands.merge import merge
from shoestring.count.commands.plot import plot
from shoestring.count.commands.words import words

verb = ui.Group(count, bench, compare, merge, plot, words)
