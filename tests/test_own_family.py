"""Folders of our own family are read by every command in a process that has loaded nothing of it before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from shoestring.transformer import ShoestringConfig, ShoestringForCausalLM, ShoestringModel

    words = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[EOS]", *"我你喜欢猫狗"])}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made = {}
    for name, family in (("match", ShoestringModel), ("lm", ShoestringForCausalLM)):
        made[name] = tmp_path_factory.mktemp(name)
        tokens = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]"}
        PreTrainedTokenizerFast(tokenizer_object=core, **tokens).save_pretrained(made[name])
        config = ShoestringConfig(
            vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=32, pad_token_id=0, eos_token_id=2, is_decoder=name == "lm",
        )  # fmt: skip
        family(config).save_pretrained(made[name])
    return made


def test_match_trains_on_it(shoestring, folders, tmp_path):
    rows = (f"我喜欢猫\t你喜欢{'猫狗'[at % 2]}\t{at % 2}\n" for at in range(40))
    (tmp_path / "pairs.tsv").write_text("".join(rows), "utf-8")
    options = [
        "--data",
        "pairs.tsv",
        "--dev",
        "pairs.tsv",
        "--epochs",
        "0",
        "--device",
        "cpu",
        "-o",
        "m",
        "--json",
    ]
    done = shoestring("match", "train", "--base", folders["match"], *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == "m"


def test_lm_generates_with_it(shoestring, folders):
    done = shoestring("lm", "generate", folders["lm"], "我喜欢", "--max-tokens", "2", "--temperature", "0")
    assert done.returncode == 0, done.stderr
