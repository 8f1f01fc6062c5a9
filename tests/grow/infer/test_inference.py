"""Architectures without a rule: what their tensors do is inferred, accepted only if it is exact, and streamed.

Subjects are those of benchmarks/grow_families.py: the default pattern of blocks of each kind, six of them or more, and
sizes unequal to each other and to those that inference tries.
"""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from shoestring._errors import InputError, OptionError
from shoestring.grow.growing import grow, planned
from shoestring.grow.infer.probing import Finding, Probe, computed_from_sizes
from shoestring.grow.infer.tiny import MODES, scaled, tiny_configs
from shoestring.grow.plan.request import Request
from shoestring.grow.stored.models import auto_config

ROOT = Path(__file__).parents[3]
_SPEC = importlib.util.spec_from_file_location("grow_families", ROOT / "benchmarks" / "grow_families.py")
families = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(families)
QUICK = [
    ("smollm3", None), ("olmo3", True), ("exaone4", None), ("cohere2", None), ("qwen2_moe", True), ("lfm2", None),
    ("gpt_neox", True), ("phi3", None), ("opt", None), ("flaubert", None), ("electra", None),
]  # fmt: skip


def subject(kind, folder, tie=None, dtype=None):
    """A random model of a kind, at six blocks or more."""
    families.made(kind, folder, tie)
    if dtype is not None:
        tensors = {name: each.to(dtype) for name, each in load_file(folder / "model.safetensors").items()}
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def distance(kind, old, new):
    old, new = families.computed(kind, old), families.computed(kind, new)
    return float((old - new).abs().max() / old.abs().max())


@pytest.mark.parametrize(("kind", "tie"), QUICK)
def test_an_architecture_without_a_rule_grows(kind, tie, tmp_path):
    source = subject(kind, tmp_path / "small", tie)
    report = grow(source, tmp_path / "big", Request(hidden="2x", dtype="float64"))
    assert report.plan.inferred
    assert report.proof.relative <= 1e-12
    assert distance(kind, source, tmp_path / "big") <= 1e-12


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        ("marian", "embed_positions.weight"), ("xglm", "embed_positions.weights"), ("ctrl", "pos_encoding"),
        ("stablelm", None),
    ],
)  # fmt: skip
def test_what_code_computes_from_sizes_is_named_as_the_reason(kind, held, tmp_path):
    """Sinusoids: twice the width has other positions, and what a file may hold of them is not saved again."""
    subject(kind, tmp_path / "small")
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    if kind == "marian":
        config |= {"architectures": ["MarianMTModel"], "is_encoder_decoder": True}
    mode = next(iter(MODES))
    probe = Probe(config, 2, mode, tmp_path)
    finding = Finding(probe.base_kinds(), 0.3, config=config)
    found = computed_from_sizes(finding, scaled(auto_config(config), 2, mode))
    assert (held in found[0]) if held else not found


def test_bf16_stays_exact_there_too(tmp_path):
    source = subject("stablelm", tmp_path / "small", dtype=torch.bfloat16)
    grow(source, tmp_path / "big", Request(hidden="2x"), verify="algebra")
    assert distance("stablelm", source, tmp_path / "big") <= 1e-12


def test_sizes_that_follow_hidden_may_be_named(tmp_path):
    source = subject("olmo2", tmp_path / "small")
    same = Request(hidden="2x", heads="2x", kv_heads="16", ffn="416", dtype="float64")
    one, other = planned(source, Request(hidden="2x", dtype="float64")), planned(source, same)
    assert one.new == other.new
    assert one.config == other.config
    with pytest.raises(
        OptionError, match=r"--ffn 3x: olmo2 has no rule, and what is inferred makes 416 of 208"
    ):
        planned(source, Request(hidden="2x", ffn="3x"))
    with pytest.raises(OptionError, match=r"grows by whole factors; try 2x$"):
        planned(source, Request(hidden="1.5x"))
    with pytest.raises(OptionError, match="give --hidden 2x, --layers"):
        planned(source, Request(hidden="2x", vocab="+1"))


@pytest.mark.parametrize(("kind", "quiet"), [
    ("smollm3", "mlp.down_proj.weight, self_attn.o_proj.weight"), ("gpt_neox", "attention.dense.bias"),
    ("olmo2", "post_attention_layernorm.weight, post_feedforward_layernorm.weight"), ("cohere2", "down_proj"),
])  # fmt: skip
def test_blocks_are_added_to_what_has_no_rule(kind, quiet, tmp_path):
    source = subject(kind, tmp_path / "small")
    report = grow(source, tmp_path / "deep", Request(layers="+3", dtype="float64"))
    assert report.plan.changes == {"layers": (report.plan.old.layers, report.plan.old.layers + 3)}
    assert any(quiet in line for line in report.plan.exact)
    assert distance(kind, source, tmp_path / "deep") <= 1e-12


def test_blocks_and_width_together_and_where_neither_goes(tmp_path):
    source = subject("phi", tmp_path / "small")
    grow(source, tmp_path / "both", Request(hidden="2x", layers="+1", place="top", dtype="float64"))
    assert distance("phi", source, tmp_path / "both") <= 1e-12
    with pytest.raises(InputError, match="no tensors were found that make a new block add nothing"):
        planned(subject("electra", tmp_path / "post"), Request(layers="+1"))


def test_lists_with_an_entry_for_each_block_are_cut_with_the_blocks(tmp_path):
    """Long ones, with a first block of some kind late in the list."""
    types = ["sliding_attention"] * 9 + ["full_attention"] + ["sliding_attention"] * 30
    config = {"model_type": "olmo3", "num_hidden_layers": 40, "layer_types": types, "hidden_size": 512}
    first = next(iter(tiny_configs(config, [f"model.layers.{block}.x" for block in range(40)])))
    assert first["num_hidden_layers"] == 10
    assert first["layer_types"] == types[:10]


@pytest.mark.slow
def test_alibi_is_noticed_and_measured(tmp_path):
    source = subject("bloom", tmp_path / "small")
    with pytest.raises(
        InputError, match="none that was inferred is exact: the best of the trials changes outputs by"
    ):
        grow(source, tmp_path / "big", Request(hidden="2x"))
    report = grow(source, tmp_path / "big", Request(hidden="2x", allow_lossy=True))
    assert 1e-4 < report.proof.relative < 0.5
    assert "is not exact" in report.plan.lossy[0]


@pytest.mark.slow
@pytest.mark.parametrize("tie", [True, False])
def test_every_text_model_is_exact_or_refused(tie, tmp_path, capsys):
    """Half an hour; `benchmarks/grow_families.py` prints the same and keeps it."""
    found = {}
    for kind in sorted({kind for names in families.LISTS for kind in names}):
        found[kind] = families.one(kind, tie)
    bad = {kind: fact for kind, fact in found.items() if fact["verdict"] in ("wrong", "crashed")}
    assert not bad
    assert sum(fact["verdict"] == "exact" for fact in found.values()) >= 90


def test_no_kind_that_the_benchmark_tried_was_wrong_or_crashed():
    found = json.loads((ROOT / "benchmarks" / "results" / "grow_families.json").read_text())["kinds"]
    verdicts = [fact["verdict"] for fact in found.values()]
    assert set(found) >= {
        kind for names in families.LISTS for kind in names
    }  # an older transformers has fewer
    assert not {"wrong", "crashed"} & set(verdicts)
    assert verdicts.count("exact") >= 90
