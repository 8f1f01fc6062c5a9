"""Talking heads inside the model family and inside other models of transformers."""

import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertModel

from shoestring._errors import OptionError
from shoestring.train.trainer import WeighedTrainer
from shoestring.transformer import ShoestringConfig, ShoestringForCausalLM, preset

SMALL = {
    "vocab_size": 40,
    "num_layers": 2,
    "hidden_size": 24,
    "num_heads": 4,
    "is_decoder": True,
    "initializer_range": 0.2,
}


def model_of(**settings):
    torch.manual_seed(0)
    return ShoestringForCausalLM(ShoestringConfig(**{**SMALL, **settings})).eval()


def stirred(model):
    """Lets the heads talk: a new model's mixes are the identity."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "_mix" in name or ".dynamic." in name:
            parameter.data += 0.3 * torch.randn(parameter.shape)
    return model


def ids(rows=2, length=9):
    return torch.randint(5, 40, (rows, length), generator=torch.Generator().manual_seed(0))


def logits(model, x, **settings):
    with torch.no_grad():
        return model(x, **settings).logits


@pytest.mark.parametrize(
    "talking",
    [
        {"talking_heads": "pre"},
        {"talking_heads": "post"},
        {"talking_heads": "both"},
        {"talking_heads": "both", "dynamic_talking_heads": True},
    ],
)
def test_a_plain_checkpoint_keeps_its_function(tmp_path, talking):
    plain = model_of()
    plain.save_pretrained(tmp_path)
    config = ShoestringConfig(**{**plain.config.to_diff_dict(), **talking})
    upgraded = AutoModelForCausalLM.from_pretrained(tmp_path, config=config).eval()
    assert sum("_mix" in name for name, _ in upgraded.named_parameters()) > 0
    torch.testing.assert_close(logits(upgraded, ids()), logits(plain, ids()), atol=1e-6, rtol=1e-5)
    stirred(upgraded).save_pretrained(tmp_path / "again")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()
    assert all(torch.equal(x, loaded.state_dict()[name]) for name, x in upgraded.state_dict().items())
    assert not torch.allclose(logits(loaded, ids()), logits(plain, ids()), atol=1e-3)


@pytest.mark.parametrize("dynamic", [False, True])
def test_every_implementation_that_mixes_agrees(dynamic):
    model, x = stirred(model_of(talking_heads="both", dynamic_talking_heads=dynamic)), ids()
    mask = torch.ones_like(x)
    mask[0, :4] = 0
    model.set_attn_implementation("eager")
    expected = logits(model, x, attention_mask=mask)[mask.bool()]
    names = ["sdpa", "talking_heads", "talking_heads_eager", "talking_heads_chunked"]
    for name in names if dynamic else [*names, "talking_heads_lift"]:
        model.set_attn_implementation(name)
        found = logits(model, x, attention_mask=mask)[mask.bool()]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["flex_attention", "flash_attention_2"])
def test_an_implementation_that_would_ignore_the_mixes_is_an_error(name):
    model = model_of(talking_heads="post")
    with pytest.raises(
        OptionError, match=f"attn_implementation '{name}' cannot mix heads; choose one of eager"
    ):
        model.set_attn_implementation(name)
    model.config._attn_implementation_internal = name  # past transformers' own checks
    with pytest.raises(OptionError, match="cannot mix heads"):
        model.model.layers[0].attention(torch.zeros(1, 3, 24))


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_key_heads": 2, "num_value_heads": 6, "key_size": 10, "value_size": 3},
        {"num_key_value_heads": 2},
        {"dynamic_talking_heads": True, "num_key_heads": 2},
    ],
)
def test_every_cache_gives_what_no_cache_gives(settings, cache, beams):
    model = stirred(model_of(talking_heads="both", key_size=6, **settings) if "key_size" not in settings
                    else model_of(talking_heads="both", **settings))  # fmt: skip
    x = ids(3, 6)
    mask = torch.ones_like(x)
    mask[0, :3] = mask[1, :1] = 0
    how = {
        "attention_mask": mask, "max_new_tokens": 8, "num_beams": beams, "do_sample": False, "pad_token_id": 0,
    }  # fmt: skip
    kind = {} if cache == "dynamic" else {"cache_implementation": "static", "disable_compile": True}
    assert torch.equal(model.generate(x, **how, **kind), model.generate(x, use_cache=False, **how))


@pytest.mark.parametrize("implementation", ["eager", "talking_heads_chunked"])
def test_checkpointing_draws_the_same_dropout_again(implementation):
    found = []
    for checkpointing in (False, True):
        model = stirred(model_of(talking_heads="both", dropout=0.3)).train()
        model.set_attn_implementation(implementation)
        if checkpointing:
            model.gradient_checkpointing_enable()
        torch.manual_seed(3)
        model(ids(), labels=ids()).loss.backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-6, rtol=1e-4)


def test_eager_returns_the_mixed_weights():
    model = stirred(model_of(talking_heads="both", num_value_heads=6, value_size=2))
    model.set_attn_implementation("eager")
    weights = model(ids(), output_attentions=True).attentions[0]
    assert weights.shape == (2, 6, 9, 9)
    assert (weights.triu(1) == 0).all()


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("name", ["talking_heads", "talking_heads_eager"])
def test_other_models_keep_their_masks(name, decoder):
    """Registered for the masks too; without, padding would be attended to and nobody would be told."""
    torch.manual_seed(0)
    bert = BertModel(
        BertConfig(vocab_size=40, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
                   is_decoder=decoder)
    ).eval()  # fmt: skip
    x = ids()
    mask = torch.ones_like(x)
    mask[0, 6:] = 0
    with torch.no_grad():
        expected = bert(x, attention_mask=mask).last_hidden_state[mask.bool()]
        bert.set_attn_implementation(name)
        found = bert(x, attention_mask=mask).last_hidden_state[mask.bool()]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_mixes_do_not_decay():
    model = model_of(talking_heads="both", dynamic_talking_heads=True)
    decayed = WeighedTrainer.get_decay_parameter_names(None, model)
    assert not [name for name in decayed if "_mix" in name]
    assert [name for name in decayed if "dynamic" in name]  # these are neutral at 0
    assert "model.layers.0.attention.q_proj.weight" in decayed


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"talking_heads": "loud"}, "talking_heads 'loud': unknown; choose none or pre or post or both"),
        ({"num_key_heads": 2}, "num_key_heads 2 and num_heads 4 differ"),
        ({"num_value_heads": 2, "talking_heads": "pre"}, "num_value_heads 2 and num_heads 4 differ"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3: must divide the 4 key heads"),
        (
            {"num_key_heads": 0, "talking_heads": "both"},
            "num_key_heads 0: must be a whole number of at least 1",
        ),
        ({"dynamic_talking_heads": True}, "set talking_heads to both"),
    ],
)
def test_heads_that_do_not_fit_are_told_in_one_line(wrong, says):
    with pytest.raises(OptionError, match=says):
        preset("nano", **wrong)
