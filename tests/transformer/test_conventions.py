"""Hugging Face's conventions, met by every form of the family: caches, positions, packing, masks, losses.

The same things that transformers' own `ModelTesterMixin` and `GenerationTesterMixin` ask, in our words; `benchmarks/
hugging_face.py` runs theirs. Stock models are the counterpart wherever there is one.
"""

import inspect
import itertools

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DataCollatorWithFlattening,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    StaticCache,
)

from shoestring._errors import OptionError
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

SIZES = {
    "vocab_size": 60, "hidden_size": 24, "num_layers": 2, "num_heads": 4, "key_size": 6, "value_size": 6,
    "max_position_embeddings": 64, "initializer_range": 0.3, "eos_token_id": None,
}  # fmt: skip
POSITIONS = ("rope", "learned", "sinusoidal", "relative")
TALKING = {
    "plain": {},
    "both": {"talking_heads": "both"},
    "shared, unequal": {
        "talking_heads": "both", "num_key_heads": 2, "num_value_heads": 6, "num_key_value_heads": 2, "value_size": 3,
    },
    "dynamic": {"talking_heads": "both", "dynamic_talking_heads": True},
}  # fmt: skip
FORMS = [
    (position, talking)
    for position in POSITIONS
    for talking in TALKING
    if position != "relative" or talking == "plain"
]
CACHES = {
    "dynamic": {},
    "static": {"cache_implementation": "static", "disable_compile": True},
    "none": {"use_cache": False},
}


HEADS = [
    (ShoestringForMaskedLM, lambda x: {"labels": x}),
    (ShoestringForCausalLM, lambda x: {"labels": x}),
    (ShoestringForSequenceClassification, lambda x: {"labels": x[:, 0] % 2}),
    (ShoestringForTokenClassification, lambda x: {"labels": x % 2}),
    (
        ShoestringForQuestionAnswering,
        lambda x: {"start_positions": x[:, 0] % 8, "end_positions": x[:, 1] % 8},
    ),
]


def settings_of(position, talking):
    return {**SIZES, "position": position, **TALKING[talking]}


