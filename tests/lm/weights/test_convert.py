"""Conversion: ranks join to the same bits, the original's forward is kept, what is not data is refused."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.lm.weights import published, sources
from shoestring.lm.weights.conversion import convert
from shoestring.lm.weights.megatron import entries, merge, shard
from shoestring.train.torch_files import numpy_state, open_torch_file

from ..conftest import changed, checkpoint, gpt2


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_merge_of_shard_is_the_model(ranks):
    model = gpt2(hidden=64, heads=8)
    state = model.state_dict()
    for entry in entries(2):
        whole = state[entry.hugging_face]
        whole = whole.t() if entry.transposed else whole
        assert torch.equal(merge(entry.rule, shard(entry.rule, whole, ranks)), whole)


@settings(max_examples=30, deadline=None)
@given(heads=st.integers(1, 4), ranks=st.sampled_from([1, 2, 4]), inputs=st.integers(1, 5))
def test_each_rank_has_queries_keys_and_values_of_its_own_heads(heads, ranks, inputs):
    size = heads * ranks
    whole = torch.arange(3 * size * inputs).view(3, size, inputs)
    pieces = shard("thirds", whole.flatten(0, 1), ranks)
    for rank, piece in enumerate(pieces):
        assert torch.equal(piece.view(3, heads, inputs), whole[:, rank * heads : (rank + 1) * heads])
    assert torch.equal(merge("thirds", pieces), whole.flatten(0, 1))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_converted_weights_equal_the_model_bit_for_bit(model, vocabulary, tmp_path, ranks, zipped):
    source = checkpoint(model, tmp_path / "cpm", ranks, zipped)
    done = convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4)
    assert done.parameters == model.num_parameters()
    loaded = GPT2LMHeadModel.from_pretrained(tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text("utf-8")).items() >= hub.stamp().items()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half()), name
    assert AutoTokenizer.from_pretrained(tmp_path / "out").encode("你好") == [6756]
    assert (loaded.config.eos_token_id, loaded.config.pad_token_id) == (7, 5)


def original_forward(module, ids, heads, layers):
    """CPM-1-Generate's model/gpt2_modeling.py and mpu/transformer.py, line by line, for one rank and no dropout."""

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], module[f"{name}.weight"], module[f"{name}.bias"], 1e-5)

    def linear(x, name):
        return F.linear(x, module[f"{name}.weight"], module[f"{name}.bias"])

    def gelu(x):
        return 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * x * (1.0 + 0.044715 * x * x)))

    batch, length = ids.shape
    positions = torch.arange(length)[None].expand(batch, -1)
    x = module["word_embeddings.weight"][ids] + module["position_embeddings.weight"][positions]
    mask = torch.tril(torch.ones(1, 1, length, length))
    for index in range(layers):
        layer = f"transformer.layers.{index}"
        normed = norm(x, f"{layer}.input_layernorm")
        q, k, v = linear(normed, f"{layer}.attention.query_key_value").chunk(3, dim=-1)
        q, k, v = (each.view(batch, length, heads, -1).permute(0, 2, 1, 3) for each in (q, k, v))
        scores = torch.matmul(q, k.transpose(-1, -2)) / (q.shape[-1] ** 0.5)
        scores = torch.mul(scores, mask) - 10000.0 * (1.0 - mask)
        context = (
            torch.matmul(torch.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).reshape(batch, length, -1)
        )
        x = x + linear(context, f"{layer}.attention.dense")
        normed = norm(x, f"{layer}.post_attention_layernorm")
        x = x + linear(gelu(linear(normed, f"{layer}.mlp.dense_h_to_4h")), f"{layer}.mlp.dense_4h_to_h")
    return F.linear(norm(x, "transformer.final_layernorm"), module["word_embeddings.weight"])


def test_the_original_forward_is_kept(model, vocabulary, tmp_path):
    source = checkpoint(model, tmp_path / "cpm", 1)
    held = open_torch_file(source / "80000" / "mp_rank_00_model_states.pt", numpy_state())["module"]
    module = {name: value.float() for name, value in held.items()}
    convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4)
    converted = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ids = torch.randint(0, 30_000, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = converted(ids).logits - original_forward(module, ids, 4, 2)
    assert difference.abs().max() < 1e-5


def test_an_erf_gelu_would_show(model):
    """The port that took the other GELU is off by more than this test's tolerance."""
    x = torch.linspace(-4, 4, 1000)
    assert (F.gelu(x) - F.gelu(x, approximate="tanh")).abs().max() > 1e-4


class Writes:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
def test_a_malicious_pickle_is_refused_and_not_run(model, vocabulary, tmp_path, zipped):
    source = checkpoint(model, tmp_path / "cpm", 1, zipped)
    path = source / "80000" / "mp_rank_00_model_states.pt"
    held = torch.load(path, weights_only=False)
    held["lr_scheduler"] = Writes(tmp_path / "written")
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"refused, it names posix\.system, which is not data"):
        convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4)
    assert not (tmp_path / "written").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize("kept", [0.999, 0.5, 0.001])
