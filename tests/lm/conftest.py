"""Models of CPM's true layout with random weights, and the original's checkpoint files made from them."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from shoestring.lm.weights.megatron import entries, shard

VOCABULARY = 30_000


def gpt2(hidden=64, layers=2, heads=4, positions=128, seed=0) -> GPT2LMHeadModel:
    """A GPT-2 with CPM's vocabulary whose biases and norms are random too, so that a mistake in them shows."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=hidden, n_layer=layers, n_head=heads, n_positions=positions,
        bos_token_id=None, eos_token_id=7, pad_token_id=5,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.05)
            elif "wte" in name:
                parameter.mul_(5)  # so that the next token is not a matter of rounding
    return model


def checkpoint(model: GPT2LMHeadModel, folder: Path, ranks: int, zipped: bool = True) -> Path:
    """Writes the model as CPM's release is laid out, with all that DeepSpeed saves along."""
    state = {name: value.half() for name, value in model.state_dict().items()}
    target = folder / "80000"
    target.mkdir(parents=True)
    (folder / "latest_checkpointed_iteration.txt").write_text("80000")
    pieces: list[dict] = [{} for _ in range(ranks)]
    for entry in entries(model.config.n_layer):
        whole = state[entry.hugging_face]
        whole = whole.t() if entry.transposed else whole
        for rank, piece in enumerate(shard(entry.rule, whole, ranks)):
            pieces[rank][entry.megatron] = piece.clone()
    for rank, module in enumerate(pieces):
        held = {
            "module": module,
            "lr_scheduler": {"start_lr": 0.0001, "num_iters": 80000},
            "skipped_steps": 3, "global_steps": 80000, "global_samples": 1, "dp_world_size": 32,
            "mp_world_size": ranks, "iteration": 80000, "np_rng_state": np.random.get_state(),
            "random_rng_state": random.getstate(), "torch_rng_state": torch.get_rng_state(),
            "cuda_rng_state": torch.get_rng_state(),
            "rng_tracker_states": {"model-parallel-rng": torch.get_rng_state()},
        }  # fmt: skip
        path = target / f"mp_rank_{rank:02d}_model_states.pt"
        torch.save(held, path, _use_new_zipfile_serialization=zipped)
    return folder


@pytest.fixture(scope="session")
def vocabulary(data) -> Path:
    """The real vocabulary file."""
    return data / "cpm" / "chinese_vocab.model"


@pytest.fixture(scope="session")
def model() -> GPT2LMHeadModel:
    """A tiny model."""
    return gpt2()


@pytest.fixture(scope="session")
def folder(tmp_path_factory, model, vocabulary) -> Path:
    """The tiny model as a Hugging Face folder with CPM's tokenizer."""
    from shoestring.lm.tokenizer import CpmTokenizer

    target = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(target)
    CpmTokenizer(vocabulary).save_pretrained(target)
    return target


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the folder that may be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def changed(folder: Path, **settings: object) -> Path:
    """Changes settings of a config.json."""
    path = Path(folder, "config.json")
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **settings}), "utf-8")
    return folder


def peak_memory() -> int:
    """Bytes of memory that this process has had at most."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory) -> Path:
    """A tiny Llama with a chat template that has tools."""
    from lm.chat_model import chat_folder

    return chat_folder(tmp_path_factory.mktemp("models") / "talker")


@pytest.fixture(scope="session")
def chat_server(chat_folder):
    """That Llama behind the real server, under the name m, for tests that only ask."""
    from lm.serving import running

    with running(chat_folder, "--batch", "4", "--name", "m", "--device", "cpu") as found:
        yield found