def stirred(model):
    """Lets everything matter: new mixes are the identity and new biases 0."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "_mix" in name or ".dynamic." in name or name.endswith("bias"):
            parameter.data += 0.3 * torch.randn(parameter.shape)
    return model.eval()


def decoder(position, talking, **more):
    torch.manual_seed(0)
    return stirred(
        ShoestringForCausalLM(ShoestringConfig(**settings_of(position, talking), is_decoder=True, **more))
    )


def ids(rows, length, seed=0):
    return torch.randint(5, 60, (rows, length), generator=torch.Generator().manual_seed(seed))


def run(model, *arguments, **more):
    with torch.no_grad():
        return model(*arguments, **more)


def padded(x, left):
    """Returns ids with so much padding on the left of each row, and their mask."""
    rows = [
        torch.cat((torch.zeros(count, dtype=torch.long), row[count:]))
        for count, row in zip(left, x, strict=True)
    ]
    x = torch.stack(rows)
    return x, (x != 0).long()


# -- caches and positions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [(0, 0), (3, 1)], ids=["full", "padded"])
@pytest.mark.parametrize(("position", "talking"), FORMS)
def test_every_cache_gives_the_same_scores_under_every_implementation(position, talking, left):
    model = decoder(position, talking)
    x, mask = padded(ids(2, 7), left)
    how = {"max_new_tokens": 6, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    expected = None
    for implementation in ("eager", "sdpa", "talking_heads", "talking_heads_chunked"):
        model.set_attn_implementation(implementation)
        for cache in CACHES.values():
            found = model.generate(x, attention_mask=mask, pad_token_id=0, **how, **cache)
            expected = found if expected is None else expected
            assert torch.equal(found.sequences, expected.sequences)
            torch.testing.assert_close(
                torch.stack(found.logits), torch.stack(expected.logits), atol=1e-4, rtol=1e-4
            )
    for row, count in enumerate(left):  # and each row alone, without its padding, step by step
        text = x[row : row + 1, count:]
        for logits in expected.logits:
            alone = run(model, text).logits[:, -1]
            torch.testing.assert_close(alone[0], logits[row], atol=1e-4, rtol=1e-4)
            text = torch.cat((text, alone.argmax(-1)[None]), 1)


@pytest.mark.parametrize("talking", ["plain", "both"])
def test_a_static_cache_filled_by_hand(talking):
    """A first read without a mask, then several tokens at a time."""
    model, x = decoder("rope", talking), ids(2, 9)
    whole = run(model, x, use_cache=False).logits
    cache = StaticCache(config=model.config, max_cache_len=16)
    parts = [run(model, x[:, a:b], past_key_values=cache).logits for a, b in ((0, 5), (5, 8), (8, 9))]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("left", [(0, 0), (3, 1)], ids=["full", "padded"])
def test_a_converted_gpt2_says_what_gpt2_says(cache, left, tmp_path):
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(
        GPT2Config(vocab_size=60, n_positions=40, n_embd=24, n_layer=2, n_head=4, initializer_range=0.3,
                   bos_token_id=1, eos_token_id=None, pad_token_id=0)
    ).eval()  # fmt: skip
    theirs.save_pretrained(tmp_path)
    ours = from_checkpoint(tmp_path).model
    x, mask = padded(ids(2, 7), left)
    how = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(ours.generate(x, **how, **CACHES[cache]), theirs.generate(x, **how))


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("implementation", ["talking_heads", "talking_heads_chunked", "talking_heads_eager"])
def test_a_stock_llama_under_our_implementations(cache, implementation):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=60, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    how = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    for left in ((0, 0), (3, 1)):
        x, mask = padded(ids(2, 7), left)
        model.set_attn_implementation("sdpa")
        expected = model.generate(x, attention_mask=mask, **how)
        model.set_attn_implementation(implementation)
        assert torch.equal(model.generate(x, attention_mask=mask, **how, **CACHES[cache]), expected)


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 2.0},
        {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
    ids=lambda rope: rope["rope_type"],
)  # fmt: skip
def test_far_along_a_converted_llama_turns_as_llama_does(rope, tmp_path):
    """Bit for bit: a last digit of a frequency is 0.001 of a turn at position 16,000."""
    torch.manual_seed(0)
    llama = LlamaForCausalLM(
        LlamaConfig(vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                    intermediate_size=32, initializer_range=0.3, rope_parameters={"rope_theta": 1e4, **rope})
    ).eval()  # fmt: skip
    llama.save_pretrained(tmp_path)
    ours, x = from_checkpoint(tmp_path).model, ids(2, 9)
    for start in (0, 16000):
        places = torch.arange(start, start + 9).expand(2, -1)
        assert torch.equal(
            run(ours, x, position_ids=places).logits, run(llama, x, position_ids=places).logits
        )


def test_signatures_name_what_generate_and_the_trainer_look_for():
    named = list(inspect.signature(LlamaForCausalLM.forward).parameters)
    ours = inspect.signature(ShoestringForCausalLM.forward).parameters
    assert [name for name in named if name not in ours] == []
    for kind in (
        ShoestringModel, ShoestringForMaskedLM, ShoestringForSequenceClassification,
        ShoestringForTokenClassification, ShoestringForQuestionAnswering,
    ):  # fmt: skip
        given = inspect.signature(kind.forward).parameters
        assert {"input_ids", "attention_mask", "position_ids", "inputs_embeds"} <= set(given)


@pytest.mark.parametrize("kept", [1, 3, torch.tensor([-1]), torch.tensor([0, 4, 8])])
def test_logits_to_keep(kept):
    model, x = decoder("rope", "both"), ids(2, 9)
    places = slice(-kept, None) if isinstance(kept, int) else kept
    torch.testing.assert_close(run(model, x, logits_to_keep=kept).logits, run(model, x).logits[:, places])


@pytest.mark.parametrize("talking", ["plain", "both"])
def test_a_draft_may_leave_after_the_first_layer(talking):
    model, x = decoder("rope", talking), ids(1, 5)
    asked = {"max_new_tokens": 6, "do_sample": False}
    assert model.generate(x, **asked, assistant_early_exit=1).equal(model.generate(x, **asked))


def test_talking_heads_are_exported_for_any_length():
    model, x = decoder("rope", "both"), ids(2, 9)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=60)}
    program = torch.export.export(
        model, (x,), {"use_cache": False}, dynamic_shapes={"input_ids": sizes, "use_cache": None}
    )
    for other in (ids(1, 1), ids(3, 17)):
        expected = model(other, use_cache=False).logits
        torch.testing.assert_close(
            program.module()(other, use_cache=False).logits, expected, atol=1e-5, rtol=1e-5
        )


# -- documents in one row ------------------------------------------------------------------------------------

DOCUMENTS = [ids(1, length, seed=length)[0].tolist() for length in (4, 1, 6)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("position", "talking"), FORMS)
@pytest.mark.parametrize("is_decoder", [True, False])
def test_flattened_documents_are_each_alone(position, talking, is_decoder, training):
    """transformers' own collator marks documents only by positions that start again."""
    torch.manual_seed(0)
    model = stirred(
        ShoestringModel(ShoestringConfig(**settings_of(position, talking), is_decoder=is_decoder))
    )
    model.train(training)
    batch = DataCollatorWithFlattening(return_tensors="pt")(
        [{"input_ids": x, "labels": x} for x in DOCUMENTS]
    )
    together = run(model, batch["input_ids"], position_ids=batch["position_ids"]).last_hidden_state
    apart = [run(model, torch.tensor([x])).last_hidden_state for x in DOCUMENTS]
    torch.testing.assert_close(together, torch.cat(apart, 1), atol=1e-5, rtol=1e-5)


