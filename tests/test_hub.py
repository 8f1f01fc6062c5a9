"""A model folder is whole or refused, and saving one loses nothing."""

from __future__ import annotations

import json
import os
import re

import pytest

from shoestring import hub
from shoestring._errors import InputError, OptionError, OutputError, ShoestringError


@pytest.fixture(scope="module")
def model():
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    return BertForMaskedLM(
        BertConfig(
            vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=16,
        )
    ).eval()  # fmt: skip


@pytest.fixture
def tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["[UNK]", "春", "眠", "不", "觉", "晓"])}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, "[UNK]")), unk_token="[UNK]")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_loaded_bit_for_bit(model, tokenizer, tmp_path):
    hub.save(tmp_path / "model", model, tokenizer, card=hub.model_card("tiny", "A test."))
    again = hub.load(tmp_path / "model", "MaskedLM")
    assert all(value.equal(again.state_dict()[name]) for name, value in model.state_dict().items())
    assert hub.load_tokenizer(tmp_path / "model")("春")["input_ids"] == [1]
    assert {"config.json", "model.safetensors", "README.md", "tokenizer.json"} <= set(
        names(tmp_path / "model")
    )
    assert hub.require_model_folder(tmp_path / "model") == tmp_path / "model"


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_weights_may_be_read_by_whom_the_umask_lets(model, umask, tmp_path):
    before = os.umask(umask)
    try:
        hub.save(tmp_path / "model", model)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert modes == dict.fromkeys(modes, 0o666 & ~umask)


def test_saving_replaces_weights_and_keeps_what_is_not_a_model(model, tmp_path):
    folder = tmp_path / "model"
    (folder / "checkpoints" / "checkpoint-4").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-4" / "optimizer.pt").write_text("state")
    for name in ("log.jsonl", "notes.txt", "config.json", "model-00001-of-00002.safetensors"):
        (folder / name).write_text("old")
    (folder / "model.safetensors.index.json").write_text("{}")
    hub.save(folder, model)
    assert (folder / "checkpoints/checkpoint-4/optimizer.pt").read_text() == "state"
    assert (folder / "notes.txt").read_text() == (folder / "log.jsonl").read_text() == "old"
    assert "model-00001-of-00002.safetensors" not in names(folder)
    assert "model.safetensors.index.json" not in names(folder)
    hub.load(folder, "MaskedLM")
    assert names(tmp_path) == ["model"]


def test_a_save_that_fails_leaves_the_old_model(model, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    hub.save(folder, model)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(hub, "_carry_over", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hub.save(folder, model)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert names(tmp_path) == ["model"]


def test_a_full_disk_is_one_line(model, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"model: cannot be written: [^\n]*$"):
            hub.save(tmp_path / "model", model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


def test_only_the_first_process_writes(model, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    hub.save(tmp_path / "model", model)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "no such folder"),
        ({}, "it is empty"),
        ({"checkpoints": ""}, "run that has not finished; run the same command again"),
        ({"tokenizer.json": "{}"}, "but a tokenizer"),
        ({"a": "", "b": "", "c": "", "d": ""}, r"it has a, b, c, \.\.\."),
        ({"config.json": "{"}, "not JSON"),
        ({"config.json": "[]"}, "no model_type"),
        ({"config.json": '{"model_type": "bert"}'}, "no weights; model.safetensors is missing"),
        ({"config.json": '{"model_type": "bert"}', "model.safetensors": "short"}, "header cannot be read"),
    ],
)
def test_what_is_no_model_folder_is_refused_in_one_line(files, message, tmp_path):
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        hub.require_model_folder(folder)
    assert "\n" not in str(error.value)


def test_a_truncated_weight_file_is_refused(model, tmp_path):
    hub.save(tmp_path / "model", model)
    weights = tmp_path / "model" / "model.safetensors"
    whole = weights.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        weights.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"damaged, .*copy or save it again"):
            hub.require_model_folder(tmp_path / "model")


def test_short_memory_is_not_called_a_damaged_model(model, tmp_path, monkeypatch):
    from transformers import AutoModel

    def short(*_, **__):
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes"
        )

    hub.save(tmp_path / "m", model)
    monkeypatch.setattr(AutoModel, "from_pretrained", short)
    with pytest.raises(RuntimeError, match="allocate memory"):
        hub.load(tmp_path / "m")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(InputError, match="is a file; give the folder"):
        hub.require_model_folder(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("head", "kind", "message"),
    [
        (
            "SequenceClassification",
            InputError,
            r"lacks bert.pooler.dense.bias and 3 more, which AutoModelForSeq",
        ),
        ("Nonsense", OptionError, "transformers has no AutoModelForNonsense"),
        ("ImageClassification", OptionError, "cannot be loaded as AutoModelForImageClassification"),
    ],
)
def test_a_head_without_weights_is_refused(model, head, kind, message, tmp_path, capfd):
    hub.save(tmp_path / "model", model)
    with pytest.raises(ShoestringError, match=message) as error:
        hub.load(tmp_path / "model", head)
    assert type(error.value) is kind
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_no_tokenizer_is_refused(model, tmp_path):
    hub.save(tmp_path / "model", model)
    with pytest.raises(InputError, match="has no tokenizer"):
        hub.load_tokenizer(tmp_path / "model")


def test_a_card_has_front_matter_that_the_hub_reads():
    card = hub.model_card(
        "小模型", "An encoder.", tags=["fill-mask"], language=["zh"], license="apache-2.0",
        facts={"steps": 100, "a|b": "c"}, example="print(1)",
    )  # fmt: skip
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.S).groups()
    values = dict(line.split(": ", 1) for line in front.splitlines())
    assert {key: json.loads(value) for key, value in values.items()} == {  # JSON is YAML
        "library_name": "transformers",
        "license": "apache-2.0",
        "language": ["zh"],
        "tags": ["shoestring", "fill-mask"],
    }
    assert "# 小模型" in body
    assert "| a\\|b | c |" in body
    assert "```python\nprint(1)\n```" in body
