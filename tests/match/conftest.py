"""A tiny BERT over characters, and pairs that it can learn: two sentences are alike if they name the same thing."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from shoestring.match.commands.group import verb

THINGS = "猫狗鱼鸟马牛羊鸡花树山水云雨风雪"
FRAMES = ("我喜欢{}", "这里有{}吗", "请看{}", "昨天见到{}了", "{}很好看", "没有{}")
LETTERS = sorted(set(THINGS + "".join(FRAMES)) - set("{}"))


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """A model folder with random weights."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    words = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS])}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokens = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=core, **tokens).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=40, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def made(count: int, seed: int, graded: bool = False):
    from shoestring.match.data.pairs import Pairs

    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        one = rng.choice(THINGS)
        two = one if rng.random() < 0.5 else rng.choice(THINGS.replace(one, ""))
        frames = rng.sample(FRAMES, 2)
        label = 2.0 * (one == two) + (rng.random() < 0.5) if graded else float(one == two)
        rows.append((frames[0].format(one), frames[1].format(two), label))
    first, second, labels = zip(*rows, strict=True)
    return Pairs(first, second, np.array(labels), "made")


@pytest.fixture(scope="session")
def pairs():
    """Makes pairs: pairs(count, seed)."""
    return made


@pytest.fixture(scope="session")
def trained(base, tmp_path_factory):
    """A bi-encoder and a cross-encoder of the tiny base: {"bi": folder, "cross": folder}."""
    from shoestring.match.training.settings import Training
    from shoestring.match.training.train import train

    folder = tmp_path_factory.mktemp("trained")
    for mode in ("bi", "cross"):
        settings = Training(
            mode=mode, epochs=2, learning_rate=2e-3, max_length=16, batch_size=32, device="cpu", metric="f1"
        )
        train(base, made(400, 1), made(200, 2), folder / mode, settings)
    return {"bi": folder / "bi", "cross": folder / "cross"}


@pytest.fixture
def match(tmp_path, monkeypatch) -> Callable[..., Result]:
    """Runs `shoestring match ...` in this process, in an empty folder: its libraries are loaded once."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        done = CliRunner().invoke(verb, list(map(str, arguments)))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


@pytest.fixture(scope="session")
def matcher(trained):
    from shoestring.match.matcher import Matcher

    return Matcher(trained["bi"], "cpu")


@pytest.fixture(scope="session")
def cross(trained):
    from shoestring.match.matcher import Matcher

    return Matcher(trained["cross"], "cpu")
