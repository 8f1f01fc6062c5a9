"""The effective rank: its definition, its bounds, and its measure in our models and in others'."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    T5Config,
    T5Model,
)

from promised import kept
from shoestring._errors import InputError, OptionError
from shoestring.cli import main
from shoestring.transformer import (
    ShoestringConfig,
    ShoestringModel,
    effective_rank,
    measure_ranks,
    train_tokenizer,
)
from shoestring.transformer.commands.rank import TEXT
from shoestring.transformer.tokenizer import FIXED, count_words

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
}
IDS = torch.randint(5, 50, (200,), generator=torch.Generator().manual_seed(0))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.floats(0.01, 100))
def test_effective_rank_lies_between_one_and_the_rank_and_knows_no_scale(n, rank, seed, scale):
    matrix = random(n, rank, seed=seed) @ random(rank, n, seed=seed + 1)
    found = effective_rank(matrix).item()
    assert 1 - 1e-9 <= found <= min(n, rank) + 1e-6
    assert effective_rank(scale * matrix).item() == pytest.approx(found, rel=1e-6)
    assert effective_rank(matrix.T).item() == pytest.approx(found, rel=1e-6)


def test_effective_rank_is_its_definition():
    left, _ = torch.linalg.qr(random(4, 4))
    values = [4.0, 2.0, 1.0, 1.0]
    entropy = -sum(v / 8 * math.log(v / 8) for v in values)
    assert effective_rank(left * torch.tensor(values)).item() == pytest.approx(math.exp(entropy))
    assert effective_rank(torch.eye(5)).item() == pytest.approx(5)
    assert effective_rank(torch.ones(3, 6, 6)).tolist() == pytest.approx([1, 1, 1])
    assert effective_rank(torch.zeros(2, 2)).item() == 0


def family(**settings):
    torch.manual_seed(0)
    return ShoestringModel(
        ShoestringConfig(vocab_size=50, hidden_size=24, num_layers=2, num_heads=3, **settings)
    ).eval()


@pytest.mark.parametrize(
    "settings", [{"key_size": 4}, {"key_size": 20}, {"is_decoder": True}, {"position": "learned"}]
)
def test_ranks_of_our_family_are_those_of_its_own_logits(settings):
    model = family(**settings)
    before = model.config._attn_implementation
    ranks = measure_ranks(model, IDS, [12, 32])
    assert model.config._attn_implementation == before
    assert len(ranks) == 2 * 2 * 3
    assert all(rank.logits <= min(rank.length, rank.key_size) + 1e-6 == rank.bound + 1e-6 for rank in ranks)
    layer, pieces = model.layers[0].attention, IDS[: 200 // 32 * 32].view(-1, 32)[:4]
    with torch.no_grad():
        x = model.layers[0].attention_norm(
            model._embedded(model.embed_tokens(pieces), None, torch.arange(32)[None], None)
        )
        q, k = (p(x).unflatten(-1, (3, -1)).transpose(1, 2) for p in (layer.q_proj, layer.k_proj))
    if settings.get("position") == "learned":
        logits = q @ k.transpose(-1, -2)
        expected = effective_rank(logits - logits.mean(-1, keepdim=True)).mean(0)
        found = [rank.logits for rank in ranks if (rank.length, rank.layer) == (32, 0)]
        assert found == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        BertModel(BertConfig(**SIZES)),
        GPT2Model(GPT2Config(vocab_size=50, n_embd=24, n_layer=2, n_head=3, bos_token_id=1, eos_token_id=1)),
        LlamaModel(LlamaConfig(**SIZES, num_key_value_heads=1)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_of_others_give_the_weights_that_they_return(model):
    model.eval()
    ranks = measure_ranks(model, IDS, [16])
    assert [(rank.layer, rank.head) for rank in ranks] == [(i, j) for i in range(2) for j in range(3)]
    assert all(rank.logits <= 8 + 1e-6 for rank in ranks)
    pieces = IDS[:192].view(-1, 16)[:4]
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model(pieces, output_attentions=True).attentions
    expected = [rank for layer in weights for rank in effective_rank(layer).mean(0).tolist()]
    assert [rank.weights for rank in ranks] == pytest.approx(expected, rel=1e-3)


def test_the_bottleneck_is_seen():
    """With random weights the logits of wide keys have a rank that narrow ones cannot have."""
    narrow, wide = (measure_ranks(family(key_size=size), IDS, [48]) for size in (4, 64))
    assert max(rank.logits for rank in narrow) < 4 < 12 < min(rank.logits for rank in wide)


def test_talking_heads_lift_the_bound():
    plain = measure_ranks(family(key_size=4), IDS, [48])
    model = family(key_size=4, talking_heads="both")
    torch.testing.assert_close(
        torch.tensor([(rank.logits, rank.weights) for rank in measure_ranks(model, IDS, [48])]),
        torch.tensor([(rank.logits, rank.weights) for rank in plain]), atol=1e-3, rtol=1e-3,
    )  # fmt: skip
    for layer in model.layers:
        torch.nn.init.normal_(layer.attention.pre_mix)
    ranks = measure_ranks(model, IDS, [48])
    assert {rank.bound for rank in ranks} == {12}
    assert 4 < max(rank.logits for rank in ranks) <= 12


def test_measuring_changes_no_output():
    model = family()
    with torch.no_grad():
        before = model(IDS[None, :20]).last_hidden_state
        measure_ranks(model, IDS, [16])
        after = model(IDS[None, :20]).last_hidden_state
    assert torch.equal(before, after)


@pytest.fixture
def folder(tmp_path):
    tokenizer = train_tokenizer(count_words([TEXT]), FIXED + 60)
    model = ShoestringModel(
        ShoestringConfig(vocab_size=len(tokenizer), hidden_size=24, num_layers=2, num_heads=3)
    )
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["rank", *map(str, arguments)])
    return stop.value.code


def test_the_command_shows_a_table_and_draws(folder, tmp_path, capsys):
    assert run(folder, "-o", tmp_path / "r.png", "--lengths", "8,16") == 0
    out = capsys.readouterr().out
    assert "key size" in out
    assert (tmp_path / "r.png").read_bytes()[1:4] == b"PNG"
    assert run(folder, "-o", tmp_path / "r.png", "--lengths", "8,16", "--json") == 0
    heads = kept("rank", capsys.readouterr().out)["heads"]
    assert len(heads) == 12


def test_bad_input(folder, tmp_path, capsys):
    (tmp_path / "short.txt").write_text("好", "utf-8")
    (tmp_path / "empty.txt").write_text("", "utf-8")
    cases = [
        ((folder, "--lengths", "a,b"), "--lengths a,b: write whole numbers with commas"),
        ((folder, "--lengths", "1"), "--lengths 1: a piece needs at least 2 tokens"),
        ((folder, "--text", tmp_path / "short.txt"), "the shortest length is 16; give more text"),
        ((folder, "--text", tmp_path / "empty.txt"), "empty"),
        ((tmp_path / "none",), "no such folder"),
    ]
    for arguments, says in cases:
        assert run(*arguments, "-o", tmp_path / "r.png") == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "r.png").exists()


def test_what_cannot_be_measured():
    with pytest.raises(InputError, match="an encoder-decoder is not measured"):
        measure_ranks(
            T5Model(T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)), IDS
        )
    with pytest.raises(OptionError, match="at least 2 tokens"):
        measure_ranks(family(), IDS, [1])
