"""`shoestring lm`: the list of its commands."""

from __future__ import annotations

from shoestring import ui
from shoestring.lm.commands.chat import chat
from shoestring.lm.commands.choose import choose
from shoestring.lm.commands.convert import convert
from shoestring.lm.commands.eval import evaluate
from shoestring.lm.commands.fewshot import fewshot
from shoestring.lm.commands.generate import generate
from shoestring.lm.commands.serve import serve

verb = ui.Group(
    "lm", convert, generate, chat, fewshot, choose, evaluate, serve,
    help="Chinese language models on small hardware: CPM-LM from its release, any GPT-2 or Llama, few-shot.",
)  # fmt: skip
