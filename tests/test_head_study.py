"""The study of wider keys and talking heads: equal parameters, paired seeds, known differences found."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from head_study import Corpus, Study, compared, new_model, trained

SMALL = Study(hidden_size=48, characters=20, length=8, batch_size=4, steps=10, seeds=2, held_out=4)
TEXTS = [f"第{n}天我们在北京大学读书，喜欢自然语言处理。" for n in range(60)]


@pytest.mark.parametrize("study", [Study(), Study(hidden_size=48)])
def test_all_forms_have_as_many_parameters(study):
    assert len({new_model(study, form, 0).num_parameters() for form in study.forms}) == 1
    first, wide, talking = study.forms.values()
    assert wide["key_size"] == 4 * first["key_size"]
    assert talking["talking_heads"] == "both"


def test_what_is_held_out_is_never_trained_on():
    corpus = Corpus.of([chr(0x4E00 + n) for n in range(100)], 200)
    assert not {*corpus.train[::2]} & {*corpus.held_out[::2]}
    assert len(corpus.held_out) == 10


def test_a_run_is_a_function_of_its_seed():
    corpus, form = Corpus.of(TEXTS, SMALL.characters), list(SMALL.forms)[2]
    runs = [trained(SMALL, corpus, form, seed) for seed in (0, 0, 1)]
    assert runs[0]["losses"] == runs[1]["losses"] != runs[2]["losses"]
    assert [step for step, _ in runs[0]["losses"]] == list(range(1, 11))
    assert runs[0]["losses"][-1][1] < runs[0]["losses"][0][1]
    assert runs[0]["seconds per step"] > 0


def test_differences_are_within_seeds_and_time_is_read_off_the_curve():
    study = Study(steps=100, seeds=3)
    first, wide, talking = study.forms

    def runs(gaps, seconds):
        return [
            {"losses": [[0, 10 * seed + 5.0], [100, 10 * seed + gap]], "seconds per step": seconds}
            for seed, gap in enumerate(gaps)
        ]

    found = compared(
        study, {first: runs([1, 1, 1], 1.0), wide: runs([0.9, 1, 1.1], 2.0), talking: runs([0, 0, 0], 0.5)}
    )
    assert found["equal steps"][wide]["difference"] == pytest.approx(0)
    # scipy.stats.ttest_1samp([-0.1, 0, 0.1], 0).confidence_interval(0.95)
    assert found["equal steps"][wide]["half"] == pytest.approx(0.24841377, rel=1e-3)
    assert found["equal steps"][talking] == pytest.approx({"loss": 10, "difference": -1, "half": 0})
    assert found["steps in equal time"] == {first: 100, wide: 50, talking: 100}
    assert found["equal time"][wide]["loss"] == pytest.approx(10 + np.mean([2.95, 3, 3.05]))
