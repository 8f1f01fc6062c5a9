"""Choice and few-shot: scores on shared caches equal full forwards; templates are data; accuracy is honest."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring._errors import InputError, OptionError
from shoestring.lm.engines.load import load
from shoestring.lm.fewshot.choosing import FewShot, Prefix, choose, shared
from shoestring.lm.fewshot.evaluate import accuracy, perplexity, predictions, windows
from shoestring.lm.fewshot.shots import read_shots
from shoestring.lm.fewshot.template import Template, built_in, named
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling

TEXT = st.text("今天天气很好北京a1，。 \n", min_size=1, max_size=12)


@pytest.fixture(scope="module")
def engine(folder):
    return load(folder)


def naive(engine, ids):
    """Log-probabilities of all tokens by one full forward."""
    with torch.no_grad():
        chances = engine.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return [float(chances[place, token]) for place, token in enumerate(ids[1:])]


@settings(max_examples=40, deadline=None)
@given(prompt=TEXT, candidates=st.lists(TEXT, min_size=2, max_size=8, unique=True))
def test_differences_of_scores_equal_those_of_whole_texts(engine, prompt, candidates):
    if len({tuple(engine.tokenizer.encode(prompt + each)) for each in candidates}) < len(candidates):
        return  # such as 1 and １
    ids = [engine.tokenizer.encode(prompt + each) for each in candidates]
    if min(map(len, ids)) < 2 or shared([engine.tokenizer.encode(prompt), *ids]) < 1:
        return
    found = choose(engine, prompt, candidates, score="likelihood")
    whole = [sum(naive(engine, engine.tokenizer.encode(prompt + each))) for each in candidates]
    for index in range(1, len(candidates)):
        assert found.logprobs[index] - found.logprobs[0] == pytest.approx(whole[index] - whole[0], abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(queries=st.lists(TEXT, min_size=1, max_size=3))
def test_a_prefix_read_once_changes_nothing(engine, queries):
    template = named("capital")
    task = FewShot(engine, template, candidates=["华盛顿", "巴黎", "东京"])
    for query in queries:
        alone = choose(engine, template.prompt(query), task.candidates)
        assert task.choose(query).logprobs == pytest.approx(alone.logprobs, abs=1e-5)


def test_prefixes_that_do_not_fit_are_read_anew(engine):
    prefix = Prefix(engine, "美国的首都是华盛顿\n")
    for text in ("美国的首都是华盛顿\n", "美国", "今天", "美国的首都是华盛顿\n法国"):
        ids = engine.tokenizer.encode(text)
        assert (prefix.read(ids).logits - engine.open([ids]).logits).abs().max() < 1e-5


def test_scores_are_what_they_are_called(engine):
    candidates = ["好", "非常好的"]
    likelihood = choose(engine, "今天天气", candidates, score="likelihood")
    mean = choose(engine, "今天天气", candidates, score="mean")
    assert likelihood.scores == likelihood.logprobs
    assert mean.scores == tuple(s / n for s, n in zip(mean.logprobs, mean.tokens, strict=True))
    assert sum(mean.shares) == pytest.approx(1)
    template = named("sentiment")
    task = FewShot(engine, template, candidates=["好", "差"], score="channel")
    query = "房间很大。"
    for candidate, score in zip(task.candidates, task.choose(query).scores, strict=True):
        head = template.channel_prompt(candidate)
        size = len(engine.tokenizer.encode(head))
        ids = engine.tokenizer.encode(head + query)
        assert ids[:size] == engine.tokenizer.encode(head)
        own = naive(engine, ids)[size - 1 :]
        assert score == pytest.approx(sum(own) / len(own), abs=1e-5)


def test_calibration_takes_away_what_an_answer_scores_anyway(engine):
    plain, calibrated = (
        FewShot(engine, named("sentiment"), candidates=["好", "差"], calibrate=c) for c in (0, 1)
    )
    bias = [
        sum(plain.choose(query).scores[index] for query in FewShot.neutral) / len(FewShot.neutral)
        for index in (0, 1)
    ]
    wanted = [score - b for score, b in zip(plain.choose("房间很大。").scores, bias, strict=True)]
    assert calibrated.choose("房间很大。").scores == pytest.approx(wanted)


def test_predictions_are_generated_or_chosen(engine):
    template = named("translate")
    found = list(predictions(FewShot(engine, template), [("鸟", "bird"), ("鱼", None)]))
    sampling = Sampling(max_tokens=template.max_tokens, temperature=0, stop=template.stop)
    for each in found:
        assert each.answer == generate(engine, [template.prompt(each.query)], sampling)[0][0].text.strip()
    chosen = FewShot(engine, template, candidates=["bird", "fish"])
    assert all(each.answer in ("bird", "fish") for each in predictions(chosen, [("鸟", "bird")]))


def test_accuracy_stands_beside_the_majority():
    from shoestring.lm.fewshot.evaluate import Prediction

    found = [
        Prediction("a", "好 ", "好"),
        Prediction("b", "好", "差"),
        Prediction("c", "差", "差"),
        Prediction("d", "?", "差"),
    ]
    assert accuracy(found) == {"queries": 4, "labelled": 4, "accuracy": 0.5, "majority": 0.75}
    assert accuracy([Prediction("a", "x")]) == {"queries": 1}


@settings(max_examples=200, deadline=None)
@given(length=st.integers(1, 60), size=st.integers(2, 20), stride=st.integers(1, 20))
def test_windows_count_each_token_once(length, size, stride):
    counted = []
    for begin, count in windows(length, size, min(stride, size - 1)):
        end = min(begin + size, length)
        assert count < end - begin  # each has something before it
        counted += range(end - count, end)
    assert counted == list(range(1, length))


def test_perplexity_equals_a_full_forward(engine):
    documents = ["今天天气很好，我们去北京。", "短", "美国的首都是华盛顿"]
    found = perplexity(engine, documents)
    costs = [-sum(naive(engine, engine.tokenizer.encode(text))) for text in documents[::2]]
    assert found.nats == pytest.approx(sum(costs), abs=1e-3)
    assert found.documents == 2
    assert found.per_token == pytest.approx(math.exp(found.nats / found.tokens))
    long = perplexity(engine, ["中国人民" * 200])
    assert long.tokens == len(engine.tokenizer.encode("中国人民" * 200)) - 1
    with pytest.raises(InputError, match="no document has two tokens"):
        perplexity(engine, ["短"])


def test_all_built_in_templates_make_prompts():
    templates = built_in()
    assert len(templates) >= 8
    for template in templates.values():
        prompt = template.prompt("问", template.shots)
        assert prompt.startswith(
            template.shots[0][0] if template.shot.startswith("{input}") else template.shot[:2]
        )
        assert template.about
    assert (
        templates["question"].prompt("谁？", [("何？", "某")]) == "问题：何？\n答案：某\n问题：谁？\n答案："
    )


def test_braces_in_a_text_are_text():
    template = Template("t", "{input}={output}")
    assert template.prompt("{output}", [("{input}", "{x}")]) == "{input}={x}\n{output}="


def test_shots_are_dropped_until_a_query_fits():
    template = Template("t", "{input}={output}")
    shots = [("a" * 10, "1"), ("b" * 10, "2"), ("c", "3")]
    kept = template.fitted(["q"], shots, lambda text: len(text) <= 20)
    assert kept == shots[1:]
    with pytest.raises(InputError, match="does not fit even without shots"):
        template.fitted(["q" * 30], shots, lambda text: len(text) <= 20)


def test_templates_of_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[one]\nshot = "{input}:{output}"\nshots = [["a", "b"]]\n', "utf-8")
    assert named(str(path)).prompt("c") == "a:b\nc:"
    path.write_text('[one]\nshot = "{input}:{output}"\n[two]\nshot = "{input}-{output}"\n', "utf-8")
    assert named(f"{path}:two").shot == "{input}-{output}"
    with pytest.raises(OptionError, match=r"say which one, such as .*mine.toml:one"):
        named(str(path))
    path.write_text('[one]\nshot = "{output}:{input}"\n', "utf-8")
    with pytest.raises(OptionError, match=r"shot must have {input} and after it {output}"):
        named(str(path))
    path.write_text('[one]\nshots = [["a", "b"]]\n', "utf-8")
    with pytest.raises(InputError, match="needs shot"):
        named(str(path))
    path.write_text("[one", "utf-8")
    with pytest.raises(InputError, match="not TOML"):
        named(str(path))
    with pytest.raises(OptionError, match="--template poems: unknown; choose one of capital"):
        named("poems")


def test_wrong_candidates_and_files(engine):
    for candidates in (["好"], ["好", "好"], ["好", ""]):
        with pytest.raises(OptionError, match="give two or more, none empty, no two alike"):
            choose(engine, "今天", candidates)
    with pytest.raises(OptionError, match="--score best: unknown"):
        choose(engine, "今天", ["a", "b"], score="best")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.tsv", "很好\t好\n不好\t坏\n", None),
        ("a.tsv", "input\toutput\r\n很好\t好\r\n不好\t坏\r\n", None),
        ("a.csv", "sentence,label\n很好,好\n不好,坏\n", None),
        ("a.csv", "sep=;\nsentence;label\n很好;好\n不好;坏\n", None),
        ("a.jsonl", '{"text": "很好", "label": "好"}\n{"text": "不好", "label": "坏"}\n', None),
        ("a.txt", "很好\t好\n不好\t坏\n", None),
        ("a.txt", "one, two\tthree\n", [("one, two", "three")]),
        ("a.tsv", "a\tb\nno tab\n", "line 2: this row has 1 columns, line 1 has 2; write input TAB output"),
        ("a.tsv", "a\tb\tc\nd\te\n", "line 2: this row has 2 columns, line 1 has 3"),
        ("a.tsv", "a\tb\nc\t\n", "line 2: empty output"),
        ("a.tsv", "question\t问\n", "which column\\? call one 'output'; there are: question, 问"),
        ("a.tsv", "", "empty"),
    ],
)
def test_shots_are_read_as_every_table(tmp_path, name, text, found):
    (tmp_path / name).write_text(text, "utf-8")
    if isinstance(found, str):
        with pytest.raises(InputError, match=found):
            read_shots(tmp_path / name)
        return
    assert read_shots(tmp_path / name) == (found or [("很好", "好"), ("不好", "坏")])


def test_queries_need_no_answer_and_keep_their_commas(tmp_path):
    (tmp_path / "q.txt").write_text("text\n你好, 世界\n", "utf-8")
    assert read_shots(tmp_path / "q.txt", labelled=False) == [("text", ""), ("你好, 世界", "")]
    (tmp_path / "q.tsv").write_text("很好\t好\n不好\t\n", "utf-8")
    assert read_shots(tmp_path / "q.tsv", labelled=False) == [("很好", "好"), ("不好", "")]
