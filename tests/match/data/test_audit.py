"""Shortcuts are found where they are and only there; options that do nothing are refused; scales are kept apart."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from shoestring._errors import OptionError
from shoestring.match.data.audit import KINDS, audit, guesser, surface_warnings
from shoestring.match.data.pairs import Pairs
from shoestring.match.deciding.decision import decide
from shoestring.match.training.settings import RANKING, Training

LETTERS = list("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏")


def sets(shortcut=None, count=600, seed=0):
    """Random texts and labels; the surface tells 80 in 100 of the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    told = np.where(rng.random(count) < 0.8, labels, 1 - labels)
    first = ["".join(rng.choice(LETTERS, rng.integers(8, 14))) for _ in labels]
    second = ["".join(rng.choice(LETTERS, rng.integers(8, 14))) for _ in labels]
    for at, mark in enumerate(told):
        if shortcut == "final marks":
            second[at] += "？" if mark else "呀"
        if shortcut == "lengths":
            second[at] += "".join(rng.choice(LETTERS, 6 * mark))
        if shortcut == "one text alone":
            first[at] += "东西" if mark else "南北"
        if shortcut == "overlap":  # all of one length
            first[at] = (first[at] * 2)[:10]
            second[at] = "".join(rng.permutation(list(first[at]))) if mark else (second[at] * 2)[:10]
    return Pairs(first, second, labels.astype(float), str(shortcut))


@pytest.mark.parametrize("shortcut", ["final marks", "lengths", "one text alone", "overlap", None])
def test_a_shortcut_is_found_where_it_is(shortcut):
    (found,) = audit([sets(shortcut)], kinds=KINDS)
    areas = {kind: each.area for kind, each in found.shortcuts.items()}
    if shortcut is None:
        assert max(abs(area - 0.5) for area in areas.values()) < 0.1
        assert not found.warnings()
    else:
        assert areas[shortcut] > 0.72
        assert bool(found.warnings()) == (shortcut != "overlap")
    assert surface_warnings(sets(shortcut)) or shortcut in (None, "overlap")


def test_a_shortcut_of_one_set_does_not_help_in_the_other():
    one, two = audit([sets("final marks"), sets("lengths", seed=1)], kinds=("final marks", "lengths"))
    assert one.shortcuts["final marks"].elsewhere["lengths"] < 0.6 < one.shortcuts["final marks"].area
    assert two.shortcuts["lengths"].area > 0.7


def test_what_is_measured_was_not_seen():
    """Every pair twice: a model that had seen a double would know the label."""
    once = sets(None, 300)
    twice = once.take(np.tile(np.arange(300), 2))
    (found,) = audit([twice], kinds=("frequent words",))
    assert found.shortcuts["frequent words"].area < 0.6
    assert (guesser(once, once.binary(), "frequent words")(once) >= 0.5).mean() > 0  # and on its own it may


def test_parts_share_no_text():
    pairs = Pairs(["a", "b", "c", "d", "e", "f"], ["b", "c", "x", "y", "z", "e"], np.arange(6.0))
    parts = pairs.parts(2, seed=1)
    assert parts[0] == parts[1] == parts[2]
    assert parts[4] == parts[5]
    assert set(parts.tolist()) == {0, 1}


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    "changes",
    [
        *({name: value} for name in ("learning_rate", "head_learning_rate", "scale", "epochs", "above")
          for value in (NAN, INFINITE)),
        {"learning_rate": 0}, {"head_learning_rate": 1e-3}, {"one_way": True}, {"batch_size": 1}, {"chunk": 0},
        {"chunk": 8, "loss": "softmax"}, {"chunk": 8, "loss": RANKING[0]}, {"hard_negatives": 2},
        {"hard_negatives": -1, "loss": RANKING[0]}, {"lora": -1}, {"scale": 2.0, "loss": "contrastive"},
        {"max_length": 3},
        {"mode": "cross", "prompt": "query: "}, {"mode": "cross", "pooling": "cls"}, {"mode": "cross", "loss": "angle"},
        {"mode": "joined", "freeze": 0}, {"mode": "joined", "pooling": "cls", "freeze": 1},
        {"freeze": -1}, {"freeze": 2, "pooling": "first-last-avg"}, {"loss": "triplet"}, {"metric": "best"},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_that_is_wrong_or_would_do_nothing_is_refused(changes):
    with pytest.raises(
        OptionError, match=next(iter(changes)).split("_")[0] if "mode" not in changes else list(changes)[1]
    ):
        Training(**changes)


def test_every_setting_is_part_of_a_run_s_identity(base, pairs):
    from shoestring.match.training.train import _identity

    data = (base, pairs(20, 1), pairs(20, 2))
    names = {each.name for each in fields(Training)} - {
        "device",
        "chunk",
    }  # which change nothing of the result
    assert names <= set(_identity(*data, Training()))


def test_labels_of_another_scale_are_refused(pairs):
    binary, graded = pairs(200, 1), pairs(200, 1, graded=True)
    scores = np.random.default_rng(0).random(200)
    decision = decide(scores, binary, "bi", "f1")
    with pytest.raises(OptionError, match=r"labels from 0 to 3.*from 0 to 1.*--above 1.5"):
        decision.cut(graded)
    assert decision.cut(graded, 1.5) == 1.5
    assert decision.cut(binary) == 0.5
    assert decide(scores, graded, "bi", "f1").cut(graded.take(np.flatnonzero(graded.labels > 0))) == 1.5


def test_other_pairs_are_remarked_on(pairs):
    binary, rng = pairs(400, 1), np.random.default_rng(0)
    scores = 0.9 + 0.02 * rng.normal(size=400) + 0.03 * binary.labels
    decision = decide(scores, binary, "bi", "f1")
    assert not decision.remarks(scores[::2], binary.binary()[::2])
    assert "median score" in decision.remarks(scores - 0.05)[0]
    assert "match" in decision.remarks(scores, (rng.random(400) < 0.1).astype(int))[0]


def test_the_command(match, tmp_path):
    for name, pairs in (("a", sets("final marks")), ("b", sets(None, seed=1))):
        rows = [f"{one}\t{two}\t{label:g}\n" for (one, two), label in zip(pairs, pairs.labels, strict=True)]
        (tmp_path / f"{name}.tsv").write_text("".join(rows), "utf-8")
    done = match("audit", "a.tsv", "b.tsv")
    assert done.exit_code == 0, done.stderr
    assert "SHORTCUT: a.tsv" in done.stderr
    assert "SHORTCUT: b.tsv" not in done.stderr
    first = json.loads(match("audit", "a.tsv", "b.tsv", "--json").stdout)["sets"][0]
    assert first["guessed from"]["final marks"]["area"] > 0.7


def test_settings_replace_keeps_the_laws():
    assert replace(Training(freeze=8), mode="cross").rates == (2e-4, 1e-3)
    assert Training().rates[0] == 2e-5


def test_huge_texts_are_audited():
    """Their shares of each other differ by less than the bins of scikit-learn are wide."""
    first = tuple("a" * (100_000 + at % 3) + f"{at:02}" for at in range(40))
    second = tuple(f"b{at:02}" for at in range(40))
    found = audit([Pairs(first, second, np.arange(40) % 2.0, "huge")], kinds=("lengths",))
    assert found[0].pairs == 40
