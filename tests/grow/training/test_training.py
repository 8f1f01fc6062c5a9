"""A grown model trains: everything gets a gradient, copies part, moments are those of the grown model."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, Trainer, TrainingArguments

from shoestring._errors import InputError, OutputError
from shoestring.grow import writing
from shoestring.grow.growing import grow, planned
from shoestring.grow.plan.request import Request
from shoestring.grow.training import optimizer

from ..infer.test_inference import subject as inferred
from ..models import HEADS, make

IDS = torch.randint(3, 61, (8, 9), generator=torch.Generator().manual_seed(0))


def loaded(folder, family):
    model = HEADS.get(family, AutoModelForCausalLM).from_pretrained(folder).train()
    if hasattr(model.config, "_experts_implementation"):
        model.set_experts_implementation("eager")  # fused kernels want sizes that divide by 16
    return model


def one_step(model, rate=0.0):
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    model(input_ids=IDS, labels=IDS).loss.backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    ("family", "request_"),
    [
        ("llama", {"hidden": "1.5x", "heads": "1x"}),
        ("gpt2", {"hidden": "1.5x", "layers": "+1"}),
        ("bert", {"hidden": "2x"}),
    ],
)
def test_every_parameter_gets_a_gradient(family, request_, tmp_path, enlarge):
    model = loaded(enlarge(make(tmp_path / "small", family), **request_), family).eval()
    model(input_ids=IDS, labels=IDS).loss.backward()
    silent = [
        name for name, each in model.named_parameters() if each.grad is None or not each.grad.abs().max() > 0
    ]
    # a new block's insides wait for its output layer; the pooler and the keys' biases never count in these losses
    silent = [name for name in silent if not name.startswith("transformer.h.2.") and "key.bias" not in name]
    assert not silent


@pytest.mark.parametrize("split", ["grid", "noise", "equal"])
def test_copies_part_unless_they_share_equally(split, tmp_path, enlarge):
    model = loaded(
        enlarge(make(tmp_path / "small", "llama", mlp_bias=False), hidden="2x", split=split), "llama"
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(5):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    gate = model.model.layers[0].mlp.gate_proj.weight.detach()
    one, two = gate[:24], gate[24:]
    if split == "equal":
        assert torch.allclose(one, two, atol=1e-6)
    else:
        assert (one - two).abs().mean() > 1e-4


@pytest.mark.parametrize(
    ("family", "request_"),
    [
        ("llama", {"hidden": "2x"}), ("qwen2", {"hidden": "1.5x", "heads": "2x", "kv_heads": "2x"}),
        ("mistral", {"head_dim": "2x"}), ("bert", {"hidden": "2x"}), ("gpt2", {"hidden": "3x"}),
        ("gemma2", {"hidden": "2x"}), ("mixtral", {"hidden": "2x", "experts": "2x"}), ("qwen3_moe", {"hidden": "2x"}),
        ("t5", {"hidden": "2x"}),
    ],
)  # fmt: skip
def test_grown_moments_are_those_of_the_grown_model(family, request_, tmp_path):
    """With equal parts exactly: the first mean of a gradient is a tenth of it, in both models."""
    source = make(tmp_path / "small", family, attention_dropout=0.0, hidden_dropout_prob=0.0,
                  attention_probs_dropout_prob=0.0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                  dropout_rate=0.0)  # fmt: skip
    torch.save(one_step(loaded(source, family).eval()).state_dict(), tmp_path / "optimizer.pt")
    request = Request(**request_, split="equal")
    grow(source, tmp_path / "big", request, verify="algebra", optimizer=tmp_path / "optimizer.pt")
    grown = torch.load(tmp_path / "big" / "optimizer.pt", weights_only=True)
    model = loaded(tmp_path / "big", family).eval()
    truth = one_step(model).state_dict()
    assert grown["param_groups"][0]["params"] == truth["param_groups"][0]["params"]
    for index, (name, _) in enumerate(model.named_parameters()):
        if index not in grown["state"]:
            continue
        for moment in ("exp_avg", "exp_avg_sq"):
            mine, theirs = (state["state"][index][moment] for state in (grown, truth))
            known = torch.ones_like(mine, dtype=torch.bool)
            if "head_dim" in request_ and any(
                each in name for each in ("q_proj", "k_proj", "v_proj", "o_proj")
            ):
                known = mine != (0 if moment == "exp_avg" else mine.mode().values.flatten()[0])
                if moment == "exp_avg_sq":
                    continue
            largest = float(theirs.abs().max()) + 1e-7  # some are zero but for rounding
            assert float((mine - theirs)[known].abs().max()) <= 2e-4 * largest, (name, moment)


class Rows(torch.utils.data.Dataset):
    """The same row over and over: every batch is the same, so losses can be compared."""

    def __len__(self):
        return 800

    def __getitem__(self, index):
        return {"input_ids": IDS[0], "labels": IDS[0]}


def trainer(model, folder, steps):
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=8, learning_rate=2e-3, logging_steps=1,
        save_steps=30, report_to=[], disable_tqdm=True, lr_scheduler_type="constant", use_cpu=True, seed=0,
    )  # fmt: skip
    return Trainer(model=model, args=arguments, train_dataset=Rows())


def losses(trainer_):
    return {each["step"]: each["loss"] for each in trainer_.state.log_history if "loss" in each}


def test_a_resumed_trainer_goes_on_without_a_spike(tmp_path):
    source = make(tmp_path / "small", "llama")
    small = trainer(loaded(source, "llama"), tmp_path / "run", 40)
    small.train()
    checkpoint = tmp_path / "run" / "checkpoint-30"
    grow(checkpoint, tmp_path / "big", Request(hidden="2x"), optimizer=checkpoint / "optimizer.pt")
    big = trainer(loaded(tmp_path / "big", "llama"), tmp_path / "more", 40)
    big.train(resume_from_checkpoint=str(tmp_path / "big"))
    before, after = losses(small), losses(big)
    assert abs(after[31] - before[31]) < 1e-3
    assert all(after[step] < after[step - 1] + 1e-3 for step in range(32, 41))


def test_optimizers_that_cannot_be_grown(tmp_path):
    source = make(tmp_path / "small", "llama")
    model = loaded(source, "llama")
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(input_ids=IDS, labels=IDS).loss.backward()
    sgd.step()
    torch.save(sgd.state_dict(), tmp_path / "sgd.pt")
    other = loaded(make(tmp_path / "other", "llama", intermediate_size=20), "llama")
    torch.save(one_step(other).state_dict(), tmp_path / "other.pt")
    torch.save({"a": 1}, tmp_path / "not.pt")
    torch.save(one_step(model).state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name, message in (
        ("sgd.pt", "has momentum_buffer; only Adam and AdamW"), ("other.pt", "are not the .* of this model"),
        ("not.pt", "is no optimizer's state_dict"), ("none.pt", "no such file"),
        ("old.pt", "is in torch's old format, which cannot be read in parts; type: python -c"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            grow(source, tmp_path / "big", Request(hidden="2x"), verify="algebra", optimizer=tmp_path / name)
        assert not list(tmp_path.glob("*big*"))  # it is looked at before weights are written


def test_the_command_that_an_old_file_asks_for_works(tmp_path):
    source = make(tmp_path / "small", "llama")
    old = tmp_path / "old.pt"
    torch.save(one_step(loaded(source, "llama")).state_dict(), old, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError) as error:
        grow(source, tmp_path / "big", Request(hidden="2x"), verify="algebra", optimizer=old)
    command = shlex.split(str(error.value).partition("type: ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True)
    grow(source, tmp_path / "big", Request(hidden="2x"), verify="algebra", optimizer=old)
    assert (tmp_path / "big" / "optimizer.pt").is_file()


def test_moments_are_never_in_memory_together(tmp_path, monkeypatch):
    """A state of 230 MB is written; beside what is mapped, which the kernel may take back, a chunk is held."""
    source = make(
        tmp_path / "small",
        "llama",
        hidden_size=512,
        intermediate_size=1024,
        vocab_size=256,
        num_hidden_layers=3,
    )
    torch.save(one_step(loaded(source, "llama")).state_dict(), tmp_path / "optimizer.pt")
    monkeypatch.setattr(optimizer, "CHUNK", 1 << 20)
    monkeypatch.setattr(optimizer, "MAPPED", 8 << 20)
    moments = optimizer.plan_optimizer(planned(source, Request(hidden="2x")), tmp_path / "optimizer.pt")
    assert moments.bytes > 200 << 20
    (tmp_path / "draft").mkdir()
    before, peak, done = resident(), [0], threading.Event()

    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    moments.write(tmp_path / "draft")
    done.set()
    watcher.join()
    assert peak[0] - before < 100 << 20
    assert (tmp_path / "draft" / "optimizer.pt").stat().st_size > moments.bytes


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_moments_are_grown_where_a_rule_was_inferred(tmp_path):
    source = inferred("gpt_neox", tmp_path / "small")
    torch.save(one_step(loaded(source, "gpt_neox").eval()).state_dict(), tmp_path / "optimizer.pt")
    request = Request(hidden="2x", split="equal")
    grow(source, tmp_path / "big", request, verify="algebra", optimizer=tmp_path)
    grown = torch.load(tmp_path / "big" / "optimizer.pt", weights_only=True)["state"]
    truth = one_step(loaded(tmp_path / "big", "gpt_neox").eval()).state_dict()["state"]
    assert grown.keys() == truth.keys()
    for number, state in truth.items():  # equal parts, so exactly
        scale = float(state["exp_avg"].abs().max()) + 1e-6
        assert float((grown[number]["exp_avg"] - state["exp_avg"]).abs().max()) <= 1e-3 * scale


def test_room_for_the_moments_is_asked_for_too(tmp_path, monkeypatch):
    source = make(tmp_path / "small", "llama")
    torch.save(one_step(loaded(source, "llama")).state_dict(), tmp_path / "optimizer.pt")
    chosen = planned(source, Request(hidden="2x"))
    moments = optimizer.plan_optimizer(chosen, tmp_path / "optimizer.pt")
    assert moments.bytes == 2 * chosen.bytes  # two moments, in fp32 like the weights
    free = shutil.disk_usage(tmp_path)._replace(free=writing.MARGIN + chosen.bytes + 1)
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda path: free)
    with pytest.raises(OutputError, match="are needed"):
        grow(source, tmp_path / "big", Request(hidden="2x"), verify="algebra", optimizer=tmp_path)
    grow(source, tmp_path / "big", Request(hidden="2x"), verify="algebra")


def test_the_head_of_bert_is_loaded_as_it_was_saved(tmp_path, enlarge):
    target = enlarge(make(tmp_path / "small", "bert"), hidden="2x")
    _, found = AutoModelForMaskedLM.from_pretrained(target, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert json.loads((target / "growth.json").read_text())["tied head"] is True
