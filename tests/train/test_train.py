"""A run is what its settings say, however it is cut or shared."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager

import pytest
import tiny_runs
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import QUIET, SMALL, VOCABULARY, Examples, names, stop, tiny

from shoestring._errors import OptionError, OutputError, TrainError
from shoestring.train import TrainSettings, fit
from shoestring.train.settings import SCHEDULES

# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps 0: must be a whole number from 1"),
        ({"batch_size": 2.5}, "batch_size 2.5: must be a whole number"),
        ({"micro_batch": 0}, "micro_batch 0"),
        ({"learning_rate": float("nan")}, "learning_rate nan: must be a number above 0"),
        ({"warmup": 1.5}, "warmup 1.5: must be a fraction"),
        ({"schedule": "cosin"}, "must be one of cosine, linear, constant, wsd"),
        ({"device": "gpu"}, "must be one of auto, cpu, cuda, mps"),
        ({"precision": "fp16"}, "must be one of auto, fp32, bf16"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_settings_out_of_range_are_refused_with_what_is_allowed(wrong, message):
    with pytest.raises(OptionError, match=message.replace("(", r"\(")):
        TrainSettings(**{"steps": 10, **wrong})


@given(
    steps=st.integers(1, 300),
    warmup=st.floats(0, 1),
    final=st.floats(0, 1),
    schedule=st.sampled_from(SCHEDULES),
)
def test_rate_rises_to_its_peak_then_never_rises_again(steps, warmup, final, schedule):
    settings = TrainSettings(steps, learning_rate=1.0, warmup=warmup, final_lr=final, schedule=schedule)
    rates = [settings.rate(step) for step in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) == 1.0
    assert all(rate > 0 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert settings.rate(steps) >= final - 1e-9
    if math.ceil(warmup * steps) < steps and schedule != "constant":
        assert settings.rate(steps) == pytest.approx(final)


@given(batch=st.integers(1, 500), micro=st.integers(1, 500) | st.none(), processes=st.integers(1, 8))
def test_micro_batches_cover_the_batch_exactly(batch, micro, processes):
    settings = TrainSettings(1, batch_size=batch, micro_batch=micro)
    if batch % processes:
        with pytest.raises(OptionError, match="cannot be shared"):
            settings.micro_batches(processes)
    else:
        size, passes = settings.micro_batches(processes)
        assert size * passes * processes == batch
        assert size <= (micro or batch)


# -- one loss, however the batch is cut ------------------------------------------------------------------


def by_hand(model, settings: TrainSettings, shift: int) -> list[float]:
    """The same run written down plainly: one batch a step, AdamW, no Trainer."""
    import torch
    from torch.nn.functional import cross_entropy

    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1.0, betas=settings.betas)
    examples, found = Examples(settings.examples), []
    model.train()
    for step in range(settings.steps):
        rows = [examples[step * settings.batch_size + i] for i in range(settings.batch_size)]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        logits = logits[:, : logits.shape[1] - shift].reshape(-1, VOCABULARY)
        loss = cross_entropy(logits, batch["labels"][:, shift:].reshape(-1), ignore_index=-100)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(step)
        optimiser.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize(("kind", "shift"), [("bert", 0), ("gpt2", 1)])
@pytest.mark.parametrize("micro", [8, 2, 1])
def test_losses_are_those_of_a_plain_loop_for_any_micro_batch(kind, shift, micro, tmp_path):
    settings = TrainSettings(steps=6, batch_size=8, micro_batch=micro, log_every=1, learning_rate=1e-2)
    expected = by_hand(tiny(kind), settings, shift)
    history = fit(tiny(kind), Examples(48), settings, tmp_path, ui=QUIET)
    assert history.steps == (1, 2, 3, 4, 5, 6)
    assert history.losses == pytest.approx(expected, rel=3e-6)


def test_a_micro_batch_without_a_target_counts_nothing(tmp_path):
    class Sparse(Examples):
        def __getitem__(self, k):
            example = super().__getitem__(k)
            if k % 3 == 0:
                example["labels"] = example["labels"] * 0 - 100
            return example

    whole, cut = (
        fit(
            tiny("gpt2"), Sparse(24), TrainSettings(3, 8, micro, log_every=1), tmp_path / str(micro), ui=QUIET
        )
        for micro in (8, 1)
    )
    assert cut.losses == pytest.approx(whole.losses, rel=3e-6)


def test_every_example_is_read_once_and_in_order(tmp_path):
    examples = Examples(1000)
    fit(tiny(), examples, TrainSettings(micro_batch=4, **SMALL), tmp_path, ui=QUIET)
    assert examples.seen == list(range(96))


@pytest.mark.parametrize(
    "launcher",
    [
        ["torch.distributed.run", "--nproc_per_node=2", "--standalone"],
        ["accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1",
         "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"],
    ],
    ids=["torchrun", "accelerate"],
)  # fmt: skip
def test_two_processes_have_the_losses_of_one(launcher, tmp_path):
    settings = {**SMALL, "steps": 6}
    script = [
        tiny_runs.__file__,
        str(tmp_path / "two"),
        json.dumps({"settings": settings | {"micro_batch": 2}, "evaluate": 5}),
    ]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *script],
        check=False, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one = fit(
        tiny(), Examples(48), TrainSettings(**settings), tmp_path / "one", eval_examples=Examples(5), ui=QUIET
    )
    two = json.loads(done.stdout)  # so only one process printed, and printed nothing else
    assert two["losses"] == pytest.approx(one.losses, rel=3e-6)
    assert two["eval_losses"] == [[step, pytest.approx(loss, rel=3e-6)] for step, loss in one.eval_losses]


def test_evaluation_is_the_mean_over_targets(tmp_path):
    import torch

    model = tiny("gpt2")
    history = fit(
        model, Examples(8), TrainSettings(1, 8, 3), tmp_path, eval_examples=Examples(7), ui=QUIET
    )  # fmt: skip
    total = count = 0
    with torch.no_grad():
        for example in (Examples(7)[k] for k in range(7)):
            targets = int((example["labels"][1:] != -100).sum())
            batch = {name: value[None] for name, value in example.items()}
            total, count = total + model(**batch).loss.item() * targets, count + targets
    assert history.eval_losses == ((1, pytest.approx(total / count, rel=1e-5)),)


# -- what can go wrong -----------------------------------------------------------------------------------


@contextmanager
def files_of_at_most(size: int):
    """Makes every write beyond `size` bytes of a file fail, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [10_000, 40_000], ids=["model", "optimiser"])
