"""The README's blocks run as written, its table is what was measured, its links lead somewhere."""

import importlib
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from shoestring.files import documents
from shoestring.tour.text import bundled

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "README.zh.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("write_tables")


def test_tables_come_from_the_results(table):
    for page in table.BLOCKS:
        assert (ROOT / page).read_text("utf-8") == table.up_to_date(page), page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text("utf-8")):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_both_languages_show_the_same_commands():
    assert [block.split("#")[0] for block in blocks("README.md", "bash")[1:]] == [
        block.split("#")[0] for block in blocks("README.zh.md", "bash")[1:]
    ]
    assert len(blocks("README.md", "python")) == len(blocks("README.zh.md", "python"))


@pytest.mark.slow
def test_the_blocks_run_as_written(tmp_path):
    (tmp_path / "corpus").mkdir()
    reviews = documents([bundled() / "sentiment" / "pos.txt"])
    (tmp_path / "corpus" / "reviews.txt").write_text("\n".join(islice(reviews, 2000)), "utf-8")
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "shoestring").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m shoestring "$@"\n')
    (bin / "shoestring").chmod(0o755)
    settings = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"}
    page = (ROOT / "README.md").read_text("utf-8")
    for language, code in re.findall(r"^```(bash|python)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        if "make tour" in code:
            continue
        command = ["sh", "-ec", code] if language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"
