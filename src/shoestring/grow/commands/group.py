"""`shoestring grow`: the command itself and its subcommands."""

from __future__ import annotations

from shoestring import ui
from shoestring.grow.commands.advise import advise
from shoestring.grow.commands.grow import grow
from shoestring.grow.commands.plan import plan

verb = ui.Group(grow, advise, plan)