def test_a_half_downloaded_file(model, vocabulary, tmp_path, kept, zipped):
    source = checkpoint(model, tmp_path / "cpm", 2, zipped)
    path = source / "80000" / "mp_rank_01_model_states.pt"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError, match=r"mp_rank_01.*(half downloaded|refused)"):
        convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4)


def test_a_missing_shard(model, vocabulary, tmp_path):
    source = checkpoint(model, tmp_path / "cpm", 2)
    (source / "80000" / "mp_rank_01_model_states.pt").rename(tmp_path / "second")
    with pytest.raises(InputError, match="one of 2 shards, but 1 are there"):
        convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4)
    (source / "80000" / "mp_rank_00_model_states.pt").unlink()
    (tmp_path / "second").rename(source / "80000" / "mp_rank_01_model_states.pt")
    with pytest.raises(InputError, match=r"mp_rank_00_model_states.pt is missing"):
        convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4)


def hashes(data: bytes) -> dict[str, str]:
    return {"SHA-1": hashlib.sha1(data).hexdigest(), "MD5": hashlib.md5(data).hexdigest()}


@pytest.mark.parametrize("kind", ["SHA-1", "MD5"])
def test_published_files_must_have_both_digests(tmp_path, monkeypatch, kind):
    file = tmp_path / "mp_rank_00_model_states.pt"
    file.write_bytes(b"as published")
    monkeypatch.setitem(published.FILES, file.name, hashes(b"as published"))
    published.require_published([file])
    right = {**hashes(b"as published"), kind: "71d6"}
    monkeypatch.setitem(published.FILES, file.name, right)
    found = hashes(b"as published")[kind]
    with pytest.raises(
        InputError, match=f"mp_rank_00.*: {kind} {found}, but CPM-LM was published with 71d6; download"
    ):
        published.require_published([file])


def test_the_published_digests_are_the_releases():
    for name, digests in published.FILES.items():
        assert (name[:8], len(digests["SHA-1"]), len(digests["MD5"])) == ("mp_rank_", 40, 32)


def test_a_conversion_of_files_that_were_not_published_leaves_nothing(
    model, vocabulary, tmp_path, monkeypatch
):
    source = checkpoint(model, tmp_path / "cpm", 2)
    monkeypatch.setattr(sources, "CPM_LM", (2, 64, 2))
    with pytest.raises(InputError, match=r"mp_rank_00_model_states.pt: SHA-1 .* pass --unpublished"):
        convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4)
    assert not (tmp_path / "out").exists()
    assert convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4, published=False).parameters


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=3),
    other=st.integers(1, 600),
    columns=st.booleans(),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.bfloat16]),
)
def test_joined_and_transposed_in_one_pass(sizes, other, columns, dtype):
    pieces = [torch.randn((other, size) if columns else (size, other)).to(dtype) for size in sizes]
    rule = "columns" if columns else "rows"
    assert torch.equal(merge(rule, pieces, transposed=True), merge(rule, pieces).t())


def test_ranks_that_contradict_each_other(model, vocabulary, tmp_path):
    source = checkpoint(model, tmp_path / "cpm", 2)
    path = source / "80000" / "mp_rank_01_model_states.pt"
    held = torch.load(path, weights_only=False)
    held["module"]["transformer.final_layernorm.bias"] += 1
    torch.save(held, path)
    with pytest.raises(InputError, match=r"final_layernorm.bias: the ranks hold different values"):
        convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4)


def test_vocabularies_that_do_not_fit(model, vocabulary, tmp_path, folder):
    source = checkpoint(model, tmp_path / "cpm", 1)
    with pytest.raises(InputError, match=r"chinese_vocab.model is not with the weights; pass --vocab"):
        convert(source, tmp_path / "out", heads=4)
    with pytest.raises(OptionError, match="hidden size 64: not CPM-LM's or CPM-Distill's; pass --heads"):
        convert(source, tmp_path / "out", vocabulary=vocabulary)
    GPT2LMHeadModel(changed_config(model, vocab_size=100)).save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="30,000 pieces, but the weights have 100; it belongs to another"):
        convert(tmp_path / "other", tmp_path / "out", vocabulary=vocabulary)


