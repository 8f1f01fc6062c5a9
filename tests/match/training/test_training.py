"""Both kinds learn, keep their threshold in a folder that others load, go on after a kill, and refuse nonsense."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from fast_training import FAST
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer

from promised import kept
from shoestring._errors import InputError, OptionError, OutputError
from shoestring.match.commands.train import LOSSES
from shoestring.match.deciding.calibration import calibrate
from shoestring.match.deciding.decision import read_decision
from shoestring.match.deciding.threshold import best
from shoestring.match.matcher import Matcher
from shoestring.match.training.ranking import matches, mined
from shoestring.match.training.settings import MODES, RANKING
from shoestring.match.training.train import train


def test_a_cross_encoder_learns_what_it_can(base, pairs, tmp_path):
    def asked(data):
        return replace(data, labels=np.array([float("吗" in text) for text in data.second]))

    settings = replace(FAST, mode="cross", epochs=3, one_way=True)
    train(base, asked(pairs(400, 1)), asked(pairs(100, 2)), tmp_path / "model", settings)
    test = asked(pairs(200, 3))
    assert (Matcher(tmp_path / "model", "cpu").predict(list(test)).verdicts == test.labels).mean() > 0.95


@pytest.mark.parametrize("mode", ["bi", "cross"])
def test_it_learns_and_the_threshold_round_trips(trained, pairs, mode):
    matcher, test = Matcher(trained[mode], "cpu"), pairs(200, 3)
    assert matcher.mode == mode
    said = matcher.predict(list(test))
    if mode == "bi":  # comparing two texts within one sequence is too much for the tiny cross-encoder
        assert (said.verdicts == test.labels).mean() > 0.7
    decision = read_decision(trained[mode])
    cut = best(matcher.scores(list(pairs(200, 2))), pairs(200, 2).labels, "f1")
    assert decision.threshold == pytest.approx(cut.threshold, abs=1e-5)
    assert decision.value == pytest.approx(cut.value, abs=0.01)
    low, high = decision.threshold_interval
    assert low <= decision.threshold <= high
    assert decision.data["pairs"] == 200
    assert ((said.scores >= decision.threshold) == said.verdicts).all()


def test_plain_sentence_transformers_loads_the_folders(trained, pairs):
    test = pairs(50, 3)
    bi = SentenceTransformer(str(trained["bi"]), device="cpu")
    one, two = bi.encode(list(test.first)), bi.encode(list(test.second))
    ours = Matcher(trained["bi"], "cpu").scores(list(test))
    assert bi.similarity_pairwise(one, two).numpy() == pytest.approx(ours, abs=1e-5)
    cross, back = CrossEncoder(str(trained["cross"]), device="cpu"), [(two, one) for one, two in test]
    assert (cross.predict(list(test)) + cross.predict(back)) / 2 == pytest.approx(
        Matcher(trained["cross"], "cpu").scores(list(test)), abs=1e-5
    )


@pytest.mark.parametrize("mode", ["bi", "cross"])
def test_the_verdict_does_not_depend_on_the_order_of_the_texts(trained, pairs, mode):
    matcher, test = Matcher(trained[mode], "cpu"), pairs(60, 3)
    there, back = matcher.predict(list(test)), matcher.predict([(two, one) for one, two in test])
    assert there.scores == pytest.approx(back.scores, abs=1e-6)
    assert (there.verdicts == back.verdicts).all()


def test_a_threshold_of_one_order_is_not_for_both(trained, base, pairs, tmp_path):
    with pytest.raises(OptionError, match="mean of both orders"):
        Matcher(trained["cross"], "cpu", one_way=True)
    train(
        base, pairs(20, 1), pairs(80, 2), tmp_path / "m", replace(FAST, epochs=0, mode="cross", one_way=True)
    )
    plain = CrossEncoder(str(tmp_path / "m"), device="cpu").predict(list(pairs(9, 3)))
    assert Matcher(tmp_path / "m", "cpu").scores(list(pairs(9, 3))) == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "angle"}, {"loss": "contrastive"}, {"loss": "softmax"}, {"pooling": "cls"},
        {"pooling": "first-last-avg"}, {"chunk": 8, "batch_size": 64}, {"mode": "cross", "loss": "softmax"},
        {"loss": RANKING[0]}, {"loss": RANKING[1], "chunk": 8, "lora": 4, "freeze": 1},
        {"mode": "cross", "chunk": 8, "lora": 4}, {"freeze": 2, "prompt": "猫"}, {"metric": "recall@precision=0.5"},
    ],
    ids=str,
)  # fmt: skip
def test_every_kind_of_run_makes_a_folder_that_predicts(base, pairs, tmp_path, changes):
    settings = replace(FAST, **changes)
    done = train(base, pairs(120, 1), pairs(80, 2), tmp_path / "model", settings)
    said = Matcher(tmp_path / "model", "cpu").predict(list(pairs(20, 3)))
    assert said.probabilities.min() >= 0
    assert said.probabilities.max() <= 1
    assert done.decision.metric == settings.metric
    assert not (tmp_path / "model" / "checkpoints").exists()


def test_hard_negatives_are_near_and_not_known_to_match(trained, pairs, tmp_path):
    settings = replace(FAST, pooling="own", loss=RANKING[1], hard_negatives=2)
    some, model = pairs(80, 1), SentenceTransformer(str(trained["bi"]), device="cpu")
    assert train(trained["bi"], some, pairs(80, 2), tmp_path / "m", settings).steps >= 1
    known = {pair for pair, label in zip(some, some.labels, strict=True) if label}
    known |= {pair[::-1] for pair in known}
    found = mined(matches(some, 0.5), some, model, 2)
    assert len(found) > 5
    for row in found:
        texts = [row["anchor"], row["positive"], row["negative_1"], row["negative_2"]]
        assert (texts[0], texts[1]) in known
        one, match, *others = model.encode(texts, normalize_embeddings=True)
        for text, other in zip(texts[2:], others, strict=True):
            assert (texts[0], text) not in known
            assert text != texts[0]
            assert one @ other <= 0.95 * (one @ match) + 1e-5
    with pytest.raises(InputError, match="no match has 99 texts"):
        mined(matches(some, 0.5), some, model, 99)
    with pytest.raises(InputError, match="no two different texts have a label above 1"):
        matches(some, 1)


def test_matches_of_one_text_teach_nothing_by_ranking(base, pairs, tmp_path):
    """A batch must not have a text twice: a loss of batches of one is 0, and a few questions make small batches."""
    some = pairs(120, 1)
    settings = replace(FAST, loss=RANKING[0])
    with pytest.raises(InputError, match="all 46 matches have the text '猫'"):
        train(base, replace(some, first=["猫"] * 120), pairs(80, 2), tmp_path / "m", settings)
    few = replace(some, first=["猫" if at % 3 else one for at, one in enumerate(some.first)])
    assert train(base, few, pairs(80, 2), tmp_path / "m", settings).steps >= 30


@pytest.mark.parametrize("mode", ["bi", "cross"])
def test_low_rank_additions_change_little_and_are_merged(base, pairs, tmp_path, mode):
    """The folder has the base's names and shapes, and each changed matrix differs from it by one of that rank."""
    settings = replace(FAST, mode=mode, lora=2, epochs=2)
    train(base, pairs(120, 1), pairs(80, 2), tmp_path / "m", settings)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "m"))
    assert before.keys() == after.keys()
    ranks = {
        name: int(torch.linalg.matrix_rank(after[name] - before[name], atol=1e-5))
        for name in before if before[name].ndim == 2
    }  # fmt: skip
    assert max(ranks.values()) == 2
    assert not any(ranks[name] for name in ranks if "embeddings" in name)
    assert all(torch.equal(before[name], after[name]) for name in before if before[name].ndim == 1)


