"""The keys that docs/json.md promises are those that the commands print; more commands are asked in their own tests."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from promised import kept, promised
from shoestring.cli import VERBS, command, main
from shoestring.relay.commands.main import VERBS as RELAY
from shoestring.relay.service.decode import describe
from shoestring.tour import report
from shoestring.tour.stage import Done, Headline, Outcome, Stage

TYPED = {
    "env": "env",
    "completion": "completion bash",
    "count CORPUS": "count a.txt",
    "count CORPUS -o FILE": "count a.txt -o w.tsv",
    "count merge": "count merge a.tsv a.tsv -o m.tsv",
    "count compare": "count compare a.tsv b.tsv --min-count 1",
    "count compare -o FILE": "count compare a.tsv b.tsv --min-count 1 -o keys.tsv",
    "count words": "count words long.txt",
    "count words -o FILE": "count words a.txt -o new.txt",
    "count bench": "count bench long.txt --megabytes 0.001 --workers 1",
    "count plot": "count plot a.tsv -o plots",
    "tokenizer": "tokenizer long.txt -o tok --vocab-size 600",
    "grow advise": "grow advise log.jsonl",
    "match audit": "match audit many.tsv",
    "match threshold": "match threshold scores.csv --test scores.csv",
    "match threshold --graded": "match threshold scores.csv --graded --test scores.csv",
    "match leaks": "match leaks pairs.tsv",
    "relay simulate": "relay simulate --days 0.1",
}


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
    kept(command, done.stdout)


def test_every_command_is_on_the_page():
    for verb in VERBS:
        made = command(verb)
        subcommands = RELAY if verb == "relay" else getattr(made, "commands", {})
        own = isinstance(made, click.Command) and getattr(made, "own", made) is not None
        for name in [*[verb] * own, *(f"{verb} {each}" for each in subcommands)]:
            page = (Path(__file__).resolve().parents[1] / "docs" / "json.md").read_text("utf-8")
            assert f"| `{name}` |" in page or f"| `{name} CORPUS` |" in page, f"{name} is not in docs/json.md"


def test_a_page_that_lacks_a_key_or_promises_one_too_many_is_found():
    with pytest.raises(AssertionError, match="not in docs"):
        kept("count merge", {"output": "a", "tables": 1, "rows": 2, "more": 3})
    with pytest.raises(AssertionError, match="rows"):
        kept("count merge", {"output": "a", "tables": 1})
    with pytest.raises(AssertionError, match="prints no"):
        kept("count CORPUS", {"top": [{"word": "a"}]})


def test_the_language_models_commands(tmp_path, capsys, monkeypatch):
    from lm.chat_model import chat_folder

    monkeypatch.chdir(tmp_path)
    model = chat_folder(tmp_path / "talker")
    Path("shots.tsv").write_text("the cat\tgood\nthe dog\tbad\n", "utf-8")
    Path("text.txt").write_text("the cat\n", "utf-8")
    for name, typed in {
        "lm generate": ["generate", model, "the cat", "--logprobs", "2", "--max-tokens", "3"],
        "lm choose": ["choose", model, "the", "cat", "dog"],
        "lm fewshot": [
            "fewshot",
            model,
            "shots.tsv",
            "--template",
            "sentiment",
            "--test",
            "shots.tsv",
            "--choose",
        ],
        "lm eval": ["eval", model, "text.txt", "--against", "fp32"],
        "lm eval --labelled": ["eval", model, "--labelled", "shots.tsv"],
        "lm convert": ["convert", model, "small", "--to", "int8"],
    }.items():
        with pytest.raises(SystemExit):
            main(["lm", *map(str, typed), "--json", *(["--device", "cpu"] if typed[0] != "convert" else [])])
        out, err = capsys.readouterr()
        assert out, err
        kept(name, out)


def test_what_the_tour_prints():
    stage = Stage("count", "Counting", lambda *_: Outcome("done"))
    done = [
        Done(stage, 1.0, Outcome("done", {"words": 3}, headline=Headline("a", "b", "c")), None),
        Done(stage, 1.0, None, "OptionError: no"),
    ]
    kept("tour", json.loads(json.dumps(report.as_json(done, {}))))


def test_a_relay_says_what_it_does_and_did(tmp_path):
    command = [sys.executable, "-m", "shoestring.relay"]
    where = ["--socket", str(tmp_path / "socket")]
    running = subprocess.Popen(
        [*command, "run", "--wan", "no-wan", "--lan", "no-lan", *where, "--json", "-q"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def asked(*words: str) -> str:
        return subprocess.run(
            [*command, *words, *where, "--json"], capture_output=True, text=True, check=True
        ).stdout

    try:
        end = time.monotonic() + 60
        while not (tmp_path / "socket").exists() and running.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        kept("relay status", asked("status"))
        kept("relay status --pcap FILE", asked("status", "--pcap", str(tmp_path / "last.pcap")))
    finally:
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    assert kept("relay status", out)["pairs"][0]["wan"] == "no-wan", err


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets take root")
def test_what_the_doctor_found(shoestring):
    done = shoestring("relay", "doctor", "--seconds", "0.1", "--json", "-q")
    assert done.stderr == ""
    kept("relay doctor", done.stdout)


def test_every_frame_has_fields_of_the_page():
    folder = Path(__file__).parent / "relay" / "frames"
    frames = [bytes.fromhex(path.read_text().split("#")[0]) for path in folder.glob("*.hex")]
    assert frames
    for raw in frames:
        for data, size in ((raw, None), (raw[:30], len(raw)), (raw + b"rest", None)):
            kept("relay decode", {"time": 0.0, **describe(data, size)})
    assert promised()["relay decode"]["eap"][0]


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
