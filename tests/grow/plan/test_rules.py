"""Every rule: the grown model computes what the old one did, in fp64 to 1e-12 and in bf16 as stored."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoestring._errors import OptionError
from shoestring.grow.plan import planning
from shoestring.grow.plan.request import Request
from shoestring.grow.stored.checkpoint import opened

from ..models import FAMILIES, HEADS, AutoModelForCausalLM, logits, make

LIMIT = 1e-12
GROWTHS = {
    "2x": {"hidden": "2x"},
    "3x": {"hidden": "3x", "ffn": "1x"},
    "1.5x": {"hidden": "1.5x"},
    "head_dim": {"head_dim": "2x"},
    "head_dim, any ratio": {"head_dim": "1.5x"},
    "ffn": {"ffn": "+5"},
    "spread": {"layers": "+3"},
    "top": {"layers": "2x", "place": "top"},
    "vocab": {"vocab": "+9"},
    "heads": {"heads": "2x"},
    "kv heads": {"kv_heads": "2x"},
    "experts": {"experts": "2x"},
    "all": {"hidden": "2x", "layers": "+1", "vocab": "+3", "ffn": "+7"},
    "nothing": {"ffn": "1x"},
}
POST_NORM = ("bert", "roberta")
LOSSY = {(family, case) for family in POST_NORM for case in ("1.5x", "spread", "top", "all")} | {
    (family, case)
    for family in ("qwen3", "gemma3_text", "qwen3_moe")
    for case in ("head_dim", "head_dim, any ratio")
}
MIXTURES = ("mixtral", "qwen3_moe")
MISSING = {
    "head_dim": (*POST_NORM, "gpt2"), "head_dim, any ratio": (*POST_NORM, "gpt2"), "heads": (*POST_NORM, "gpt2"),
    "kv heads": (*POST_NORM, "gpt2", "t5"),
}  # fmt: skip
ONE_EACH = [
    ("llama", "all"), ("llama", "1.5x"), ("llama", "head_dim"), ("mistral", "head_dim, any ratio"),
    ("qwen2", "kv heads"), ("qwen3", "heads"), ("gemma", "2x"), ("gemma2", "spread"), ("gemma3_text", "1.5x"),
    ("gpt2", "1.5x"), ("gpt2", "top"), ("bert", "3x"), ("roberta", "vocab"), ("t5", "1.5x"), ("t5", "spread"),
    ("mixtral", "experts"), ("qwen3_moe", "2x"), ("llama", "nothing"), ("bert", "ffn"),
]  # fmt: skip


def head(family):
    return HEADS.get(family, AutoModelForCausalLM)


def distance(source, target, family, dtype=torch.float64):
    old, new = (logits(folder, head(family), dtype) for folder in (source, target))
    return float((old - new).abs().max() / old.abs().max())


def check(family, case, tmp_path, enlarge):
    source = make(tmp_path / "small", family)
    request = {**GROWTHS[case], "dtype": "float64"}
    if (family, case) in LOSSY:
        with pytest.raises(OptionError, match="--allow-lossy"):
            enlarge(source, **request)
        lossy = enlarge(source, allow_lossy=True, **request)
        assert 1e-4 < distance(source, lossy, family) < 1
        return
    if (family in MISSING.get(case, ())) or (case == "experts" and family not in MIXTURES):
        with pytest.raises(OptionError, match=r"has no such size of its own|heads of hidden / heads"):
            enlarge(source, **request)
        return
    assert distance(source, enlarge(source, **request), family) <= LIMIT


@pytest.mark.parametrize(("family", "case"), ONE_EACH)
def test_what_it_computes_stays(family, case, tmp_path, enlarge):
    assert (family, case) not in LOSSY
    check(family, case, tmp_path, enlarge)


@pytest.mark.parametrize(("family", "case"), [("bert", "1.5x"), ("bert", "spread"), ("qwen3", "head_dim")])
def test_what_has_no_exact_rule_is_refused(family, case, tmp_path, enlarge):
    check(family, case, tmp_path, enlarge)


@pytest.mark.slow
@pytest.mark.parametrize("case", GROWTHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_rule_in_every_dimension(family, case, tmp_path, enlarge):
    check(family, case, tmp_path, enlarge)


@pytest.mark.parametrize("split", ["grid", "equal"])
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_bf16_checkpoints_stay_exact(family, split, tmp_path, enlarge):
    source = make(tmp_path / "small", family, torch.bfloat16)
    target = enlarge(source, hidden="2x", split=split)
    assert opened(target).tensors.keys()
    assert {stored.dtype for stored in opened(target).tensors.values()} == {"BF16"}
    assert distance(source, target, family) <= LIMIT


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [name for name in FAMILIES if name not in ("gemma", "gemma2", "gemma3_text", "t5")]
)
def test_every_bf16_checkpoint_stays_exact_by_whole_factors(family, tmp_path, enlarge):
    source = make(tmp_path / "small", family, torch.bfloat16)
    assert distance(source, enlarge(source, hidden="2x", layers="+0"), family) <= LIMIT


def test_gemma_says_that_its_embeddings_are_rounded(tmp_path, plan_of):
    """They are divided by sqrt 2, which no binary number is."""
    planned = plan_of(make(tmp_path / "small", "gemma", torch.bfloat16), hidden="2x")
    assert set(planned.rounded) == {"model.embed_tokens.weight", "model.norm.weight"}
    assert not plan_of(make(tmp_path / "other", "llama", torch.bfloat16), hidden="2x").rounded


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hidden=st.integers(16, 40),
    groups=st.sampled_from([(4, 2), (8, 2), (4, 4), (8, 4), (16, 8), (6, 3)]),
    ffn=st.integers(24, 50),
    seed=st.integers(0, 99),
    family=st.sampled_from(["qwen2", "mistral"]),
)
def test_any_sizes(hidden, groups, ffn, seed, family, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    source = make(folder / "small", family, seed=seed)
    heads, kv_heads = groups
    request = Request(
        hidden=str(hidden), heads=str(heads), kv_heads=str(kv_heads), ffn=str(ffn), dtype="float64", seed=seed
    )
    from shoestring.grow.growing import grow

    report = grow(source, folder / "big", request, verify="algebra")
    assert report.plan.new.hidden == hidden
    assert distance(source, folder / "big", family) <= LIMIT


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_growth_composes(family, tmp_path, enlarge):
    source = make(tmp_path / "small", family)
    twice = enlarge(enlarge(source, "once", hidden="2x"), "twice", hidden="2x")
    at_once = enlarge(source, "at once", hidden="4x")
    assert json.loads((twice / "config.json").read_text()) == json.loads(
        (at_once / "config.json").read_text()
    )
    assert distance(source, twice, family) <= LIMIT
    assert distance(source, at_once, family) <= LIMIT


def test_a_tie_is_what_is_stored_not_what_the_config_says(tmp_path):
    source = make(tmp_path / "small", "llama", tie_word_embeddings=False)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    assert not planning.plan(opened(source), Request(hidden="2x")).tied
    tied = make(tmp_path / "tied", "llama", tie_word_embeddings=True)
    assert planning.plan(opened(tied), Request(hidden="2x")).tied


def test_repeated_blocks_are_those_of_the_model_and_said_to_be_lossy(tmp_path, enlarge):
    source = make(tmp_path / "small", "llama", num_hidden_layers=4)
    with pytest.raises(
        OptionError, match=r"--repeat 1-2: blocks that run twice .* --layers 6 adds as many exactly"
    ):
        enlarge(source, repeat="1-2", dtype="float64")
    with pytest.raises(OptionError, match="llama has blocks 0 to 3; choose among those"):
        enlarge(source, repeat="1-4", allow_lossy=True)
    target = enlarge(source, repeat="1-2", dtype="float64", allow_lossy=True, verify="logits")
    old, new = (AutoModelForCausalLM.from_pretrained(folder).model.layers for folder in (source, target))
    assert len(new) == 6
    for block, copied in zip(new, [0, 1, 2, 1, 2, 3], strict=True):
        for one, other in zip(block.parameters(), old[copied].parameters(), strict=True):
            assert torch.equal(one, other)


def test_layer_types_grow_with_the_blocks(tmp_path, plan_of):
    source = make(tmp_path / "small", "gemma2")
    assert (
        plan_of(source, layers="+2").config["layer_types"]
        == ["sliding_attention"] * 2 + ["full_attention"] * 2
    )


def test_rotary_base_is_raised_where_the_ratio_is_not_whole(tmp_path, plan_of):
    source = make(tmp_path / "small", "mistral")
    assert plan_of(source, head_dim="2x").config["rope_parameters"]["rope_theta"] == 10000.0
    assert plan_of(source, head_dim="1.5x").config["rope_parameters"]["rope_theta"] == pytest.approx(
        10000.0**1.5
    )
