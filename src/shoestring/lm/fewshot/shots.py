"""Shots and test queries as people keep them: tables, read as strictly as everywhere in shoestring."""

from __future__ import annotations

from pathlib import Path

from shoestring._errors import InputError
from shoestring.files.tables import Column, read_table
from shoestring.lm.fewshot.template import Shot

INPUT = ("input", "text", "sentence", "review", "query", "question", "输入", "文本", "句子", "问题", "评论")
OUTPUT = ("output", "label", "answer", "target", "输出", "标签", "答案", "回答")


def read_shots(source: str | Path, labelled: bool = True) -> list[Shot]:
    """Reads (input, output) pairs: the first two columns, or those called so in a header.

    Args:
        source: .tsv, .csv, .jsonl or .parquet, also compressed; any other name is read as .tsv.
        labelled: whether every row needs an output; else it is "" where there is none.

    Raises:
        InputError: nothing there, or a bad row; the line is named.
    """
    columns = (
        Column(None, INPUT, 0, "input"),
        Column(None, OUTPUT, 1, "output", optional=not labelled),
    )
    found = []
    for line, cells in read_table(source, columns, kind="tsv", remedy="write input TAB output"):
        one, other = ("" if cell is None else str(cell) for cell in cells)
        if not one.strip() or (labelled and not other.strip()):
            which = "output" if one.strip() else "input"
            raise InputError(f"{source}: line {line:,}: empty {which}; write input TAB output")
        found.append((one, other))
    if not found:
        raise InputError(f"{source}: empty; write input TAB output, one a line")
    return found
