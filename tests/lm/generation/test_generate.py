"""Generation: streamed == whole, beam of width 1 == greedy, a sample does not depend on its batch, ends end."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring._errors import InputError, OptionError
from shoestring.lm.engines.load import load
from shoestring.lm.engines.texts import Texts
from shoestring.lm.fewshot.choosing import choose
from shoestring.lm.fewshot.evaluate import perplexity
from shoestring.lm.generation.beam import beam_search
from shoestring.lm.generation.generation import generate, stream
from shoestring.lm.generation.sampling import Sampling, filtered, prepared
from shoestring.lm.generation.text_stream import TextStream
from shoestring.lm.tokenizer import CpmTokenizer

from ..families import bytes_tokenizer

PROMPTS = ["美国的首都是", "狗 dog\n猫 ", "问题：中国的首都是哪里？\n答案："]
GREEDY = Sampling(max_tokens=12, temperature=0)


@pytest.fixture(scope="module")
def engine(folder):
    return load(folder)


@pytest.fixture(scope="module")
def cpm(vocabulary):
    return CpmTokenizer(vocabulary)


def test_greedy_takes_the_most_likely_and_equals_transformers(engine):
    prompt = PROMPTS[0]
    ids = torch.tensor([engine.tokenizer.encode(prompt)])
    theirs = engine.model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=5)[0, ids.shape[1] :]
    ours = generate(engine, [prompt], GREEDY)[0][0]
    assert [token.id for token in ours.tokens] == theirs.tolist()
    assert ours.finish == "length"


def test_streamed_text_equals_the_whole(engine):
    pieces = list(stream(engine, PROMPTS, GREEDY))
    for index, samples in enumerate(generate(engine, PROMPTS, GREEDY)):
        assert "".join(piece.text for piece in pieces if piece.prompt == index) == samples[0].text
        ids = [token.id for token in samples[0].tokens]
        assert engine.tokenizer.decode(ids, skip_special_tokens=True) == samples[0].text


def test_a_sample_does_not_depend_on_its_batch(engine):
    sampling = Sampling(max_tokens=8, temperature=0.8, top_k=50, top_p=0.9, seed=7)
    together = generate(engine, PROMPTS, sampling, samples=3)
    for prompt, samples in zip(PROMPTS, together, strict=True):
        alone = generate(engine, [prompt], sampling, samples=3)[0]
        assert [sample.text for sample in alone] == [sample.text for sample in samples]
        assert len({sample.text for sample in samples}) > 1


def test_a_beam_of_width_1_is_greedy(engine):
    beams = beam_search(engine, PROMPTS, GREEDY, beams=1)
    for beam, greedy in zip(beams, generate(engine, PROMPTS, GREEDY), strict=True):
        assert [token.id for token in beam[0].tokens] == [token.id for token in greedy[0].tokens]
        assert beam[0].logprob == pytest.approx(greedy[0].logprob, abs=1e-4)


def test_beams_are_batched_sorted_and_never_worse_than_greedy(engine):
    together = beam_search(engine, PROMPTS, GREEDY, beams=4)
    for prompt, beams in zip(PROMPTS, together, strict=True):
        alone = beam_search(engine, [prompt], GREEDY, beams=4)[0]
        assert [beam.text for beam in alone] == [beam.text for beam in beams]
        scores = [beam.logprob for beam in beams]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] >= generate(engine, [prompt], GREEDY)[0][0].logprob - 1e-4


@pytest.mark.parametrize(
    "setting",
    [{"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"presence_penalty": 1.0}, {"seed": 3},
     {"frequency_penalty": 1.0}, {"logit_bias": ((5, 1.0),)}, {"stop_token_ids": (5,)}, {"logprobs": 2}],
)  # fmt: skip
def test_what_beams_do_not_have_is_refused(engine, setting):
    with pytest.raises(OptionError, match=f"--{next(iter(setting)).replace('_', '-')}: not with beams"):
        beam_search(engine, [PROMPTS[0]], Sampling(max_tokens=2, **setting))


def test_beams_equal_an_exhaustive_search(engine):
    ids = engine.tokenizer.encode(PROMPTS[0])
    first = engine.open([ids]).logits[0].log_softmax(-1)
    best = max(
        (float(value) + float(engine.open([[*ids, token]]).logits[0].log_softmax(-1).max()), token)
        for value, token in zip(*(each.tolist() for each in first.topk(8)), strict=True)
    )
    found = beam_search(engine, [ids], Sampling(max_tokens=2, temperature=0), beams=8)[0][0]
    assert (found.logprob, found.tokens[0].id) == (pytest.approx(best[0], abs=1e-4), best[1])


def test_log_probabilities_are_the_models(engine):
    sample = generate(engine, [PROMPTS[0]], Sampling(max_tokens=5, temperature=0, logprobs=3))[0][0]
    ids = engine.tokenizer.encode(PROMPTS[0])
    with torch.no_grad():
        logits = (
            engine.model(torch.tensor([ids + [token.id for token in sample.tokens]]))
            .logits[0]
            .log_softmax(-1)
        )
    for place, token in enumerate(sample.tokens, len(ids) - 1):
        assert token.logprob == pytest.approx(float(logits[place, token.id]), abs=1e-4)
        assert token.top[0] == (token.id, pytest.approx(token.logprob))
        assert len(token.top) == 3


def test_stop_strings_end_and_are_not_part_of_the_text(engine):
    whole = generate(engine, PROMPTS[:1], GREEDY)[0][0].text
    stop = whole[4:6]
    first = whole.index(stop)
    sample = generate(engine, PROMPTS[:1], Sampling(max_tokens=12, temperature=0, stop=(stop,)))[0][0]
    assert (sample.text, sample.finish) == (whole[:first], "stop")


@settings(max_examples=200, deadline=None)
@given(
    text=st.text("甲乙丙丁\n 。", max_size=40),
    stop=st.text("甲乙\n。", min_size=1, max_size=3),
    ends=st.integers(1, 3),
)
def test_min_ends_counts_stop_strings(cpm, text, stop, ends):
    tokens = cpm.encode(text)
    text = cpm.decode(tokens)  # NFKC
    stream = TextStream(Texts(cpm), [stop], ends)
    given_ = ""
    for token in tokens:
        given_ += stream.push(token)
        assert text.startswith(given_)
        if stream.ended:
            break
    given_ += stream.finish()
    parts = text.split(stop)
    assert given_ == (stop.join(parts[:ends]) if len(parts) > ends else text)


@settings(max_examples=100, deadline=None)
@given(text=st.text("甲😀a é", min_size=1, max_size=20))
def test_never_half_a_character(text):
    tokenizer = bytes_tokenizer()
    stream = TextStream(Texts(tokenizer))
    pieces = [stream.push(token) for token in tokenizer.encode(text)] + [stream.finish()]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_end_tokens_and_the_least_length(engine):
    end = engine.tokenizer.eos_token_id
    logits = torch.zeros(100)
    logits[end] = 50.0
    assert prepared(logits, Sampling(min_tokens=3), [1], 2, [end])[end] == -torch.inf
    assert prepared(logits, Sampling(min_tokens=3), [1], 3, [end])[end] == 50
    stream = TextStream(engine.texts, min_ends=2)
    assert (stream.push(end, True), stream.ended) == ("", False)
    assert (stream.push(end, True), stream.ended) == ("", True)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(0, 20), p=st.floats(0.05, 1), temperature=st.floats(0.2, 3))
def test_top_k_and_top_p_keep_what_they_say(seed, k, p, temperature):
    logits = torch.randn(20, generator=torch.Generator().manual_seed(seed))
    kept = filtered(logits, Sampling(top_k=k, top_p=p, temperature=temperature)) > -torch.inf
    order = logits.argsort(descending=True).tolist()
    candidates = order[: k or 20]
    chances = (logits[candidates] / temperature).softmax(-1).tolist()
    wanted, total = set(), 0.0
    for token, chance in zip(candidates, chances, strict=True):
        if total < p - 1e-6 or not wanted:
            wanted.add(token)
        total += chance
    assert abs(int(kept.sum()) - len(wanted)) <= 1  # a tie of rounding at the border
    assert set(kept.nonzero()[:, 0].tolist()) <= set(candidates)


def test_a_repetition_penalty_as_transformers_has_it(engine):
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    seen = [1, 1, 7, 30]
    theirs = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([seen]), logits[None].clone())[0]
    assert torch.equal(prepared(logits, Sampling(repetition_penalty=1.3), seen, 0, []), theirs)


def test_too_long_prompts_say_so_or_are_cut(engine):
    text = "中国" * 200
    with pytest.raises(InputError, match=r"the prompt: .* tokens, .* more than the model's 127 positions"):
        generate(engine, [text], GREEDY)
    for side in ("left", "right"):
        assert len(generate(engine, [text], GREEDY, truncate=side)[0][0].tokens) == 12
    assert len(generate(engine, [[9] * 125], GREEDY)[0][0].tokens) == 3  # up to the last position


@pytest.mark.parametrize(
    ("settings_", "says"),
    [
        ({"temperature": -1}, "--temperature -1: must be between 0 and 100"),
        ({"top_p": -0.1}, "--top-p -0.1: must be between"),
        ({"max_tokens": -1}, "--max-tokens -1: must be between 0"),
        ({"top_k": 2.5}, "--top-k 2.5: must be a whole number"),
        ({"temperature": float("nan")}, "--temperature nan: must be between"),
        ({"temperature": "hot"}, "--temperature 'hot': must be a number"),
        ({"min_tokens": 99}, "--min-tokens 99: must be between 0 and 64"),
    ],
)
def test_settings_out_of_range(settings_, says):
    with pytest.raises(OptionError, match=says):
        Sampling(**settings_)


def test_empty_prompts(engine):
    with pytest.raises(OptionError, match="the prompt is empty"):
        generate(engine, [""], GREEDY)
    assert generate(engine, [], GREEDY) == []


def test_unknown_characters_do_no_harm(engine):
    assert generate(engine, ["龘😀"], GREEDY)[0][0].tokens


@pytest.mark.parametrize(
    "ask", [generate, beam_search, perplexity, lambda engine, texts: choose(engine, "一", texts)]
)
def test_one_text_is_not_a_list_of_its_characters(engine, ask):
    with pytest.raises(OptionError, match="one text, '今天天气', where a list of texts is asked"):
        ask(engine, "今天天气")


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ([5, 30_000], "30000 is not one of"),
        ([-1], "-1 is not one of"),
        ("今\udcff", "U.DCFF, half a character, at 1"),
    ],
)
def test_what_is_no_token_and_no_text(engine, prompt, says):
    for ask in (generate, beam_search):
        with pytest.raises((InputError, OptionError), match=says):
            ask(engine, [prompt], GREEDY)


def test_a_step_of_another_number_of_rows_changes_nothing(engine):
    session, wanted = (engine.open([[7, 8], [9]]) for _ in range(2))
    for tokens in ([1], [1, 2, 3]):
        with pytest.raises(OptionError, match="for 2 rows; give one to each"):
            session.step(tokens)
    for each in (session, wanted):
        each.step([3, 4])
    assert session.ids == wanted.ids
    assert torch.equal(session.logits, wanted.logits)