def test_a_row_may_be_longer_than_the_learned_positions_of_its_documents():
    torch.manual_seed(0)
    model = stirred(
        ShoestringModel(ShoestringConfig(**{**SIZES, "position": "learned", "max_position_embeddings": 6}))
    )
    x, positions = (
        torch.tensor([[*itertools.chain(*DOCUMENTS)]]),
        torch.tensor([[0, 1, 2, 3, 0, 0, 1, 2, 3, 4, 5]]),
    )
    assert run(model, x, position_ids=positions).last_hidden_state.shape == (1, 11, 24)
    with pytest.raises(OptionError, match="a sequence of 11 tokens"):
        model(x)


def test_packing_that_is_told_by_nothing_we_read_is_refused():
    model, x = decoder("rope", "plain"), torch.tensor([[*itertools.chain(*DOCUMENTS)]])
    for said in ({"seq_idx": torch.zeros_like(x)}, {"cu_seq_lens_q": torch.tensor([0, 4, 5, 11])}):
        with pytest.raises(OptionError, match="position_ids"):
            model(x, **said)


# -- heads and losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"pooler": True}, {"is_decoder": True}], ids=["mean", "pooler", "last"])
def test_padding_changes_no_class_though_no_mask_is_given(more):
    torch.manual_seed(0)
    model = stirred(ShoestringForSequenceClassification(ShoestringConfig(**SIZES, **more, num_labels=3)))
    x = ids(1, 5)
    for text in (torch.nn.functional.pad(x, (0, 3)), torch.nn.functional.pad(x, (3, 0))):
        torch.testing.assert_close(run(model, text).logits, run(model, x).logits, atol=1e-5, rtol=1e-5)


def test_a_batch_whose_ends_are_unknown_is_refused():
    config = ShoestringConfig(**SIZES, is_decoder=True, pad_token_id=None, num_labels=3)
    model = ShoestringForSequenceClassification(config)
    with pytest.raises(OptionError, match="2 rows without attention_mask"):
        model(ids(2, 5))
    assert model(ids(1, 5)).logits.shape == (1, 3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "kind", [ShoestringForMaskedLM, ShoestringForCausalLM, ShoestringForTokenClassification]
)
def test_a_batch_that_asks_for_nothing_costs_nothing(kind, training):
    torch.manual_seed(0)
    decodes = kind is ShoestringForCausalLM
    model = kind(ShoestringConfig(**SIZES, is_decoder=decodes, num_labels=3)).train(training)
    x = ids(2, 5)
    labels = torch.full_like(x, -100)
    labels[:, 0] = 1 if decodes else -100  # which nothing predicts
    for items in ({}, {"num_items_in_batch": torch.tensor(0)}):
        loss = model(x, labels=labels, **items).loss
        loss.backward()
        assert loss == 0
        assert all(p.grad is None or p.grad.abs().max() == 0 for p in model.parameters())


