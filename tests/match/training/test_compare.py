"""A comparison is a curve that goes on where it was, with intervals that cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fast_training import FAST

from shoestring._errors import OptionError
from shoestring.match.commands.compare import _sizes as sizes_of
from shoestring.match.compare import KINDS, compare
from shoestring.match.deciding.curve import Curves, Run, interval
from shoestring.match.matcher import Matcher


def test_compare_is_a_curve_that_goes_on_where_it_was(base, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("shoestring.match.compare.LEAST", 10)
    settings = replace(FAST, freeze=1, prompt="猫", epochs=1, batch_size=32)
    data = (base, pairs(200, 1), pairs(80, 2), pairs(100, 3), tmp_path / "both", settings)
    more = {"others": {"other": pairs(50, 4)}, "kinds": tuple(KINDS), "sizes": (64, 9999)}
    found = compare(*data, **more)
    curves = found.curves
    with pytest.raises(OptionError, match="'test': is what the test pairs are called"):
        compare(*data, others={"test": pairs(50, 4)})
    assert curves.sizes == (64, 200)
    assert [(run.mode, run.size) for run in curves.runs] == [
        ("bi", 0), *((kind, size) for size in (64, 200) for kind in KINDS)
    ]  # fmt: skip
    assert {run.steps for run in curves.runs if run.size} == {10}  # a start from another kind counts
    for name in ("test", "other"):
        gap, low, high = curves.ahead("cross", 200, name)
        assert low <= gap <= high
        assert gap == pytest.approx(
            curves.accuracy("cross", 200, name)[0] - curves.accuracy("bi", 200, name)[0]
        )
        assert name in curves.sentence("cross", name)
    for kind in found.speeds:  # what was scored from remembered layers is what the stored model says
        (first,), kept = curves.of(kind, 200), Matcher(tmp_path / "both" / kind, "cpu")
        assert kept.crossed == (KINDS[kind][-1] == "cross")
        assert kept.scores(list(data[3])) == pytest.approx(first.scores["test"], abs=1e-4)
    few, many = (found.search_seconds("cross", texts) for texts in (10, 10**6))
    assert many / few == pytest.approx(1e5)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "both" / "runs").iterdir()}
    (tmp_path / "both" / "runs" / "cross-64-0.npz").unlink()
    again = compare(*data, **more)
    changed = [path.name for path in before if path.stat().st_mtime_ns != before[path]]
    assert changed == ["cross-64-0.npz"]
    assert again.curves.ahead("cross", 64, "test") == pytest.approx(
        curves.ahead("cross", 64, "test"), abs=1e-6
    )


@pytest.mark.parametrize(("gaps", "said"), [
    ((-0.2, 0.2, 0.3), "from 1,000 pairs on the cross-encoder is ahead"), ((0.3, 0.2, 0.0), "is ahead for certain"),
    ((0.2, -0.2, 0.3), "from 4,000 pairs on"), ((0.1, 0.0, -0.3), "the cross-encoder is behind, by -3"),
])  # fmt: skip
def test_the_sentence_is_what_the_curve_says_whichever_way(gaps, said, tmp_path):
    rng, runs = np.random.default_rng(0), []
    truth = rng.integers(0, 2, 2000)
    for size, gap in zip((250, 1000, 4000), gaps, strict=True):
        for mode, share in (("bi", 0.6), ("cross", 0.6 + gap)):
            for seed in range(3):
                right = rng.random(2000) < share
                run = Run(
                    mode,
                    size,
                    seed,
                    60,
                    1.0,
                    seed == 2,
                    0.5,
                    {"test": np.where(right, truth, 1 - truth)},
                    "x",
                )
                run.write(tmp_path / "run.npz")
                runs.append(Run.read(tmp_path / "run.npz"))
    curves = Curves(tuple(runs), {"test": truth}, {"test": truth}, {"some": ("test", truth == 1)})
    assert said in curves.sentence("cross", "test")
    assert curves.sizes == (250, 1000, 4000)
    assert curves.rising("bi") == [250, 1000, 4000]
    assert curves.right("bi", 250, "some").shape == (3, truth.sum())


@pytest.mark.parametrize("seeds", [1, 4])
def test_the_interval_over_pairs_and_seeds_covers(seeds):
    """Of simulated runs whose seeds differ and whose pairs differ, one in twenty is outside."""
    rng, inside = np.random.default_rng(0), 0
    for at in range(200):
        seed_effects = rng.normal(0, 0.02, seeds) if seeds > 1 else np.zeros(1)
        pair_effects = rng.normal(0, 1, 300)
        values = 0.1 + seed_effects[:, None] + pair_effects + rng.normal(0, 0.3, (seeds, 300))
        _, low, high = interval(values, seed=at, rounds=300)
        inside += low <= 0.1 <= high
    assert inside / 200 > 0.9


def test_sizes_that_do_not_fit_are_told_apart():
    assert sizes_of("64,9999,250,10,all", 400, 32) == ([64, 250, 400], [10, 9999])
    for wrong, why in (("2_50", "write numbers"), ("10", "two batches, 64")):
        with pytest.raises(OptionError, match=why):
            sizes_of(wrong, 400, 32)
