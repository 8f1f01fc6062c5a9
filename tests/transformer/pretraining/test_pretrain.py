"""Pre-training from the command line and from Python: it learns, resumes, refuses."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from promised import kept
from shoestring import ui
from shoestring._errors import InputError, OptionError, OutputError
from shoestring.cli import main
from shoestring.train import TrainSettings
from shoestring.transformer import preset, pretrain, train_tokenizer
from shoestring.transformer.tokenizer import FIXED, count_words

TEXT = [
    f"第{n}天我们在北京大学读书，喜欢自然语言处理，也喜欢{season}天。"
    for n in range(60)
    for season in "春夏秋冬"
]
QUIET = ui.UI(quiet=True)
PRETRAIN = ("pretrain", "corpus.txt", "--tokenizer", "tk", "-o", "m")
NANO = ("--set", "hidden_size=32", "--set", "num_layers=2", "--length", "16", "--batch-size", "8")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(count_words(TEXT), FIXED + 40)


@pytest.fixture
def corpus(tmp_path, tokenizer):
    (tmp_path / "corpus.txt").write_text("\n".join(TEXT), "utf-8")
    tokenizer.save_pretrained(tmp_path / "tk")
    return tmp_path


def small(**changes):
    return preset("nano", hidden_size=32, num_layers=2, **changes)


@pytest.mark.parametrize(
    ("objective", "auto"),
    [("mlm", AutoModelForMaskedLM), ("clm", AutoModelForCausalLM), ("unilm", AutoModelForCausalLM)],
)
def test_it_learns_and_leaves_a_model(objective, auto, tokenizer, tmp_path):
    settings = TrainSettings(steps=60, batch_size=16, learning_rate=3e-3)
    config = small(key_size=12, value_size=6)
    done = pretrain(
        TEXT,
        tokenizer,
        tmp_path / "m",
        objective=objective,
        config=config,
        settings=settings,
        length=24,
        ui=QUIET,
    )
    assert done.loss < 0.6 * done.untrained_loss
    model = auto.from_pretrained(done.folder)
    assert (model.config.key_size, model.config.value_size, model.config.vocab_size) == (
        12,
        6,
        len(tokenizer),
    )
    names = {path.name for path in done.folder.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
        "log.jsonl",
        "loss.png",
    } <= names
    assert "corpus" not in names
    ends = AutoTokenizer.from_pretrained(done.folder)("我们")["input_ids"][-1] == 2
    assert ends == (objective == "mlm")  # a decoder's prompt stays open


def test_a_unilm_model_continues_a_source_as_it_was_trained_to(tokenizer, tmp_path):
    settings = TrainSettings(steps=150, batch_size=16, learning_rate=3e-3)
    done = pretrain(
        TEXT,
        tokenizer,
        tmp_path / "m",
        objective="unilm",
        config=small(),
        settings=settings,
        length=24,
        ui=QUIET,
    )
    model, reader = (
        AutoModelForCausalLM.from_pretrained(done.folder),
        AutoTokenizer.from_pretrained(done.folder),
    )
    assert model.config.prefix_lm
    pair = reader("我们喜欢", "自然语言")
    assert pair["token_type_ids"] == sorted(pair["token_type_ids"])
    assert 0 < sum(pair["token_type_ids"]) < len(pair["token_type_ids"])
    prompt = reader("第7天我们在北京大学", return_tensors="pt")
    out = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "自然语言处理" in reader.decode(out[0], skip_special_tokens=True)


def test_the_command_resumes_after_a_kill_to_the_same_weights(shoestring, corpus):
    def arguments(name):
        return ("pretrain", corpus / "corpus.txt", "--tokenizer", corpus / "tk", "-o", corpus / name, *NANO,
                "--steps", 120, "--set", "dropout=0.1", "-q")  # fmt: skip

    assert shoestring(*arguments("whole")).returncode == 0
    command = [sys.executable, "-m", "shoestring", *map(str, arguments("halves"))]
    with subprocess.Popen(command, cwd=corpus) as process:
        deadline = time.monotonic() + 120
        while not list((corpus / "halves").glob("checkpoints/checkpoint-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (corpus / "halves" / "config.json").exists()
    assert shoestring(*arguments("halves")).returncode == 0
    weights = [(corpus / name / "model.safetensors").read_bytes() for name in ("whole", "halves")]
    assert weights[0] == weights[1]


def test_commands_end_to_end(shoestring, corpus):
    done = shoestring("tokenizer", "corpus.txt", "-o", "t2", "--vocab-size", FIXED + 30, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["vocabulary"] == FIXED + 30
    done = shoestring(
        "pretrain",
        "corpus.txt",
        "--tokenizer",
        "t2",
        "-o",
        "m",
        "--objective",
        "clm",
        *NANO,
        "--steps",
        5,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert kept("pretrain", done.stdout)["parameters"] > 0
    again = shoestring("pretrain", "corpus.txt", "--tokenizer", "t2", "-o", "m", *NANO, "--steps", 5)
    assert again.returncode == 1
    assert again.stderr == "OutputError: m: holds a finished model; choose another name or pass --overwrite\n"


def test_a_unilm_model_with_wide_keys_and_talking_heads_from_the_command_line(shoestring, corpus):
    done = shoestring(
        "pretrain", "corpus.txt", "--tokenizer", "tk", "-o", "m", "--objective", "unilm", "--talking-heads", "both",
        "--key-size", 12, "--value-size", 6, *NANO, "--steps", 40, "--learning-rate", "0.01", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["held-out loss (nats)"] < 0.8 * said["uniform guessing (nats)"]
    model, reader = (
        AutoModelForCausalLM.from_pretrained(corpus / "m"),
        AutoTokenizer.from_pretrained(corpus / "m"),
    )
    assert model.config.prefix_lm
    assert (model.config.key_size, model.config.value_size, model.config.talking_heads) == (12, 6, "both")
    mixes = [x for name, x in model.named_parameters() if name.endswith(("pre_mix", "post_mix"))]
    assert len(mixes) == 4
    assert all((mix - torch.eye(4)).abs().max() > 1e-3 for mix in mixes)  # they have learned to talk
    prompt = reader("第7天我们", return_tensors="pt")
    outs = [
        model.generate(**prompt, max_new_tokens=6, do_sample=False, use_cache=use) for use in (True, False)
    ]
    assert torch.equal(*outs)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*PRETRAIN, "--talking-heads", "loud"), "'loud' is not one of 'none', 'pre', 'post', 'both'"),
        ((*PRETRAIN, "--key-size", "0"), "key_size 0: must be a whole number of at least 1"),
        ((*PRETRAIN, "--key-size", "7"), "key_size 7: rope turns pairs"),
        ((*PRETRAIN, "--set", "rope_bands=[8192, 4, 1]"), "must be [length, few, many]"),
        ((*PRETRAIN, "--set", "rope_factor=0"), "rope_factor 0: must be above 0"),
        (("tokenizer", "none.txt", "-o", "t"), "none.txt"),
        (("tokenizer", "empty.txt", "-o", "t"), "empty.txt"),
        (("tokenizer", "corpus.txt", "-o", "t", "--vocab-size", "90000"), "this corpus supports only"),
        (("tokenizer", "corpus.txt", "-o", "tk", "--vocab-size", "300"), "tk: exists and is not empty"),
        ((*PRETRAIN, "--size", "giant"), "'giant' is not one of 'nano', 'tiny'"),
        ((*PRETRAIN, "--set", "wheels=4"), "wheels: no such setting"),
        ((*PRETRAIN, "--set", "wheels"), "--set wheels: write NAME=VALUE"),
        ((*PRETRAIN, "--objective", "rtd"), "'rtd' is not one of 'mlm', 'clm', 'unilm'"),
        ((*PRETRAIN, "--tokenizer", "none"), "none"),
        ((*PRETRAIN, "--length", "100000"), "too small to train on"),
        ((*PRETRAIN, "--steps", "3", "--minutes", "1"), "give one of them"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_everything(corpus, arguments, says, monkeypatch, capsys):
    (corpus / "empty.txt").touch()
    before = sorted((corpus / "tk").iterdir())
    monkeypatch.chdir(corpus)
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "-q"])
    said = capsys.readouterr().err
    assert says in said
    assert stop.value.code == (2 if "is not one of" in said else 1)
    assert said.count("\n") == 1, said
    assert sorted((corpus / "tk").iterdir()) == before
    assert not Path(corpus / "m" / "config.json").exists()


def test_learned_positions_must_reach(tokenizer, tmp_path):
    config = small(position="learned", max_position_embeddings=16)
    with pytest.raises(OptionError, match="max_position_embeddings=24"):
        pretrain(TEXT, tokenizer, tmp_path / "m", config=config, length=24, ui=QUIET)


def test_minutes_are_kept_roughly(tokenizer, tmp_path):
    """Those of a run that is replaced say nothing about the next one's."""
    settings = TrainSettings(steps=3, batch_size=4, save_every=1)
    run = partial(pretrain, TEXT, tokenizer, tmp_path / "m", config=small(), length=16, ui=QUIET)
    run(settings=settings)
    assert any((tmp_path / "m" / "checkpoints").iterdir())
    assert run(minutes=0.02, overwrite=True).history.steps[-1] >= 20