def test_the_items_of_a_batch_divide_the_loss():
    model, x = decoder("rope", "plain"), ids(2, 9)
    mean = run(model, x, labels=x).loss
    torch.testing.assert_close(
        run(model, x, labels=x, num_items_in_batch=torch.tensor(32)).loss, mean * 16 / 32
    )
    shifted = torch.nn.functional.pad(x, (0, 1), value=-100)[:, 1:].contiguous()
    torch.testing.assert_close(run(model, x, labels=x, shift_labels=shifted).loss, mean)


def test_the_answer_to_a_question():
    torch.manual_seed(0)
    model, x = stirred(ShoestringForQuestionAnswering(ShoestringConfig(**SIZES))), ids(2, 9)
    starts, ends = torch.tensor([1, 2]), torch.tensor([3, 50])  # the last lies beyond the text
    found = run(model, x, start_positions=starts, end_positions=ends)
    cross = torch.nn.functional.cross_entropy
    wanted = (cross(found.start_logits, starts) + cross(found.end_logits[:1], ends[:1])) / 2
    torch.testing.assert_close(found.loss, wanted)


# -- what else the mixins ask --------------------------------------------------------------------------------


@pytest.mark.parametrize(("position", "talking"), FORMS)
def test_a_batch_is_its_rows_and_embeddings_are_their_ids(position, talking):
    model, x = decoder(position, talking), ids(3, 8)
    together = run(model, x).logits
    apart = torch.cat([run(model, row[None]).logits for row in x])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
    embedded = model.get_input_embeddings()(x)
    torch.testing.assert_close(run(model, inputs_embeds=embedded).logits, together)


def test_the_vocabulary_grows_and_shrinks_with_its_tied_layer(tmp_path):
    model, x = decoder("learned", "both"), ids(2, 6)
    before = run(model, x).logits
    model.resize_token_embeddings(71, mean_resizing=False)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.vocab_size == 71
    torch.testing.assert_close(run(model, x).logits[..., :60], before)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    torch.testing.assert_close(run(again.eval(), x).logits, run(model, x).logits)


def test_lora_finds_the_layers_that_it_adapts_by_default():
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(decoder("rope", "both"), LoraConfig(r=2, task_type="CAUSAL_LM"))
    names = {
        name.split(".lora_")[0].rpartition(".")[2]
        for name, p in adapted.named_parameters()
        if p.requires_grad
    }
    assert names == {"q_proj", "v_proj"}


def test_tuples_and_dictionaries_say_the_same():
    model, x = decoder("rope", "both"), ids(2, 6)
    for labels, states in itertools.product((None, x), (False, True)):
        how = {"labels": labels, "output_hidden_states": states, "use_cache": False}
        named, plain = run(model, x, **how), run(model, x, **how, return_dict=False)
        assert len(named.to_tuple()) == len(plain)
        torch.testing.assert_close(named.to_tuple(), plain)


@pytest.mark.parametrize(("position", "talking"), FORMS)
def test_every_parameter_learns(position, talking):
    model, x = decoder(position, talking).train(), ids(2, 8)
    model(x, labels=x).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


@pytest.mark.parametrize(("kind", "asks"), HEADS)
def test_every_head_trains_all_that_it_has(kind, asks, tmp_path):
    """A parameter without a gradient stops DDP; a pooler is where it is read, and other heads' files are taken."""
    config = ShoestringConfig(
        **settings_of("learned", "plain"),
        pooler=True,
        head_transform=True,
        is_decoder="Causal" in kind.__name__,
    )
    model, x = stirred(kind(config)).train(), ids(2, 8)
    model(x, **asks(x)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    ShoestringForSequenceClassification(config).save_pretrained(tmp_path)
    _, told = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not [name for name in (*told["missing_keys"], *told["unexpected_keys"]) if "pooler" in name]
