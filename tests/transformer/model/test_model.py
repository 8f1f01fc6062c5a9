"""The laws of the model family: what the field's tools rely on."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from shoestring._errors import OptionError
from shoestring.transformer.model.configuration import PRESETS, ShoestringConfig, preset
from shoestring.transformer.model.heads import ShoestringForCausalLM, ShoestringForMaskedLM
from shoestring.transformer.talking_heads.written_out import written_out

TALKING = (
    {},
    {"talking_heads": "pre"},
    {"talking_heads": "both", "num_key_value_heads": 1},
    {"talking_heads": "both", "num_key_heads": 2, "num_value_heads": 4},
    {"talking_heads": "both", "dynamic_talking_heads": True},
)


def config_of(talking, **sizes):
    return ShoestringConfig(**sizes, **talking)


configs = st.builds(
    config_of,
    talking=st.sampled_from(TALKING),
    vocab_size=st.just(40),
    hidden_size=st.just(24),
    num_layers=st.just(2),
    num_heads=st.sampled_from((1, 3)),
    key_size=st.sampled_from((2, 8, 20)),
    value_size=st.sampled_from((1, 8, 13)),
    position=st.sampled_from(("rope", "learned")),
    norm=st.sampled_from(("rms", "layer")),
    norm_position=st.sampled_from(("pre", "post")),
    max_position_embeddings=st.just(64),
)
laws = settings(max_examples=15, deadline=None)


def encoder(config):
    config.is_decoder = False
    torch.manual_seed(0)
    return ShoestringForMaskedLM(config).eval()


def decoder(config):
    config.is_decoder = True
    torch.manual_seed(0)
    return ShoestringForCausalLM(config).eval()


def both(config):
    return [encoder(config), decoder(ShoestringConfig(**config.to_diff_dict()))]


def ids(rows, length, seed=0):
    return torch.randint(5, 40, (rows, length), generator=torch.Generator().manual_seed(seed))


def logits(model, *arguments, **settings):
    with torch.no_grad():
        return model(*arguments, **settings).logits


@laws
@given(configs, st.sampled_from(("none", "left", "right")))
def test_fused_equals_eager(config, padding):
    x = ids(2, 9)
    mask = torch.ones_like(x)
    if padding != "none":
        mask[0, slice(0, 3) if padding == "left" else slice(6, 9)] = 0
    for model in both(config):
        model.set_attn_implementation("sdpa")
        fused = logits(model, x, attention_mask=mask)
        model.set_attn_implementation("eager")
        written_out = logits(model, x, attention_mask=mask)
        real = mask.bool()
        torch.testing.assert_close(fused[real], written_out[real], atol=1e-5, rtol=1e-5)


def test_eager_is_the_formula():
    """softmax(q k / sqrt(d)) v, entry by entry, in plain Python."""
    q, k, v = (
        torch.randn(1, 1, 2, 4).double(),
        torch.randn(1, 1, 3, 4).double(),
        torch.randn(1, 1, 3, 5).double(),
    )
    output, weights = written_out(torch.nn.Identity(), q, k, v, None, scaling=4**-0.5, is_causal=False)
    for i in range(2):
        scores = [math.exp(sum(q[0, 0, i, d] * k[0, 0, j, d] for d in range(4)) / 2) for j in range(3)]
        for j in range(3):
            assert weights[0, 0, i, j].item() == pytest.approx(scores[j] / sum(scores), abs=1e-12)
        for d in range(5):
            expected = sum(score / sum(scores) * v[0, 0, j, d].item() for j, score in enumerate(scores))
            assert output[0, i, 0, d].item() == pytest.approx(expected, abs=1e-12)


@laws
@given(configs, st.integers(1, 6))
def test_padding_never_changes_a_real_token(config, pad):
    x = ids(1, 7)
    for model in both(config):
        alone = logits(model, x)
        for side in ("left", "right"):
            filler, ones, zeros = torch.full((1, pad), 3), torch.ones(1, 7), torch.zeros(1, pad)
            parts = ((filler, x), (zeros, ones)) if side == "left" else ((x, filler), (ones, zeros))
            padded, mask = torch.cat(parts[0], 1), torch.cat(parts[1], 1).long()
            out = logits(model, padded, attention_mask=mask)
            torch.testing.assert_close(out[mask.bool()], alone[0], atol=1e-5, rtol=1e-5)


@laws
@given(configs)
def test_the_future_is_not_seen(config):
    model, x = decoder(config), ids(1, 8)
    changed = x.clone()
    changed[0, 5:] = 5 + (changed[0, 5:] + 1) % 30
    torch.testing.assert_close(logits(model, x)[:, :5], logits(model, changed)[:, :5], atol=1e-6, rtol=1e-6)


@laws
@given(configs, st.lists(st.integers(1, 6), min_size=2, max_size=4))
def test_packed_documents_equal_separate_ones(config, lengths):
    documents = [ids(1, length, seed=length) for length in lengths]
    packed = torch.cat(documents, dim=1)
    numbers = torch.cat([torch.full((1, length), index) for index, length in enumerate(lengths)], dim=1)
    for model in both(config):
        together = logits(model, packed, document_ids=numbers)
        apart = torch.cat([logits(model, document) for document in documents], dim=1)
        torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


@settings(max_examples=8, deadline=None)
@given(configs, st.sampled_from((1, 3)))
def test_cached_generation_equals_uncached(config, beams):
    model, x = decoder(config), ids(3, 6)
    mask = torch.ones_like(x)
    mask[0, :4] = mask[1, :1] = 0
    how = {
        "attention_mask": mask,
        "max_new_tokens": 10,
        "num_beams": beams,
        "do_sample": False,
        "pad_token_id": 0,
    }
    cached = model.generate(x, use_cache=True, **how)
    assert torch.equal(cached, model.generate(x, use_cache=False, **how))
    if beams == 1:  # and each row alone, without its padding, continues alike
        row = model.generate(x[:1, 4:], max_new_tokens=10, do_sample=False, pad_token_id=0)
        assert torch.equal(row[0, 2:], cached[0, 6 : 6 + len(row[0]) - 2])


def test_static_cache_equals_dynamic():
    model, x = decoder(preset("nano", vocab_size=40, hidden_size=24, key_size=8, value_size=4)), ids(2, 6)
    how = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    static = model.generate(x, cache_implementation="static", disable_compile=True, **how)
    assert torch.equal(static, model.generate(x, **how))


@laws
@given(configs)
def test_save_and_load_through_auto_classes_is_bit_equal(tmp_path_factory, config):
    folder, x = tmp_path_factory.mktemp("model"), ids(2, 5)
    for model, auto in zip(both(config), (AutoModelForMaskedLM, AutoModelForCausalLM), strict=True):
        model.save_pretrained(folder)
        loaded = auto.from_pretrained(folder).eval()
        assert type(loaded) is type(model)
        saved = AutoConfig.from_pretrained(folder).to_diff_dict()
        assert saved == {**model.config.to_diff_dict(), "auto_map": saved["auto_map"]}
        bare = AutoModel.from_pretrained(folder).eval()
        for other, weights in ((loaded, model.state_dict()), (bare, model.model.state_dict())):
            assert other.state_dict().keys() == weights.keys()
            assert all(torch.equal(weight, weights[name]) for name, weight in other.state_dict().items())
        # Equal weights at another place in memory: matrix products may differ in the last bit.
        torch.testing.assert_close(logits(loaded, x), logits(model, x), atol=1e-6, rtol=1e-6)


def test_output_layer_is_tied():
    model = encoder(preset("nano", vocab_size=40))
    assert model.lm_head.weight is model.model.embed_tokens.weight


@laws
@given(configs)
def test_losses_are_mean_cross_entropy(config):
    x, labels = ids(2, 7), ids(2, 7, seed=1)
    labels[0, :4] = -100
    mlm, clm = both(config)
    expected = torch.nn.functional.cross_entropy(logits(mlm, x).flatten(0, 1), labels.flatten())
    torch.testing.assert_close(mlm(x, labels=labels).loss, expected)
    torch.testing.assert_close(
        mlm.train()(x, labels=labels).loss, expected
    )  # only labelled logits are computed
    expected = torch.nn.functional.cross_entropy(
        logits(clm, x)[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    )
    torch.testing.assert_close(clm(x, labels=labels).loss, expected)


def test_logits_to_keep_are_the_last_ones():
    model, x = decoder(preset("nano", vocab_size=40)), ids(2, 5)
    torch.testing.assert_close(logits(model, x, logits_to_keep=2), logits(model, x)[:, -2:])


def test_attentions_and_hidden_states_are_returned():
    model = encoder(preset("nano", vocab_size=40))
    model.set_attn_implementation("eager")
    out = model(ids(2, 5), output_attentions=True, output_hidden_states=True)
    assert [tuple(weights.shape) for weights in out.attentions] == [(2, 4, 5, 5)] * 4
    assert len(out.hidden_states) == 5
    torch.testing.assert_close(out.attentions[0].sum(-1), torch.ones(2, 4, 5))


def test_gradient_checkpointing_gives_the_same_gradients():
    x = ids(2, 6)
    gradients = []
    for checkpointing in (False, True):
        model = encoder(preset("nano", vocab_size=40)).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(x, labels=x).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-7, rtol=1e-5)


def test_lora_by_peft_trains_and_generates():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        decoder(preset("nano", vocab_size=40)),
        LoraConfig(target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    x = ids(2, 6)
    model(input_ids=x, labels=x).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert model.generate(input_ids=x, max_new_tokens=3, pad_token_id=0).shape == (2, 9)


def test_presets_have_their_sizes():
    for size in PRESETS:
        c = preset(size)
        with torch.device("meta"):
            counted = ShoestringForMaskedLM(c).num_parameters()
        attention = 2 * c.hidden_size * c.num_heads * (c.key_size + c.value_size)
        block = attention + 3 * c.hidden_size * c.intermediate_size + 2 * c.hidden_size
        assert counted == (c.vocab_size + 1) * c.hidden_size + c.num_layers * block


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"hidden_size": 100, "num_heads": 3}, "hidden_size 100 is not a multiple of num_heads 3"),
        ({"key_size": 0}, "key_size 0: must be a whole number of at least 1"),
        ({"value_size": "wide"}, "value_size 'wide'"),
        ({"key_size": 7}, "key_size 7: rope turns pairs, so it must be even; try 8"),
        ({"norm": "batch"}, "norm 'batch': unknown; choose rms or layer"),
        ({"position": "alibi"}, "choose rope or learned"),
        ({"dropout": 1.0}, "dropout 1.0"),
    ],
)
def test_wrong_sizes_are_told_in_one_line(wrong, says):
    with pytest.raises(OptionError) as error:
        ShoestringConfig(**wrong)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_preset_and_setting():
    with pytest.raises(OptionError, match="--size huge: unknown; choose one of nano, tiny, small, base"):
        preset("huge")
    with pytest.raises(OptionError, match="heads: no such setting"):
        preset("nano", heads=3)


def test_too_long_for_learned_positions():
    model = encoder(ShoestringConfig(vocab_size=40, position="learned", max_position_embeddings=8))
    with pytest.raises(OptionError, match="9 tokens, but this model has learned 8 positions"):
        model(ids(1, 9))


def test_a_decoder_is_no_masked_model():
    with pytest.raises(OptionError, match="is_decoder=False"):
        ShoestringForMaskedLM(ShoestringConfig(is_decoder=True))
    with pytest.raises(OptionError, match="is_decoder=True"):
        ShoestringForCausalLM(ShoestringConfig())