def test_a_full_disk_leaves_earlier_checkpoints(size, tmp_path):
    settings = TrainSettings(**SMALL)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), Examples(at=50, happens=stop), settings, tmp_path, ui=QUIET)
    saved = (tmp_path / "checkpoints/checkpoint-4/model.safetensors").read_bytes()
    with (
        files_of_at_most(size),
        pytest.raises(OutputError, match=r"cannot save step 8: .*untouched") as error,
    ):
        fit(tiny(), Examples(), settings, tmp_path, ui=QUIET)
    assert "\n" not in str(error.value)
    assert names(tmp_path / "checkpoints") == ["checkpoint-4"]
    assert (tmp_path / "checkpoints/checkpoint-4/model.safetensors").read_bytes() == saved
    assert fit(tiny(), Examples(), settings, tmp_path, ui=QUIET).resumed_from == 4


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path):
    settings = TrainSettings(**(SMALL | {"learning_rate": 1e30, "warmup": 0.0}))
    with pytest.raises(TrainError, match=r"not finite at step \d+ .*lower the learning rate 1e\+30"):
        fit(tiny("gpt2"), Examples(), settings, tmp_path, ui=QUIET)
    assert names(tmp_path / "checkpoints") == []


@pytest.mark.parametrize(
    ("count", "given", "message"),
    [
        (95, {}, "95 examples are too few: steps 12 times batch_size 8 needs 96"),
        (96, {"eval_examples": []}, "eval_examples is empty"),
        (96, {"eval_every": 3}, "needs eval_examples"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(count, given, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        fit(tiny(), Examples(count), TrainSettings(**SMALL), tmp_path, ui=QUIET, **given)


def test_a_device_that_is_not_there_is_refused(tmp_path):
    import torch

    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(OptionError, match=f"device '{missing}' is not on this machine; it has .*cpu"):
        fit(tiny(), Examples(), TrainSettings(**SMALL, device=missing), tmp_path, ui=QUIET)


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(OutputError, match=r"model"):
        fit(tiny(), Examples(), TrainSettings(**SMALL), tmp_path / "model", ui=QUIET)
    assert (tmp_path / "model").read_text() == "mine"


# -- what a run leaves -----------------------------------------------------------------------------------


def test_a_run_leaves_a_log_a_curve_two_checkpoints_and_nothing_on_the_screen(tmp_path, capfd):
    model = tiny("gpt2")
    model.config.use_cache = True
    history = fit(model, Examples(), TrainSettings(**SMALL), tmp_path, eval_examples=Examples(4), ui=QUIET)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert names(tmp_path) == ["checkpoints", "log.jsonl", "loss.png"]
    assert names(tmp_path / "checkpoints") == ["checkpoint-12", "checkpoint-8"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert Counter(line["step"] for line in lines if "loss" in line) == Counter(history.steps)
    assert [line["step"] for line in lines if "eval_loss" in line] == [4, 8, 12]
    assert {"learning_rate", "grad_norm", "seconds", "tokens_per_second"} <= lines[0].keys()
    assert model.config.use_cache  # the Trainer turns it off
    assert not model.training
    assert not list(tmp_path.rglob("training_args.bin"))


def test_bf16_trains_and_leaves_fp32_weights(tmp_path):
    import torch

    model = tiny("gpt2")
    history = fit(
        model, Examples(), TrainSettings(**SMALL, precision="bf16", device="cpu"), tmp_path, ui=QUIET
    )
    exact = fit(tiny("gpt2"), Examples(), TrainSettings(**SMALL, device="cpu"), tmp_path / "32", ui=QUIET)
    assert history.losses != exact.losses
    assert history.losses == pytest.approx(exact.losses, rel=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_importing_it_loads_no_torch():
    imports = "import sys, shoestring.train, shoestring.plot, shoestring.hub"
    code = f"{imports}; print({{'torch', 'matplotlib', 'numpy'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
