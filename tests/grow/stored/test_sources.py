"""What is read is what transformers would read, all of it, and every number of it is accounted for."""

import json
import multiprocessing
import shutil
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from shoestring._errors import InputError, OptionError, OutputError
from shoestring.grow.growing import grow, planned
from shoestring.grow.plan.request import Request
from shoestring.grow.stored.checkpoint import opened, same
from shoestring.grow.stored.dtypes import decode, encode
from shoestring.grow.stored.tensor import Stored
from shoestring.grow.writing import write

from ..models import logits, make

TWO = Request(hidden="2x")
SLOW_FIXTURES = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return make(tmp_path_factory.mktemp("sources") / "llama", "llama", tie_word_embeddings=True)


def copied(model, folder, tensors=None, **changes):
    """A copy of a model with other tensors or another config."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    if tensors is not None:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


# -- ties ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, 5 * 999 * 16 - 1), chunk=st.sampled_from([7, 1000, 1 << 24]))
def test_no_byte_of_a_tie_is_left_uncompared(at, chunk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tie")
    data = np.random.default_rng(0).bytes(5 * 999 * 16)
    flipped = bytearray(data)
    flipped[at] ^= 1
    (folder / "one").write_bytes(data)
    (folder / "other").write_bytes(b"--" + data)
    (folder / "flipped").write_bytes(flipped)
    one, other, third = (
        Stored(folder / name, "F32", (999, 20), offset)
        for name, offset in (("one", 0), ("other", 2), ("flipped", 0))
    )
    assert same(one, other, chunk)
    assert not same(one, third, chunk)


def test_a_head_that_differs_in_one_number_is_kept(llama, tmp_path):
    tensors = load_file(llama / "model.safetensors")
    head = tensors["model.embed_tokens.weight"].clone()
    head[30, 8] += 3
    source = copied(llama, tmp_path / "source", {**tensors, "lm_head.weight": head})
    report = grow(source, tmp_path / "big", Request(hidden="2x", dtype="float64"))
    assert not report.plan.tied
    old, new = logits(source), logits(tmp_path / "big")
    assert float((old - new).abs().max()) <= 1e-12 * float(old.abs().max())


def test_a_double_of_t5_that_differs_is_kept(tmp_path):
    model = make(tmp_path / "t5", "t5")
    tensors = load_file(model / "model.safetensors")
    other = tensors["shared.weight"] * 2
    source = copied(model, tmp_path / "source", {**tensors, "encoder.embed_tokens.weight": other})
    grow(source, tmp_path / "big", Request(hidden="2x", dtype="float64"), verify="algebra")
    old, new = (logits(folder, AutoModelForSeq2SeqLM) for folder in (source, tmp_path / "big"))
    assert float((old - new).abs().max()) <= 1e-12 * float(old.abs().max())
    equal = copied(model, tmp_path / "equal", {**tensors, "encoder.embed_tokens.weight": other / 2})
    assert "encoder.embed_tokens.weight" not in {each.name for each in planned(equal, TWO).growths}


# -- numbers -------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([1e5, 65504.0, 65520.0, 3.3e38, 1e-7, 1e-9, 1e-40, 1.00390625, 0.1, -0.0]),
)


@settings(deadline=None, max_examples=60, suppress_health_check=SLOW_FIXTURES)
@given(
    number=NUMBERS,
    stored=st.sampled_from(["F64", "F32", "F16", "BF16"]),
    dtype=st.sampled_from([None, "float64", "float32", "float16", "bfloat16"]),
    split=st.sampled_from(["grid", "equal"]),
)
@example(number=65504.0, stored="F16", dtype=None, split="grid")  # the largest there is
@example(number=float(np.finfo("f").max), stored="F32", dtype=None, split="grid")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whatever_is_stored_is_given_back_or_refused(number, stored, dtype, split, llama, tmp_path_factory):
    """From the bytes of the source to the bytes of the file; what rounds is counted."""
    folder = tmp_path_factory.mktemp("numbers")
    source, kinds = (
        folder / "source",
        {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    )
    tensors = {
        name: each.to(getattr(torch, kinds[stored]))
        for name, each in load_file(llama / "model.safetensors").items()
    }
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][3, 5] = number
    copied(llama, source, tensors)
    plan = planned(source, Request(hidden="2x", dtype=dtype, split=split))
    was = tensors[name].double().numpy()
    new = encode(was, {v: k for k, v in kinds.items()}[dtype or kinds[stored]])
    kept = decode(new, {v: k for k, v in kinds.items()}[dtype or kinds[stored]]).astype(np.float64)
    try:
        written = write(plan, folder / "big")
    except InputError as error:
        refusal = str(error)
        bad = not np.isfinite(kept).all()
        coarse = dtype is not None and kinds[stored] != dtype
        assert bad or coarse, refusal
        assert "up_proj" in refusal
        return
    assert np.isfinite(kept).all()
    grown = load_file(folder / "big" / "model.safetensors")[name].double().numpy()
    back = grown[: len(was), : was.shape[1]] + grown[: len(was), was.shape[1] :]
    rounding = {"F64": 2.0**-52, "F32": 2.0**-23, "F16": 2.0**-10, "BF16": 2.0**-7}
    target = {v: k for k, v in kinds.items()}[dtype or kinds[stored]]
    assert np.abs(back - was).max() <= 4 * np.abs(was).max() * rounding[target]
    lost = sum(
        int((each.to(getattr(torch, dtype)).double() != each.double()).sum()) if dtype else 0
        for each in tensors.values()
    )
    assert written.rounded == lost
    assert (written.distance == 0) == (np.array_equal(back, was) and not lost) or split == "equal"


def test_numbers_that_a_dtype_cannot_hold(llama, tmp_path):
    tensors = load_file(llama / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e5
    source = copied(llama, tmp_path / "source", tensors)
    with pytest.raises(
        InputError, match=r"up_proj\.weight has numbers up to 1e\+05, which float16 cannot hold"
    ):
        grow(source, tmp_path / "big", Request(hidden="2x", dtype="float16"), verify="algebra")
    assert [each.name for each in tmp_path.iterdir()] == ["source"]
    report = grow(source, tmp_path / "big", Request(hidden="2x", dtype="bfloat16"))
    assert report.written.rounded > 1000
    assert report.written.distance > 0
    assert f"Rounded: {report.written.rounded:,} of " in "\n".join(report.lines())


# -- whole models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_no_tensor_may_be_missing(family, tmp_path):
    model = make(tmp_path / "model", family)
    tensors = load_file(model / "model.safetensors")
    for number, name in enumerate(tensors):
        rest = {key: each for key, each in tensors.items() if key != name}
        source = copied(model, tmp_path / str(number), rest)
        with pytest.raises(InputError, match=r"which its config\.json asks for"):
            planned(source, TWO)


def test_blocks_that_the_config_names_and_the_file_lacks(llama, tmp_path):
    source = copied(llama, tmp_path / "source", num_hidden_layers=3)
    with pytest.raises(InputError, match=r"lacks model\.layers\.2\.input_layernorm\.weight and 15 more"):
        planned(source, Request(ffn="2x"))
    fewer = copied(llama, tmp_path / "fewer", num_hidden_layers=1)
    assert "model.layers.1.mlp.up_proj.weight" in planned(fewer, TWO).checkpoint.unread


def test_the_file_goes_before_the_index_as_in_transformers(llama, tmp_path):
    source = copied(llama, tmp_path / "source")
    tensors = {name: each * 5 for name, each in load_file(llama / "model.safetensors").items()}
    save_file(tensors, source / "shard.safetensors", {"format": "pt"})
    index = {"weight_map": dict.fromkeys(tensors, "shard.safetensors")}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    grow(source, tmp_path / "big", Request(hidden="2x", dtype="float64"), verify="algebra")
    old, new = logits(source), logits(tmp_path / "big")
    assert float((old - new).abs().max()) <= 1e-12 * float(old.abs().max())


def test_code_of_its_own_and_adapters_are_refused(llama, tmp_path):
    own = copied(llama, tmp_path / "own", auto_map={"AutoModelForCausalLM": "modeling_x.XForCausalLM"})
    with pytest.raises(InputError, match=r"code of its own \(auto_map: modeling_x\.XForCausalLM\)"):
        planned(own, TWO)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="is an adapter of PEFT"):
        planned(tmp_path / "adapter", TWO)


# -- headers -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=80, suppress_health_check=SLOW_FIXTURES)
@given(data=st.data())
def test_what_the_library_refuses_is_refused(data, llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("header")
    source = folder / "source"
    shutil.copytree(llama, source)
    raw = (source / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    name = data.draw(st.sampled_from([each for each in header if each != "__metadata__"]))
    entry = header[name]
    what = data.draw(st.sampled_from(["begin", "end", "both", "shape", "dtype", "copy"]))
    shift = data.draw(st.sampled_from([-4, 4, 64, 10**9]))
    if what in ("begin", "both"):
        entry["data_offsets"][0] += shift
    if what in ("end", "both"):
        entry["data_offsets"][1] += shift
    if what == "shape":
        entry["shape"] = [*entry["shape"], data.draw(st.sampled_from([1, 2, 0]))]
    if what == "dtype":
        entry["dtype"] = data.draw(st.sampled_from(["F16", "F64", "I64", "X"]))
    if what == "copy":
        header["model.copy"] = dict(entry)
    text = json.dumps(header).encode()
    (source / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    try:
        with safe_open(source / "model.safetensors", framework="np"):
            pass
    except SafetensorError:
        with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
            opened(source)
    else:
        opened(source)


# -- several at once -----------------------------------------------------------------------------------------


def _grown(source, target, results):
    try:
        grow(source, target, TWO, verify="algebra", overwrite=True)
        results.put("done")
    except (OutputError, OptionError) as error:
        results.put(str(error))


def test_three_at_once_into_one_folder(llama, tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    runs = [context.Process(target=_grown, args=(llama, tmp_path / "big", results)) for _ in range(3)]
    for run in runs:
        run.start()
    found = [results.get(timeout=120) for _ in runs]
    for run in runs:
        run.join()
    assert "done" in found
    assert all(each == "done" or "another growth into it is running" in each for each in found), found
    assert sorted(each.name for each in tmp_path.iterdir()) == ["big"]
    AutoModelForCausalLM.from_pretrained(tmp_path / "big")