@pytest.mark.parametrize(("rank", "message"), [(33, "more than rank 32"), (4, "peft has none for BertModel")])
def test_low_rank_additions_that_cannot_be_are_refused(base, pairs, tmp_path, monkeypatch, rank, message):
    """A rank beyond any matrix's, and a base in which peft finds no layer that it knows."""
    settings = replace(FAST, lora=rank)
    if rank == 4:
        monkeypatch.setattr("peft.tuners.tuners_utils.check_target_module_exists", lambda *_: False)
    with pytest.raises(OptionError, match=message):
        train(base, pairs(40, 1), pairs(40, 2), tmp_path / "m", settings)


def test_static_embeddings_get_a_threshold_and_are_not_trained(base, pairs, tmp_path):
    """As model2vec's are: a table of vectors, no transformer, and a tokenizer that is no function."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    table = StaticEmbedding(Tokenizer.from_file(str(base / "tokenizer.json")), embedding_dim=16)
    SentenceTransformer(modules=[table], device="cpu").save_pretrained(str(tmp_path / "static"))
    asked, own = (tmp_path / "static", pairs(20, 1), pairs(80, 2)), replace(FAST, pooling="own")
    for changes in ({}, {"lora": 4}, {"freeze": 1}):
        with pytest.raises(OptionError, match="--epochs 0 chooses a threshold"):
            train(*asked, tmp_path / "m", replace(own, **changes))
    done = train(*asked, tmp_path / "m", replace(own, epochs=0))
    matcher = Matcher(tmp_path / "m", "cpu")
    assert matcher.decision == done.decision
    assert matcher.too_long(["猫" * 99]) == 0


def test_the_commands_name_every_loss():
    assert set(LOSSES) == set(MODES["bi"])


def test_no_epochs_choose_a_threshold_only(base, pairs, tmp_path):
    train(base, pairs(20, 1), pairs(80, 2), tmp_path / "model", replace(FAST, epochs=0))
    plain = SentenceTransformer(str(base), device="cpu").encode(["我喜欢猫"])
    assert Matcher(tmp_path / "model", "cpu").model.encode(["我喜欢猫"]) == pytest.approx(plain, abs=1e-6)


def test_grades_get_thresholds_between_them(base, pairs, tmp_path):
    done = train(base, pairs(120, 1, graded=True), pairs(80, 2, graded=True), tmp_path / "model", FAST)
    assert done.decision.above == 1.5
    assert len(done.decision.grades.thresholds) == len(done.decision.grades.grades) - 1
    assert read_decision(tmp_path / "model") == done.decision


def test_nothing_is_overwritten_unasked(base, trained, pairs):
    with pytest.raises(OutputError, match="--overwrite"):
        train(base, pairs(20, 1), pairs(20, 2), trained["bi"], FAST)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "tri"}, "choose one of bi, cross"), ({"mode": "cross", "loss": "angle"}, "cosent, softmax"),
        ({"freeze": 2, "pooling": "first-last-avg"}, "exclude each other"), ({"epochs": -1}, "at least 0"),
        ({"chunk": 4, "loss": "softmax"}, "chunk"), ({"metric": "f7"}, "metric"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(OptionError, match=message):
        replace(FAST, **changes)


def test_models_that_do_not_fit(base, pairs, tmp_path):
    with pytest.raises(OptionError, match="3 layers"):
        train(base, pairs(20, 1), pairs(20, 2), tmp_path / "a", replace(FAST, freeze=3))
    with pytest.raises(InputError, match="no such folder"):
        train(tmp_path / "none", pairs(20, 1), pairs(20, 2), tmp_path / "b", FAST)
    one_sided = replace(pairs(20, 1), labels=np.ones(20))
    with pytest.raises(InputError, match="both kinds are needed"):
        train(base, one_sided, pairs(20, 2), tmp_path / "c", FAST)


def test_a_damaged_matching_json_is_told(trained, tmp_path):
    shutil.copytree(trained["bi"], tmp_path / "model")
    (tmp_path / "model" / "matching.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        Matcher(tmp_path / "model", "cpu")


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_calibrated_probabilities_are_what_happens(kind):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 4000)
    scores = 0.95 + 0.01 * (rng.normal(size=4000) + 2 * labels)
    rule = calibrate(scores[:2000], labels[:2000], kind)
    chances = rule(scores[2000:])
    for low in (0.0, 0.25, 0.5, 0.75):
        here = (chances >= low) & (chances < low + 0.25)
        assert labels[2000:][here].mean() == pytest.approx(chances[here].mean(), abs=0.1)
    assert (np.diff(rule(np.sort(scores))) >= 0).all()


def test_too_long_texts_are_counted(trained):
    matcher = Matcher(trained["bi"], "cpu")
    texts = ["猫" * 30, "猫", "鱼" * 14, "鱼" * 15]
    assert matcher.too_long(texts) == 2
    matcher.model.prompts["document"] = "鱼"  # is read, too
    assert [matcher.too_long(texts, role) for role in (None, "document")] == [2, 3]


def test_the_commands(match, shoestring, base, pairs, tmp_path):
    for name, seed in (("train", 1), ("dev", 2), ("test", 3)):
        made = pairs(150, seed)
        rows = [f"{one}\t{two}\t{label:g}\n" for (one, two), label in zip(made, made.labels, strict=True)]
        (tmp_path / f"{name}.data").write_text("".join(rows), "utf-8")
    files = ("--data", "train.data", "--dev", "dev.data", "--test", "test.data")
    run = ("--base", base, "--epochs", 1, "--learning-rate", 2e-3, "--max-length", 16, "--batch-size", 32)
    options = (*files, *run, "--device", "cpu")
    done = match("train", *options, "-o", "m", "--json")
    assert done.exit_code == 0, done.stderr
    assert "LEAK" in done.stderr
    assert kept("match train", done.stdout)["test accuracy"] > 0.4
    said = kept("match predict", match("predict", "m", "我喜欢猫", "这里有猫吗", "--json").stdout)["pairs"][0]
    assert 0 <= said["probability"] <= 1
    assert said["match"] in (0, 1)
    fresh = shoestring("match", "predict", "m", "我喜欢猫", "这里有猫吗", "--json", "--device", "cpu")
    assert fresh.returncode == 0, fresh.stderr
    assert json.loads(fresh.stdout)["pairs"][0]["score"] == pytest.approx(said["score"], abs=1e-5)
    (tmp_path / "some.tsv").write_text("我喜欢猫\t请看猫\n我喜欢猫\t请看鱼\n", "utf-8")
    kept(
        "match predict -o FILE",
        match("predict", "m", "--pairs", "some.tsv", "-o", "out.tsv", "--json").stdout,
    )
    assert len((tmp_path / "out.tsv").read_text("utf-8").splitlines()) == 3
    kept("match eval", match("eval", "m", "test.data", "--figure", "scores.png", "--json").stdout)
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert "empty text" in match("predict", "m", " ", "猫").stderr
    assert match("predict", "m", "猫" * 99, "猫").stderr.count("1 texts are longer than the model reads") == 1
    compared = ("compare", *options, "--other", "dev.data", "--quick", "--sizes", "64,9999", "-o", "both")
    both = match(*compared)
    assert "cross is ahead by" in both.stdout, both.stderr
    assert "one seed" in both.stderr
    assert "9999 left out" in both.stderr
    told = kept("match compare", match(*compared, "--json").stdout)
    assert set(told["accuracy"]) >= {"test", "dev.data"}
    assert told["accuracy"]["test"]["64"]["cross ahead"][0] <= 1
    assert (tmp_path / "both" / "compare.png").read_bytes().startswith(b"\x89PNG")
