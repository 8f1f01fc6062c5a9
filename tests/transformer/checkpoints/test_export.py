"""The way out: what leaves as a Llama, a GPT-2 or a BERT is that, to the last digits, and nothing else leaves."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from promised import kept
from shoestring._errors import InputError, OptionError, OutputError
from shoestring.cli import main
from shoestring.transformer import (
    ShoestringConfig,
    ShoestringForCausalLM,
    ShoestringForMaskedLM,
    ShoestringForQuestionAnswering,
    ShoestringForSequenceClassification,
    ShoestringForTokenClassification,
    ShoestringModel,
    from_checkpoint,
)
from shoestring.transformer.checkpoints.export import difference, export, exported

SIZES = {"vocab_size": 60, "hidden_size": 24, "num_layers": 2, "num_heads": 4, "initializer_range": 0.3,
         "max_position_embeddings": 40}  # fmt: skip
WIDE = {"norm": "layer", "position": "learned", "gated": False, "attention_bias": True, "mlp_bias": True}
BASES = {
    "llama": {**SIZES, "is_decoder": True},
    "gpt2": {**SIZES, **WIDE, "is_decoder": True, "hidden_act": "gelu_new"},
    "bert": {**SIZES, **WIDE, "norm_position": "post", "hidden_act": "gelu", "type_vocab_size": 2,
             "head_transform": True, "head_bias": True, "pooler": True},
}  # fmt: skip
DECODERS = (ShoestringForCausalLM, ShoestringModel, ShoestringForSequenceClassification)
ENCODERS = (
    ShoestringForMaskedLM,
    ShoestringModel,
    ShoestringForQuestionAnswering,
    ShoestringForSequenceClassification,
    ShoestringForTokenClassification,
)
STILL = {"talking_heads": "both", "dynamic_talking_heads": True}
CASES = [
    *(("llama", kind, more) for kind in DECODERS for more in ({}, STILL)),
    ("llama", ShoestringForCausalLM, {"num_key_value_heads": 2, "key_size": 8, "value_size": 8, "rope_factor": 2.0}),
    ("llama", ShoestringForCausalLM, {"rope_factor": 8.0, "rope_bands": [64, 1, 4], "attention_bias": True}),
    ("llama", ShoestringForCausalLM, {"tie_word_embeddings": False, "hidden_act": "gelu", "mlp_bias": True}),
    *(("gpt2", kind, more) for kind in DECODERS for more in ({}, STILL, {"tie_word_embeddings": False})),
    *(("bert", kind, more) for kind in ENCODERS for more in ({}, STILL, {"type_vocab_size": 0})),
    ("bert", ShoestringForMaskedLM, {"head_bias": False, "pooler": False, "tie_word_embeddings": False}),
]  # fmt: skip


def model_of(to, kind, **more):
    torch.manual_seed(0)
    model = kind(ShoestringConfig(**{**BASES[to], **more}))
    for name, parameter in model.named_parameters():
        if "_mix" not in name and ".dynamic." not in name:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return model.eval()


@pytest.mark.parametrize(("to", "kind", "more"), CASES)
def test_what_leaves_says_the_same(to, kind, more):
    model = model_of(to, kind, **more)
    theirs = exported(model, to)
    assert theirs.config.model_type == to
    assert difference(model, theirs) <= (1e-5 if more is STILL or "Sequence" in kind.__name__ else 0)


@pytest.mark.parametrize("to", BASES)
def test_what_left_comes_back_as_it_was(to, tmp_path):
    kind = ShoestringForMaskedLM if to == "bert" else ShoestringForCausalLM
    model = model_of(to, kind, pooler=False)
    model.save_pretrained(tmp_path / "ours")
    assert export(tmp_path / "ours", tmp_path / "theirs", to) <= 1e-6
    auto = AutoModelForMaskedLM if to == "bert" else AutoModelForCausalLM
    found, info = auto.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(found).__module__.startswith("transformers.")
    again = from_checkpoint(tmp_path / "theirs").model.state_dict()
    assert all(torch.equal(x, again[name]) for name, x in model.state_dict().items())


@pytest.mark.parametrize(
    ("to", "more", "says"),
    [
        ("llama", {"position": "learned"}, "position 'learned' (a llama: 'rope')"),
        ("llama", {"value_size": 8}, "key_size 6 and value_size 8 differ"),
        ("llama", {"prefix_lm": True}, "prefix_lm True (a llama: False)"),
        ("gpt2", {"key_size": 8, "value_size": 8}, "key_size 8 (hidden_size / num_heads is 6)"),
        ("gpt2", {"num_key_value_heads": 2}, "num_key_value_heads 2"),
        ("gpt2", {"norm": "rms"}, "norm 'rms' (a gpt2: 'layer')"),
    ],
)
def test_what_is_none_of_theirs_stays(to, more, says):
    with pytest.raises(OptionError) as caught:
        exported(model_of(to, ShoestringForCausalLM, **more), to)
    assert says in str(caught.value)


def test_heads_that_talk_stay():
    model = model_of("llama", ShoestringForCausalLM, talking_heads="pre")
    model.model.layers[1].attention.pre_mix.data[0, 1] = 1e-3
    with pytest.raises(OptionError, match=r"its heads talk \(model.layers.1.attention.pre_mix"):
        exported(model, "llama")


def test_an_encoder_that_averages_is_no_bert():
    with pytest.raises(OptionError, match="the mean of the tokens"):
        exported(model_of("bert", ShoestringForSequenceClassification, pooler=False), "bert")


def test_the_command(tmp_path, capsys):
    model_of("llama", ShoestringForCausalLM).save_pretrained(tmp_path / "ours")
    there = str(tmp_path / "theirs")

    def code(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(["convert", str(tmp_path / "ours"), "-o", there, *arguments])
        return caught.value.code

    capsys.readouterr()
    assert code("--to", "llama", "--json") == 0
    assert kept("convert --to", capsys.readouterr().out) == {
        "model": there,
        "is": "llama",
        "largest difference": 0.0,
    }
    assert AutoConfig.from_pretrained(there).model_type == "llama"
    for arguments, says, ends in (
        (["--to", "llama"], "is there already", 1),
        (["--to", "t5", "--overwrite"], "'t5' is not one of 'llama', 'gpt2', 'bert'", 2),
        (["--to", "llama", "--head", "none", "--overwrite"], "--head does not go with it", 1),
    ):
        assert code(*arguments) == ends
        assert says in capsys.readouterr().err
    with pytest.raises(InputError, match="not a model of our family"):
        export(there, tmp_path / "twice", "llama")
    with pytest.raises(OutputError):
        export(tmp_path / "ours", there, "llama")
