"""TensorFlow checkpoints: read without TensorFlow, and computed as bert4keras computes them.

The checkpoints in tensorflow/ were written by TensorFlow itself; make.py there says how.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from shoestring._errors import InputError, OptionError
from shoestring.transformer import from_checkpoint
from shoestring.transformer.checkpoints.bundle import Bundle

HERE = Path(__file__).parents[1] / "tensorflow"
NOISE = 2e-6  # position codes are fp32
KINDS = {"bert": None, "roberta_plus": None, "nezha": None, "roformer": "roformer"}
IDS = np.array([[2, 5, 6, 7, 8, 3, 9, 10, 3], [2, 11, 12, 3, 13, 14, 15, 16, 3]])
TYPES = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1, 1]])


class Oracle:
    """The forward pass of bert4keras 0.11.5 in numpy and float64, from its published definition.

    Scale 1/sqrt(key_size); embeddings normed, then mapped to the hidden size; rotary pairs (2i, 2i + 1); NEZHA's
    distance codes, cut at 64, on keys and values; `see` (query, key) marks what UniLM and language models hide.
    """

    def __init__(self, name, kind):
        prefix = HERE / name / "bert_model.ckpt"
        self.weights = {key: np.asarray(value, np.float64) for key, value in Bundle(prefix).items()}
        self.config = json.loads((HERE / name / "bert_config.json").read_text())
        self.kind, self.heads = kind or name, self.config["num_attention_heads"]

    def dense(self, x, name):
        return x @ self.weights[f"{name}/kernel"] + self.weights[f"{name}/bias"]

    def norm(self, x, name, cond=None):
        scale, shift = self.weights[f"{name}/LayerNorm/gamma"], self.weights[f"{name}/LayerNorm/beta"]
        if cond is not None:  # conditional layer norm: both follow the condition
            scale, shift = (
                each + (cond[0] @ matrix)[:, None]
                for each, matrix in zip((scale, shift), cond[1][name], strict=True)
            )
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * scale + shift

    def attention(self, x, path, see):
        q, k, v = (
            self.dense(x, f"{path}/self/{part}").reshape(*x.shape[:2], self.heads, -1)
            for part in ("query", "key", "value")
        )
        size, length = q.shape[-1], x.shape[1]
        if self.kind == "roformer":
            q, k = turned(q), turned(k)
        logits = np.einsum("bqhd,bkhd->bhqk", q, k)
        if self.kind == "nezha":
            places = np.arange(length)
            codes = sines(np.arange(129), size)[np.clip(places[None] - places[:, None], -64, 64) + 64]
            logits += np.einsum("bqhd,qkd->bhqk", q, codes)
        logits = np.where(see[:, None], logits / math.sqrt(size), -1e12)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        out = np.einsum("bhqk,bkhd->bqhd", weights, v)
        if self.kind == "nezha":
            out += np.einsum("bhqk,qkd->bqhd", weights, codes)
        return self.dense(out.reshape(*x.shape[:2], -1), f"{path}/output/dense")

    def states(self, ids, types, see=None, cond=None):
        emb = "bert/embeddings"
        x = self.weights[f"{emb}/word_embeddings"][ids] + self.weights[f"{emb}/token_type_embeddings"][types]
        if f"{emb}/position_embeddings" in self.weights:
            x = x + self.weights[f"{emb}/position_embeddings"][: ids.shape[1]]
        x = self.norm(x, emb, cond)
        if "bert/encoder/embedding_hidden_mapping_in/kernel" in self.weights:
            x = self.dense(x, "bert/encoder/embedding_hidden_mapping_in")
        see = np.ones((len(ids), ids.shape[1], ids.shape[1]), bool) if see is None else see
        for index in range(self.config["num_hidden_layers"]):
            path = f"bert/encoder/layer_{index}"
            x = self.norm(x + self.attention(x, f"{path}/attention", see), f"{path}/attention/output", cond)
            inner = gelu(self.dense(x, f"{path}/intermediate/dense"))
            x = self.norm(x + self.dense(inner, f"{path}/output/dense"), f"{path}/output", cond)
        return x

    def logits(self, ids, types, see=None, cond=None):
        x = gelu(self.dense(self.states(ids, types, see, cond), "cls/predictions/transform/dense"))
        x = self.norm(x, "cls/predictions/transform", cond)
        return (
            x @ self.weights["bert/embeddings/word_embeddings"].T
            + self.weights["cls/predictions/output_bias"]
        )


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def sines(positions, size):
    angles = positions[..., None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(*angles.shape[:-1], size)


def turned(x):
    code = sines(np.arange(x.shape[1]), x.shape[-1])[:, None]
    pairs, sine, cosine = x.reshape(*x.shape[:-1], -1, 2), code[..., 0::2], code[..., 1::2]
    even, odd = pairs[..., 0], pairs[..., 1]
    return np.stack([even * cosine - odd * sine, odd * cosine + even * sine], -1).reshape(x.shape)


def run(model, types=TYPES, ids=IDS, **more):
    with torch.no_grad():
        return model(torch.tensor(ids), token_type_ids=torch.tensor(types), **more).logits.numpy()


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_logits_are_those_of_bert4keras(name, kind):
    done = from_checkpoint(HERE / name, kind=kind)
    assert (done.head, done.new, done.unknown) == ("masked-lm", [], [])
    expected = Oracle(name, kind).logits(IDS, TYPES)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(run(done.model.double()), expected, atol=NOISE)


def test_key_size_follows_from_the_shapes_and_scales_the_logits():
    model = from_checkpoint(HERE / "roberta_plus").model
    config = model.config
    assert (config.key_size, config.value_size, config.embedding_size, config.hidden_size) == (10, 4, 6, 8)
    expected = Oracle("roberta_plus", None).logits(IDS, TYPES)
    for layer in model.model.layers:  # 1/sqrt(head size), as bert4torch has it, is something else
        layer.attention.q_proj.weight.data *= math.sqrt(10 / 4)
        layer.attention.q_proj.bias.data *= math.sqrt(10 / 4)
    assert np.abs(run(model) - expected).max() > 0.1


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_unilm_is_that_of_bert4keras(name, kind):
    done = from_checkpoint(HERE / name, head="unilm", kind=kind)
    target = TYPES.cumsum(1)
    see = target[:, None] <= target[:, :, None]  # bert4keras' mask, from the running sum of the types
    np.testing.assert_allclose(
        run(done.model.double()), Oracle(name, kind).logits(IDS, TYPES, see), atol=NOISE
    )


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_language_model_sees_the_left_side(name, kind):
    done = from_checkpoint(HERE / name, head="causal-lm", kind=kind)
    see = np.tril(np.ones((9, 9), bool))[None].repeat(2, 0)
    np.testing.assert_allclose(
        run(done.model.double()), Oracle(name, kind).logits(IDS, TYPES, see), atol=NOISE
    )


def test_conditional_norm_is_that_of_bert4keras():
    done = from_checkpoint(HERE / "roberta_plus", settings={"layer_norm_cond_size": 3})
    model, random = done.model.double(), np.random.default_rng(0)
    assert all("cond_" in name for name in done.new)
    plain = Oracle("roberta_plus", None).logits(IDS, TYPES)
    cond = random.normal(size=(2, 3))
    np.testing.assert_allclose(run(model, layer_norm_cond=torch.tensor(cond)), plain, atol=NOISE)
    ours = {"bert/embeddings": model.model.norm, "cls/predictions/transform": model.transform.norm}
    for index, layer in enumerate(model.model.layers):
        path = f"bert/encoder/layer_{index}"
        ours |= {f"{path}/attention/output": layer.attention_norm, f"{path}/output": layer.feed_forward_norm}
    matrices = {}
    for name, norm in ours.items():
        matrices[name] = [random.normal(size=(3, len(norm.weight))) for _ in range(2)]
        norm.cond_scale.weight.data, norm.cond_shift.weight.data = (
            torch.tensor(each.T) for each in matrices[name]
        )
    expected = Oracle("roberta_plus", None).logits(IDS, TYPES, cond=(cond, matrices))
    np.testing.assert_allclose(run(model, layer_norm_cond=torch.tensor(cond)), expected, atol=NOISE)
    np.testing.assert_allclose(run(model), plain, atol=NOISE)
    with pytest.raises(
        OptionError, match="layer_norm_cond is 4 wide, but this model's layer_norm_cond_size is 3"
    ):
        run(model, layer_norm_cond=torch.zeros(2, 4).double())


def test_the_tokenizer_comes_along():
    tokenizer = from_checkpoint(HERE / "bert").tokenizer
    assert tokenizer.tokenize("春眠A") == ["春", "眠", "a"]
    assert tokenizer("春")["input_ids"] == [2, 5, 3]


def test_generation_from_nezha_with_and_without_cache():
    model = from_checkpoint(HERE / "nezha", head="unilm").model
    how = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    cached = model.generate(torch.tensor(IDS), **how)
    assert torch.equal(cached, model.generate(torch.tensor(IDS), use_cache=False, **how))


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(HERE / "bert", tmp_path / "c")
    return tmp_path / "c"


def test_a_data_file_is_missing_or_short(copy):
    data = copy / "bert_model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"damaged, .* does not fit into it"):
        from_checkpoint(copy)
    data.unlink()
    with pytest.raises(InputError, match=r"missing, and .* is in it"):
        from_checkpoint(copy)


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b"", lambda b: bytes(len(b)), lambda b: b[:20] + b[40:]]
)
def test_a_damaged_index(copy, change):
    index = copy / "bert_model.ckpt.index"
    index.write_bytes(change(index.read_bytes()))
    with pytest.raises(InputError, match=r"index|missing|damaged|bert/embeddings"):
        from_checkpoint(copy)


def test_a_config_is_missing_or_no_json(copy):
    (copy / "bert_config.json").write_text("{")
    with pytest.raises(InputError, match=r"bert_config\.json: not the configuration of a BERT"):
        from_checkpoint(copy)
    (copy / "bert_config.json").unlink()
    with pytest.raises(InputError, match=r"no bert_config\.json beside it"):
        from_checkpoint(copy)


def test_kinds_that_cannot_be():
    with pytest.raises(OptionError, match="give --kind nezha or --kind roformer"):
        from_checkpoint(HERE / "roformer")
    with pytest.raises(OptionError, match="learned positions, so it is a bert"):
        from_checkpoint(HERE / "bert", kind="nezha")
    with pytest.raises(OptionError, match="--kind albert: unknown"):
        from_checkpoint(HERE / "bert", kind="albert")


def test_a_folder_with_both_is_hugging_faces(copy):
    from transformers import BertConfig, BertModel

    BertModel(
        BertConfig(vocab_size=24, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(copy)
    assert from_checkpoint(copy).model.config.num_layers == 1


def test_a_prefix_names_the_checkpoint_too():
    assert from_checkpoint(HERE / "bert" / "bert_model.ckpt").kind == "bert"
    assert from_checkpoint(HERE / "bert" / "bert_model.ckpt.index").kind == "bert"
