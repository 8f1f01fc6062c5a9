"""Every head of the family trains, is saved and loaded by the Auto classes, and works with the field's tools."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    Trainer,
    TrainingArguments,
)

from shoestring._errors import OptionError
from shoestring.transformer import ShoestringConfig, ShoestringModel, train_tokenizer
from shoestring.transformer.model.heads import ShoestringForCausalLM
from shoestring.transformer.model.positions import relative_attention
from shoestring.transformer.sentences import write_pooling
from shoestring.transformer.tokenizer import FIXED, count_words

SIZES = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 3,
    "key_size": 12,
    "num_labels": 3,
}
BERT = {
    "norm": "layer", "norm_position": "post", "position": "learned", "hidden_act": "gelu", "gated": False,
    "attention_bias": True, "mlp_bias": True, "type_vocab_size": 2, "embedding_size": 10, "head_transform": True,
    "head_bias": True, "pooler": True, "max_position_embeddings": 32,
}  # fmt: skip
KINDS = {
    "masked": (AutoModelForMaskedLM, {}),
    "masked, like BERT": (AutoModelForMaskedLM, BERT),
    "causal": (AutoModelForCausalLM, {"is_decoder": True}),
    "causal, sines": (AutoModelForCausalLM, {"is_decoder": True, "position": "sinusoidal"}),
    "causal, talking heads": (
        AutoModelForCausalLM,
        {"is_decoder": True, "talking_heads": "both", "num_key_value_heads": 1},
    ),
    "prefix, talking heads": (
        AutoModelForCausalLM,
        {"is_decoder": True, "prefix_lm": True, "talking_heads": "both"},
    ),
    "prefix": (AutoModelForCausalLM, {"is_decoder": True, "prefix_lm": True}),
    "prefix, like BERT": (AutoModelForCausalLM, {**BERT, "is_decoder": True, "prefix_lm": True}),
    "prefix, distances": (
        AutoModelForCausalLM,
        {"is_decoder": True, "prefix_lm": True, "position": "relative", "value_size": 12},
    ),
    "classes": (AutoModelForSequenceClassification, {}),
    "classes, like BERT": (AutoModelForSequenceClassification, BERT),
    "classes, decoder": (AutoModelForSequenceClassification, {"is_decoder": True}),
    "tokens": (AutoModelForTokenClassification, {}),
}  # fmt: skip
PREFIX = [name for name in KINDS if name.startswith("prefix")]
TASKS = {
    "masked": None,
    "causal": "CAUSAL_LM",
    "prefix": "CAUSAL_LM",
    "classes": "SEQ_CLS",
    "tokens": "TOKEN_CLS",
}


def model_of(name, seed=0):
    auto, settings = KINDS[name]
    torch.manual_seed(seed)
    model = auto.from_config(ShoestringConfig(**{**SIZES, **settings})).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def ids(rows, length, seed=0):
    return torch.randint(5, 40, (rows, length), generator=torch.Generator().manual_seed(seed))


def examples(name, count=24):
    """Texts whose first token tells what is asked."""
    x = ids(count, 9)
    labels = x[:, 0] % 3 if name.startswith("classes") else x % 3 if name == "tokens" else x
    rows = {"input_ids": x, "labels": labels, "attention_mask": torch.ones_like(x)}
    if name.startswith("prefix"):
        rows["token_type_ids"] = torch.arange(9).ge(4).long().expand(count, -1)
    return [{key: value[row] for key, value in rows.items()} for row in range(count)]


def logits(model, *arguments, **more):
    with torch.no_grad():
        return model(*arguments, **more).logits


@pytest.mark.parametrize("name", KINDS)
def test_saved_and_loaded_by_its_auto_class(name, tmp_path):
    model = model_of(name)
    model.save_pretrained(tmp_path)
    loaded = KINDS[name][0].from_pretrained(tmp_path).eval()
    assert type(loaded) is type(model)
    assert all(torch.equal(weight, loaded.state_dict()[key]) for key, weight in model.state_dict().items())
    torch.testing.assert_close(logits(loaded, ids(2, 7)), logits(model, ids(2, 7)), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_the_stock_trainer_lowers_the_loss(name, tmp_path):
    arguments = TrainingArguments(
        str(tmp_path), max_steps=25, per_device_train_batch_size=12, learning_rate=1e-2, use_cpu=True, report_to=[],
        save_strategy="no", logging_steps=1, disable_tqdm=True, seed=1,
    )  # fmt: skip
    trainer = Trainer(model_of(name), arguments, train_dataset=examples(name))
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert sum(losses[-3:]) / 3 < 0.9 * losses[0]


@pytest.mark.parametrize("name", KINDS)
def test_lora_by_peft_trains_and_reloads(name, tmp_path):
    from peft import PeftModel

    task = TASKS[name.split(",")[0]]
    lora = LoraConfig(target_modules=["q_proj", "v_proj"], task_type=task, init_lora_weights=False)
    model = get_peft_model(model_of(name), lora)
    batch = {key: torch.stack([row[key] for row in examples(name, 4)]) for key in examples(name, 1)[0]}
    model(**batch).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(model_of(name), tmp_path)
    torch.testing.assert_close(
        logits(again.eval(), **batch), logits(model.eval(), **batch), atol=1e-6, rtol=1e-6
    )
    assert not torch.allclose(logits(model_of(name), **batch), logits(model, **batch), atol=1e-3)


@pytest.mark.parametrize("name", ["classes", "classes, like BERT", "classes, decoder"])
def test_padding_on_either_side_changes_no_class(name):
    model, x = model_of(name), ids(1, 6)
    alone = logits(model, x)
    ones, zeros, filler = torch.ones(1, 6).long(), torch.zeros(1, 3).long(), torch.full((1, 3), 3)
    right = logits(model, torch.cat((x, filler), 1), attention_mask=torch.cat((ones, zeros), 1))
    left = logits(model, torch.cat((filler, x), 1), attention_mask=torch.cat((zeros, ones), 1))
    torch.testing.assert_close(right, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(left, alone, atol=1e-5, rtol=1e-5)


# -- the prefix decoder --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PREFIX)
@settings(max_examples=8, deadline=None)
@given(source=st.integers(1, 7), changed=st.integers(0, 7), kernel=st.sampled_from(("sdpa", "eager")))
def test_the_source_sees_itself_whole_and_the_target_what_came_before(name, source, changed, kernel):
    model, x = model_of(name), ids(1, 8)
    model.set_attn_implementation(kernel)
    types = (torch.arange(8) >= source).long()[None]
    other = x.clone()
    other[0, changed] = 5 + (other[0, changed] - 4) % 35
    moved = (logits(model, x, token_type_ids=types) - logits(model, other, token_type_ids=types)).abs().amax(
        -1
    )[0] > 1e-6
    sees = [place >= changed or (changed < source) for place in range(8)]
    assert moved.tolist() == sees


@pytest.mark.parametrize("name", PREFIX)
@pytest.mark.parametrize("beams", [1, 3])
def test_generation_reads_its_prompt_both_ways_with_and_without_cache(name, beams):
    model, x = model_of(name), ids(3, 6)
    mask = torch.ones_like(x)
    mask[0, :3] = mask[1, :1] = 0
    how = {
        "max_new_tokens": 7,
        "do_sample": False,
        "num_beams": beams,
        "pad_token_id": 0,
        "eos_token_id": None,
    }
    cached = model.generate(x, attention_mask=mask, **how)
    assert torch.equal(cached, model.generate(x, attention_mask=mask, use_cache=False, **how))
    if beams > 1:
        return
    text = x[2:]  # by hand, from the mask's definition
    for _ in range(7):
        types = (torch.arange(text.shape[1]) >= 6).long()[None]
        text = torch.cat((text, logits(model, text, token_type_ids=types)[:, -1:].argmax(-1)), 1)
    assert torch.equal(text[0], cached[2])


def test_a_cache_of_fixed_size_gives_the_same():
    model, x = model_of("prefix"), ids(2, 6)
    how = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    fixed = model.generate(x, cache_implementation="static", disable_compile=True, **how)
    assert torch.equal(fixed, model.generate(x, **how))


def test_a_query_that_sees_nothing_gets_nothing_from_distances():
    x = torch.randn(1, 2, 4, 6)
    mask = torch.tensor([[False] * 4, [True] * 4, [True, False, False, False], [True] * 4])[None, None]
    how = {"start": 0, "causal": False, "scaling": 1.0, "dropout": 0.0}
    output, weights = relative_attention(x, x, x, mask, **how)
    assert output[0, 0].abs().max() == 0
    added = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    torch.testing.assert_close(relative_attention(x, x, x, added, **how)[0], output)
    torch.testing.assert_close(weights[0, :, 2, 0], torch.ones(2))


def test_packed_documents_keep_their_sources_to_themselves():
    model, one, two = model_of("prefix"), ids(1, 5), ids(1, 6, seed=1)
    types = [(torch.arange(x.shape[1]) >= split).long()[None] for x, split in ((one, 2), (two, 4))]
    documents = torch.cat((torch.zeros(1, 5), torch.ones(1, 6)), 1).long()
    together = logits(
        model, torch.cat((one, two), 1), token_type_ids=torch.cat(types, 1), document_ids=documents
    )
    apart = [logits(model, x, token_type_ids=each) for x, each in zip((one, two), types, strict=True)]
    torch.testing.assert_close(together, torch.cat(apart, 1), atol=1e-5, rtol=1e-5)


# -- sentences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_an_encoder_is_a_sentence_transformer(pooling, tmp_path):
    from sentence_transformers import SentenceTransformer

    text = ["我们喜欢读书。", "今天天气很好", "好"]
    tokenizer = train_tokenizer(count_words(text * 2), FIXED + 8)
    torch.manual_seed(0)
    model = ShoestringModel(ShoestringConfig(**{**SIZES, "vocab_size": len(tokenizer)})).eval()
    model.save_pretrained(tmp_path / "a")
    tokenizer.save_pretrained(tmp_path / "a")
    write_pooling(tmp_path / "a", 24, pooling, 64)
    sentences = SentenceTransformer(str(tmp_path / "a"), device="cpu")
    found = torch.tensor(sentences.encode(text))
    for row, each in zip(found, text, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(each, return_tensors="pt")).last_hidden_state[0]
        expected = {"mean": states.mean(0), "cls": states[0], "max": states.max(0).values}[pooling]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)
    sentences.save(str(tmp_path / "b"))
    again = SentenceTransformer(str(tmp_path / "b"), device="cpu").encode(text)
    torch.testing.assert_close(torch.tensor(again), found, atol=1e-6, rtol=1e-6)


def test_unknown_pooling(tmp_path):
    with pytest.raises(OptionError, match="pooling 'sum': unknown; choose one of mean, cls, max"):
        write_pooling(tmp_path, 8, "sum")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"hidden_act": "tanh"}, "hidden_act 'tanh': unknown; choose silu or gelu"),
        ({"gated": 1}, "gated 1: must be true or false"),
        ({"embedding_size": 16}, "the output layer needs head_transform=true"),
        ({"prefix_lm": True}, "a prefix decoder is a decoder; set is_decoder=true"),
        ({"layer_norm_cond_size": 4}, "a condition shifts layer norm only; set norm=layer"),
        (
            {"position": "relative", "key_size": 8, "value_size": 6},
            "key_size 8 and value_size 6 must be equal",
        ),
        (
            {"position": "sinusoidal", "hidden_size": 9, "num_heads": 3},
            "its code has pairs, so 9 must be even",
        ),
        (
            {"position": "relative", "talking_heads": "pre"},
            "neither talking heads nor shared keys go with it",
        ),
        ({"type_vocab_size": -1}, "type_vocab_size -1: must be a whole number of at least 0"),
    ],
)
def test_settings_that_do_not_fit(wrong, says):
    with pytest.raises(OptionError) as error:
        ShoestringConfig(**wrong)
    assert says in str(error.value)


def test_a_prefix_decoder_is_a_causal_model():
    assert isinstance(model_of("prefix"), ShoestringForCausalLM)