def changed_config(model, **settings):
    return type(model.config)(**{**model.config.to_dict(), **settings})


def test_config_and_weights_that_differ(copied, tmp_path):
    with pytest.raises(InputError, match=r"wpe.weight is \(128, 64\), but config.json says \(64, 64\)"):
        convert(changed(copied, n_positions=64), tmp_path / "out")


@pytest.mark.parametrize("to", ["int8", "int4"])
def test_quantized_folders_are_smaller_and_refused_by_transformers(folder, tmp_path, to):
    plain = convert(folder, tmp_path / "plain").bytes
    done = convert(folder, tmp_path / to, to=to)
    assert done.bytes < plain * 0.3
    with pytest.raises(ValueError, match="shoestring-quantized"):
        AutoModelForCausalLM.from_pretrained(tmp_path / to)
    with pytest.raises(InputError, match="is quantized already"):
        convert(tmp_path / to, tmp_path / "again", to="int8")


def test_a_pickled_hugging_face_folder_and_a_llama(tmp_path):
    torch.manual_seed(0)
    llama = LlamaForCausalLM(
        LlamaConfig(vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=1,
                    num_attention_heads=4, num_key_value_heads=2)
    )  # fmt: skip
    llama.config.save_pretrained(tmp_path / "llama")
    torch.save(llama.state_dict(), tmp_path / "llama" / "pytorch_model.bin")
    convert(tmp_path / "llama", tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert all(torch.equal(value, llama.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.slow
def test_memory_stays_with_one_layer(vocabulary, tmp_path):
    """A model of 330 MB in fp16 is converted within 100 MB beyond what the imports take and what is mapped."""
    checkpoint(gpt2(hidden=768, layers=20, heads=12), tmp_path / "cpm", 2, zipped=False)
    program = f"""
import re
from pathlib import Path
from shoestring.lm.weights.conversion import convert
anonymous = lambda: int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
import shoestring.lm.weights.sources as sources
seen = []
read = sources.MegatronSource.read
sources.MegatronSource.read = lambda self, name: (seen.append(anonymous()), read(self, name))[1]
convert({str(tmp_path / "cpm")!r}, {str(tmp_path / "out")!r}, vocabulary={str(vocabulary)!r})
print(max(seen) - seen[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200_000  # kB: the largest weight is 46 MB, joined from two and copied


def test_what_is_no_model(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        convert(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(InputError, match=r"has neither config.json nor mp_rank_00_model_states.pt"):
        convert(tmp_path, tmp_path / "out")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "bert" / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(OptionError, match="unknown"):
        convert(tmp_path / "bert", tmp_path / "out", to="int3")
    with pytest.raises((OptionError, InputError)):
        convert(tmp_path / "bert", tmp_path / "out")
    assert not Path(tmp_path / "out").exists()


def damaged(source, rank, change):
    """Changes what one shard holds."""
    path = source / "80000" / f"mp_rank_{rank:02d}_model_states.pt"
    held = torch.load(path, weights_only=False)
    change(held)
    torch.save(held, path)


def test_shards_that_are_no_model_together(model, vocabulary, tmp_path):
    name = "transformer.layers.0.mlp.dense_h_to_4h.weight"
    for number, (change, message) in enumerate((
        (lambda held: held["module"].update({name: held["module"][name].float()}), "is torch.float32 .* in mp_rank_00"),
        (lambda held: held["module"].update({name: held["module"][name][:-1]}), r"\(127, 64\), but .*\(128, 64\)"),
        (lambda held: held["module"]["transformer.layers.0.mlp.dense_h_to_4h.bias"].fill_(torch.nan), "not finite"),
    )):  # fmt: skip
        source = checkpoint(model, tmp_path / str(number), 2)
        damaged(source, 1, change)
        for to in ("hf", "int8"):
            with pytest.raises(InputError, match=message):
                convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4, to=to)
    source = checkpoint(model, tmp_path / "alone", 2)
    (source / "80000" / "mp_rank_01_model_states.pt").unlink()
    damaged(source, 0, lambda held: held.pop("mp_world_size"))
    with pytest.raises(InputError, match="1 shards hold 32 of 64 columns; copy the others too"):
        convert(source, tmp_path / "out", vocabulary=vocabulary, heads=4)
    assert not (tmp_path / "out").exists()