def test_a_finished_model_is_not_overwritten_unasked(tokenizer, tmp_path):
    settings = TrainSettings(steps=3, batch_size=4)
    pretrain(TEXT, tokenizer, tmp_path / "m", config=small(), settings=settings, length=16, ui=QUIET)
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="holds a finished model"):
        pretrain(TEXT, tokenizer, tmp_path / "m", config=small(), settings=settings, length=16, ui=QUIET)
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
    other = TrainSettings(steps=3, batch_size=4, seed=1)
    pretrain(
        TEXT, tokenizer, tmp_path / "m", config=small(), settings=other, length=16, overwrite=True, ui=QUIET
    )
    assert (tmp_path / "m" / "model.safetensors").read_bytes() != before


def test_nothing_to_read(tokenizer, tmp_path):
    with pytest.raises(InputError, match="the corpus has 0 tokens"):
        pretrain([], tokenizer, tmp_path / "m", ui=QUIET)


def test_two_processes_learn_as_one(corpus):
    """torchrun with gloo, the same global batch: the same losses."""
    losses = {}
    for processes in (1, 2):
        output = corpus / f"m{processes}"
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}",
                   "--master_port=29513", "-m", "shoestring", "pretrain", "corpus.txt", "--tokenizer", "tk",
                   "-o", str(output), *NANO, "--steps", "12", "-q", "--device", "cpu"]  # fmt: skip
        done = subprocess.run(command, cwd=corpus, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("parameters") == 1
        log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
        losses[processes] = torch.tensor([line.get("loss", line.get("eval_loss")) for line in log])
    torch.testing.assert_close(losses[1], losses[2], atol=1e-5, rtol=1e-5)
