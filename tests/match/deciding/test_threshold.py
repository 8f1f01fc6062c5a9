"""Thresholds equal brute force; they never separate equal scores; their intervals cover the truth."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from shoestring._errors import InputError, OptionError
from shoestring.match.deciding.grading import graded
from shoestring.match.deciding.metric import Metric
from shoestring.match.deciding.threshold import Curve, best, bootstrap

METRICS = (
    "accuracy", "f1", "mcc", "balanced", "cost=1,5", "recall@precision=0.8", "precision@recall=0.5",
)  # fmt: skip
BAD_PRECISION = -math.inf


def measured(metric: str, truth: np.ndarray, said: np.ndarray) -> float:
    """The metric by scikit-learn."""
    name, _, target = metric.partition("=")
    if name == "cost":
        return -float(((said == 1) & (truth == 0)).sum() + 5 * ((said == 0) & (truth == 1)).sum()) / len(
            truth
        )
    precision = sk.precision_score(truth, said, zero_division=0)
    recall = sk.recall_score(truth, said)
    if name == "recall@precision":
        return recall if precision >= float(target) else BAD_PRECISION
    if name == "precision@recall":
        return precision if recall >= float(target) else BAD_PRECISION
    functions = {
        "accuracy": sk.accuracy_score, "f1": lambda a, b: sk.f1_score(a, b, zero_division=0),
        "mcc": sk.matthews_corrcoef, "balanced": sk.balanced_accuracy_score,
    }  # fmt: skip
    return float(functions[name](truth, said))


def brute(metric: str, scores: np.ndarray, truth: np.ndarray) -> float:
    cuts = [math.inf, *np.unique(scores)]
    return max(measured(metric, truth, (scores >= cut).astype(int)) for cut in cuts)


@st.composite
def scored(draw) -> tuple[np.ndarray, np.ndarray]:
    """Few different scores, so most are tied; both labels occur."""
    size = draw(st.integers(2, 30))
    levels = draw(st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=6, unique=True))
    scores = draw(st.lists(st.sampled_from(levels), min_size=size, max_size=size))
    truth = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    scores[:2], truth[:2] = levels[:2], [0, 1]
    kind = draw(st.sampled_from([np.float32, np.float64]))
    return np.array(scores, kind), np.array(truth)


@settings(deadline=None)
@given(scored(), st.sampled_from(METRICS))
def test_the_best_cut_equals_brute_force_and_attains_what_it_promises(case, metric: str):
    scores, truth = case
    expected = brute(metric, scores, truth)
    if expected == BAD_PRECISION:
        with pytest.raises(InputError, match="no threshold reaches"):
            best(scores, truth, metric)
        return
    cut = best(scores, truth, metric)
    said = (scores >= scores.dtype.type(cut.threshold)).astype(int)
    assert cut.value == pytest.approx(expected, abs=1e-12)
    assert measured(metric, truth, said) == pytest.approx(expected, abs=1e-12)
    assert (cut.tp, cut.fp) == (int((said & truth).sum()), int((said & (1 - truth)).sum()))
    assert cut.tp + cut.fp + cut.fn + cut.tn == len(truth)


@settings(deadline=None)
@given(scored(), st.sampled_from(METRICS[:5]))
def test_the_optimum_never_lies_inside_a_tie(case, metric: str):
    scores, truth = case
    threshold = best(scores, truth, metric).threshold
    for score in np.unique(scores):
        assert len(set(scores[scores == score] >= threshold)) == 1


def test_a_thousand_tie_heavy_cases_agree_with_brute_force():
    rng = np.random.default_rng(0)
    for case in range(1000):
        size = int(rng.integers(4, 50))
        truth = rng.integers(0, 2, size)
        scores = np.round(rng.normal(size=size) + truth, 0 if case % 2 else 1)
        truth[:2], scores[:2] = (0, 1), (0.0, 1.0)
        tp, fp = zip(
            *(((scores >= t) @ truth, (scores >= t) @ (1 - truth)) for t in [9, *set(scores)]), strict=True
        )
        for metric in ("accuracy", "f1", "mcc"):
            values = Metric(metric).values(np.array(tp), np.array(fp), truth.sum(), (1 - truth).sum())
            assert best(scores, truth, metric).value == pytest.approx(values.max(), abs=1e-12)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_neighbouring_numbers_are_separated(kind):
    low = kind(0.7)
    high = np.nextafter(low, kind(1))
    cut = best(np.array([low, high]), [0, 1], "accuracy")
    assert cut.value == 1
    assert low < cut.threshold <= high


def test_all_negative_is_a_cut_too():
    cut = best([0.9, 0.5, 0.4], [0, 1, 0], "cost=100,1")
    assert cut.threshold > 0.9
    assert (cut.tp, cut.fp) == (0, 0)


def test_of_equal_optima_the_widest_gap_is_taken():
    assert best([0.95, 0.9, 0.8, 0.2, 0.15], [1, 1, 1, 0, 0], "accuracy").threshold == pytest.approx(0.5)
    scores, truth = [0.95, 0.92, 0.9, 0.3, 0.29], [1, 0, 1, 0, 0]
    assert best(scores, truth, "accuracy").threshold == pytest.approx(0.6)


def test_bootstrap_resamples_as_drawing_pairs_does():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 300)
    scores = np.round(rng.normal(size=300) + 1.5 * truth, 1)
    curve = Curve.of(scores, truth)
    ours = np.array([curve.resampled(rng).best("f1").value for _ in range(400)])
    rows = rng.integers(0, 300, (400, 300))
    plain = np.array([best(scores[row], truth[row], "f1").value for row in rows])
    assert abs(ours.mean() - plain.mean()) < 4 * plain.std() / 20
    assert ours.std() == pytest.approx(plain.std(), rel=0.2)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.integers(1, 70), st.integers(0, 9))
def test_groups_of_scores_hold_all_pairs_and_cut_where_scores_do(scores, most, seed):
    labels = np.random.default_rng(seed).integers(0, 2, len(scores))
    curve = Curve.of(scores, labels)
    coarse = curve.grouped(most)
    assert len(coarse.scores) <= max(1, most)
    assert curve.grouped(len(scores)) is curve
    for at, score in enumerate(coarse.scores, 1):  # a group's threshold makes the same pairs positive
        above = np.array(scores) >= score
        assert [count[at] for count in coarse.counts] == [labels[above].sum(), (1 - labels)[above].sum()]
    most_of_one = np.unique(scores, return_counts=True)[1].max()
    assert coarse.weights.sum(axis=0).max() <= len(scores) / most + most_of_one


def test_intervals_cover_the_truth_and_optimism_is_what_is_lost_on_new_data():
    rng, inside, lost = np.random.default_rng(1), [], []
    big = np.repeat([0, 1], 100_000)
    everything = Curve.of(rng.normal(size=200_000) + 1.5 * big, big)
    truth = everything.best("f1")
    covered = np.zeros(2)
    for seed in range(100):
        labels = rng.integers(0, 2, 400)
        curve = Curve.of(rng.normal(size=400) + 1.5 * labels, labels)
        cut, found = curve.best("f1"), bootstrap(curve, "f1", rounds=200, seed=seed)
        covered += [low <= value <= high for (low, high), value in
                    ((found.threshold, truth.threshold), (found.value, truth.value))]  # fmt: skip
        inside.append(found.optimism)
        lost.append(cut.value - everything.at(cut.threshold, "f1").value)
    assert (covered >= 85).all()
    assert np.mean(inside) == pytest.approx(np.mean(lost), abs=0.01)
    assert np.mean(inside) > 0


@settings(deadline=None)
@given(scored())
def test_grades_equal_brute_force(case):
    scores, _ = case
    grades = np.random.default_rng(len(scores)).integers(0, 3, len(scores))
    cuts = [-9.0, *np.unique(scores)]
    for goal in ("accuracy", "mae"):
        values = []
        for low in cuts:
            for high in (cut for cut in cuts if cut >= low):
                levels = np.unique(grades)
                places = (scores > low).astype(int) + (scores > high)
                said = levels[np.minimum(places, len(levels) - 1)]
                right = said == grades if goal == "accuracy" else -np.abs(said - grades)
                values.append(np.mean(right))
        found = graded(scores, grades, goal)
        assert found.value == pytest.approx(max(values), abs=1e-9)
        said = found.predict(scores.astype(float))
        assert np.mean(said == grades if goal == "accuracy" else -np.abs(said - grades)) == pytest.approx(
            found.value
        )


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([], [], "at least one number"), ([1.0, math.nan], [0, 1], "score 1 is nan"),
        ([1.0], [0, 1], "1 scores and 2 labels"), ([1.0, 2.0], [0, 3], "label 1 is 3"),
        ([1.0, 2.0], [1, 1], "all labels are 1"), ([1.0, 1.0], [0, 1], "all scores are 1"),
        ([1.0, math.inf], [0, 1], "finite"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(scores, labels, message):
    with pytest.raises(InputError, match=message):
        best(scores, labels)


@pytest.mark.parametrize(
    "text",
    [
        "f2",
        "cost",
        "cost=1",
        "recall@precision=0",
        "recall@precision=nan",
        "cost=a,b",
        "recall@precision=2",
        "recall=1",
        "f1=1",
        "cost=0,0",
    ],
)
def test_bad_metrics_are_refused(text):
    with pytest.raises(OptionError, match="metric"):
        Metric.parse(text)


@pytest.mark.parametrize("text", METRICS)
def test_a_metric_is_read_as_it_is_written(text):
    assert str(Metric.parse(text)) == text


def test_the_command_tunes_on_one_file_and_reports_on_another(shoestring, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("dev", "test"):
        truth = rng.integers(0, 2, 500)
        rows = [
            f"{score:.3f}\t{label}"
            for score, label in zip(rng.normal(size=500) + 2 * truth, truth, strict=True)
        ]
        (tmp_path / f"{name}.tsv").write_text("score\tlabel\n" + "\n".join(rows))
    done = shoestring("match", "threshold", "dev.tsv", "--metric", "f1", "--test", "test.tsv", "--json")
    found = json.loads(done.stdout)
    low, high = found["threshold interval"]
    assert low <= found["threshold"] <= high
    assert 0.7 < found["f1 on test.tsv"] < 1
    plain = shoestring("match", "threshold", "dev.tsv", "--metric", "accuracy")
    assert "accuracy" in plain.stdout
    assert "optimistic" in plain.stderr


@pytest.mark.parametrize("metric", METRICS)
def test_what_a_threshold_does_elsewhere_is_a_number(metric):
    """Where it finds nothing of what it was to find, too."""
    there = Curve.of([0.1, 0.2, 0.3], [1, 0, 1])
    low, high = Metric.parse(metric).range
    assert all(low <= there.at(threshold, metric).value <= high for threshold in (0, 0.15, 0.25, 2))
    few = bootstrap(Curve.of([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0]), metric, 50).value
    assert low <= few[0] <= few[1] <= high


@given(scored())
def test_the_area_equals_counting_pairs_of_pairs(case):
    scores, labels = np.array(case[0]), np.array(case[1]) > 0
    one, other = scores[labels][:, None], scores[~labels][None]
    wanted = ((one > other) + (one == other) / 2).mean() if one.size and other.size else math.nan
    assert Curve.of(scores, labels).area == pytest.approx(wanted, nan_ok=True)


def test_the_command_remarks_on_distances_and_reads_truth_values(shoestring, tmp_path):
    (tmp_path / "far.csv").write_text("distance,label\n0.1,True\n0.2,true\n0.8,False\n0.9,FALSE\n")
    done = shoestring("match", "threshold", "far.csv", "--score", "distance", "--json")
    assert json.loads(done.stdout)["pairs"] == 4
    assert "if these are distances" in done.stderr


def test_the_command_names_the_line_that_is_wrong(shoestring, tmp_path):
    (tmp_path / "bad.tsv").write_text("score\tlabel\n0.5\t1\nnan\t0\n")
    done = shoestring("match", "threshold", "bad.tsv")
    assert done.returncode == 1
    assert "bad.tsv: line 3" in done.stderr
    (tmp_path / "spaced.tsv").write_text("score\tlabel\n0.5\t1\n1_000\t0\n")
    said = shoestring("match", "threshold", "spaced.tsv").stderr
    assert "spaced.tsv: line 3: score '1_000' is no finite number" in said
    (tmp_path / "twice.tsv").write_text("score\tscore\tlabel\n1\t2\t1\n")
    assert "2 columns are called 'score'" in shoestring("match", "threshold", "twice.tsv").stderr


def test_thresholds_need_no_torch():
    code = "import sys; import shoestring.match.deciding.threshold; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def covered(metric, shift, share, pairs, sets):
    """How many intervals hold the true value, which is known of normal scores."""
    normal, rng, inside = NormalDist(), np.random.default_rng(1), []
    for seed in range(sets):
        labels = (rng.random(pairs) < share).astype(int)
        curve = Curve.of(rng.normal(size=pairs) + shift * labels, labels)
        at = curve.best(metric).threshold
        tp, fp = share * (1 - normal.cdf(at - shift)), (1 - share) * (1 - normal.cdf(at))
        truth = Metric.parse(metric).values(np.array([tp]), np.array([fp]), share, 1 - share)[0]
        low, high = bootstrap(curve, metric, 2, seed=seed).value
        inside.append(low <= truth <= high)
    return np.mean(inside)


@pytest.mark.parametrize(("metric", "shift", "share"), [("accuracy", 1.5, 0.5), ("f1", 1.0, 0.3)])
def test_the_interval_of_the_value_holds_the_true_one(metric, shift, share):
    """93 in 100 intervals at 100 pairs; chance takes three of 120."""
    assert covered(metric, shift, share, 100, 120) > 0.905


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "shift", "share"), [
    ("accuracy", 1.5, 0.5), ("f1", 1.0, 0.3), ("mcc", 1.5, 0.3), ("cost=1,5", 1.5, 0.5)
])  # fmt: skip
def test_the_interval_of_the_value_holds_the_true_one_at_a_thousand_pairs(metric, shift, share):
    """Between 93 and 97.5 in 100 of 400 sets."""
    assert 0.93 <= covered(metric, shift, share, 1000, 400) <= 0.975


def test_too_few_pairs_for_an_interval_say_so():
    with pytest.raises(InputError, match="2 pairs are too few to resample; give more of both labels"):
        bootstrap(Curve.of([0.9, 0.1], [1, 0]), "f1", rounds=20)
