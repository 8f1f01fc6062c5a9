"""The keys that docs/json.md promises are those that the commands print."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TYPED = {
    "count CORPUS": "count a.txt",
    "count CORPUS -o FILE": "count a.txt -o w.tsv",
    "count merge": "count merge a.tsv a.tsv -o m.tsv",
    "count compare": "count compare a.tsv b.tsv --min-count 1",
    "count words": "count words a.txt -o new.txt",
    "count plot": "count plot a.tsv -o plots",
    "tokenizer": "tokenizer long.txt -o tok --vocab-size 600",
    "grow advise": "grow advise log.jsonl",
    "match audit": "match audit many.tsv",
    "match threshold": "match threshold scores.csv",
    "match leaks": "match leaks pairs.tsv",
    "relay simulate": "relay simulate --days 0.1",
}


def promised() -> dict[str, tuple[list[str], list[str]]]:
    """Command -> its keys, and the keys of the first list in it."""
    page = (ROOT / "docs" / "json.md").read_text("utf-8")
    table = page.split("<!-- keys -->")[1].split("<!-- /keys -->")[0]
    out = {}
    for command, keys in re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, re.MULTILINE):
        inner = re.search(r"\[(.*?)\]", keys)
        plain = re.sub(r": \[.*?\]| \(with [^)]*\)", "", keys)
        out[command] = (plain.split(", "), inner[1].split(", ") if inner else [])
    return out


@pytest.mark.parametrize("command", TYPED)
def test_a_command_prints_the_keys_that_are_promised(shoestring, tmp_path, command):
    (tmp_path / "a.txt").write_text("我们喜欢北京\n", "utf-8")
    (tmp_path / "a.tsv").write_text("北京\t2\n我们\t1\n", "utf-8")
    (tmp_path / "b.tsv").write_text("北京\t1\n上海\t3\n", "utf-8")
    (tmp_path / "scores.csv").write_text("score,label\n0.9,1\n0.8,1\n0.5000000001,1\n0.5,0\n0.1,0\n", "utf-8")
    (tmp_path / "pairs.tsv").write_text("a\tb\t1\nc\td\t0\n", "utf-8")
    text = "".join(f"{chr(0x4E00 + i)}{chr(0x4E00 + i * 7 % 500)}喜欢北京\n" for i in range(500))
    (tmp_path / "long.txt").write_text(text, "utf-8")
    steps = range(100, 6000, 100)
    log = "".join(json.dumps({"step": step, "loss": 2 + 5 * step**-0.3}) + "\n" for step in steps)
    (tmp_path / "log.jsonl").write_text(log)
    rows = "".join(
        f"{chr(0x4E00 + i)}好吗\t{chr(0x5E00 + i)}怎么样{i % 2 * '。'}\t{i % 2}\n" for i in range(200)
    )
    (tmp_path / "many.tsv").write_text(rows, "utf-8")
    done = shoestring(*TYPED[command].split(), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    keys, inner = promised()[command]
    assert list(found) == keys
    if inner:
        assert list(next(value for value in found.values() if isinstance(value, list))[0]) == inner


def test_a_threshold_for_machines_separates_what_it_separated(shoestring, tmp_path):
    (tmp_path / "s.csv").write_text("score,label\n0.5000000001,1\n0.5,0\n0.5,0\n0.5000000001,1\n", "utf-8")
    threshold = json.loads(shoestring("match", "threshold", "s.csv", "--json").stdout)["threshold"]
    assert 0.5 < threshold < 0.5000000001


@pytest.mark.parametrize("metric", ["f1", "mcc", "accuracy", "cost=2,1"])
def test_an_interval_stays_where_its_metric_can_be(shoestring, tmp_path, metric):
    (tmp_path / "s.csv").write_text("score,label\n0.9,1\n0.8,1\n0.3,0\n0.1,0\n", "utf-8")
    found = json.loads(shoestring("match", "threshold", "s.csv", "--metric", metric, "--json").stdout)
    low, high = next(
        value for key, value in found.items() if key.endswith(" interval") and key != "threshold interval"
    )
    assert {"f1": 0, "mcc": -1, "accuracy": 0, "cost=2,1": -2}[metric] <= low <= high
    assert high <= (0 if metric.startswith("cost") else 1)
