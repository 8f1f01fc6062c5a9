"""`shoestring.count.jieba` in jieba's place: the same answer to every call, whatever was called before.

jieba's own test scripts are run with it by `tests/count/jieba_scripts.py`, which fetches them from PyPI.
"""

from __future__ import annotations

import copy
import pickle
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest

from count_corpus import jieba_words, odd_text, sentences

theirs = pytest.importorskip("jieba")
ours = pytest.importorskip("shoestring.count.jieba")
from jieba import finalseg  # noqa: E402 - after it is known to be there

from shoestring.count.jieba import analyse, posseg, tokenizer  # noqa: E402

CALLS = (
    "cut",
    "lcut",
    "cut_for_search",
    "lcut_for_search",
    "tokenize",
    "suggest_freq",
    "add_word",
    "del_word",
    "FREQ",
)


@pytest.fixture(autouse=True)
def _no_forced_words_remain(monkeypatch):
    monkeypatch.setattr(finalseg, "Force_Split_Words", set())


def answer(tokenizer, call: str, *arguments, **settings):
    if call == "FREQ":
        return tokenizer.initialized, tokenizer.total, len(tokenizer.FREQ), tokenizer.FREQ.get(arguments[0])
    result = getattr(tokenizer, call)(*arguments, **settings)
    return list(result) if call in ("cut", "cut_for_search", "tokenize") else result


@pytest.mark.parametrize("patience", [0, 300, tokenizer.PATIENCE])
def test_every_call_answers_as_jieba_does_after_any_calls_before(patience, monkeypatch, tmp_path):
    monkeypatch.setattr(tokenizer, "PATIENCE", patience)
    rng, one, two = random.Random(patience), theirs.Tokenizer(), tokenizer.Tokenizer()
    words = jieba_words()
    for step in range(80 if patience else 9):
        call = rng.choice(CALLS)
        text = rng.choice([odd_text(rng), rng.choice(sentences(200))])[:300]
        word = rng.choice([rng.choice(words), text[:4] or "好", "大学·生"])
        settings = {}
        if call in ("cut", "lcut"):
            settings = rng.choice([{}, {"HMM": False}, {"cut_all": True}])
            text = rng.choice([text, text.encode(), text[:9].encode("gbk", "ignore")])
        elif call == "tokenize":
            settings = {"mode": rng.choice(["default", "search"]), "HMM": rng.random() < 0.5}
        elif call == "suggest_freq":
            text, settings = rng.choice([word, (word[:1], word[1:] or "好")]), {"tune": rng.random() < 0.5}
        elif call == "add_word":
            text, settings = word, rng.choice([{}, {"freq": rng.choice([0, 1, 10**5])}, {"tag": "nz"}])
        elif call in ("del_word", "FREQ"):
            text = word
        if not isinstance(text, str | bytes) or text:
            assert answer(two, call, text, **settings) == answer(one, call, text, **settings), (
                step,
                call,
                text,
            )
    assert (two.FREQ, two.total, two.user_word_tag_tab) == (one.FREQ, one.total, one.user_word_tag_tab)


def test_dictionaries_of_users_and_others(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer, "PATIENCE", 50)
    words = "\ufeff云计算平台\n大学生 3 n\n来到北京 nz\nEdu Trust认证 2000\n"
    (tmp_path / "user.txt").write_text(words, encoding="utf-8")
    small = "".join(f"{word} {index % 97 + 1} n\n" for index, word in enumerate(jieba_words()[::9]))
    (tmp_path / "small.txt").write_text(small, encoding="utf-8")
    one, two = theirs.Tokenizer(), tokenizer.Tokenizer()
    texts = [*sentences(40), "我来到北京的云计算平台，大学生"]
    for each in (one, two):
        each.tmp_dir = str(tmp_path)
    assert [two.lcut(text) for text in texts] == [one.lcut(text) for text in texts]
    for change in ("load_userdict", "set_dictionary", "load_userdict"):
        for each in (one, two):
            getattr(each, change)(str(tmp_path / ("user.txt" if change == "load_userdict" else "small.txt")))
        assert [two.lcut(text) for text in texts] == [one.lcut(text) for text in texts]
        assert list(two.cut_for_search(texts[-1])) == list(one.cut_for_search(texts[-1]))
    two.FREQ["来到"] = one.FREQ["来到"] = 10**7  # a script's own hands
    del one.FREQ["北京"], two.FREQ["北京"]
    one.FREQ["没有前缀的词"] = two.FREQ["没有前缀的词"] = 5
    assert [two.lcut(text) for text in texts] == [one.lcut(text) for text in texts]


@pytest.mark.parametrize("patience", [0, 10**9])
def test_a_total_and_a_dictionary_by_hand_are_those_that_cut(patience, monkeypatch):
    monkeypatch.setattr(tokenizer, "PATIENCE", patience)
    for total, frequencies in (
        (2, None),
        (10**9, None),
        (99, {"我来": 9, "我": 5, "来到北京": 0, "来到": 3}),
    ):
        one, two = theirs.Tokenizer(), tokenizer.Tokenizer()
        for each in (one, two):
            each.lcut("我来到北京")
            each.total, each.FREQ = total, each.FREQ if frequencies is None else dict(frequencies)
        texts = ["我来到北京清华大学", *sentences(60)]
        assert [two.lcut(text) for text in texts] == [one.lcut(text) for text in texts], total


def _dictionary_that_its_owner_changes(each, monkeypatch):
    each.FREQ, each.total = (words := {"我来": 9, "我": 5}), 99
    yield
    words |= {"来": 0, "来到": 0, "来到北": 0, "来到北京": 90}


def _own_total_alone(each, monkeypatch):
    each.total = 2
    yield


def _own_dictionary_alone(each, monkeypatch):
    each.FREQ = {"我来": 9, "来": 0, "来到": 3}
    yield


def _total_of_nothing(each, monkeypatch):
    each.total = 0
    yield


def _single_characters(sentence):
    return {at: [at] for at in range(len(sentence))}


def _method_of_one(each, monkeypatch):
    each.get_DAG = _single_characters
    yield


def _method_of_all(each, monkeypatch):
    monkeypatch.setattr(type(each), "get_DAG", lambda self, sentence: _single_characters(sentence))
    yield


def _subclass(each, monkeypatch):
    each.__class__ = type(
        "Own", (type(each),), {"get_DAG": lambda self, sentence: _single_characters(sentence)}
    )
    yield


def _hmm(each, monkeypatch):
    monkeypatch.setattr(finalseg, "cut", list)
    yield


def _emissions(each, monkeypatch):
    monkeypatch.setattr(finalseg, "emit_P", {state: {} for state in "BMES"})
    yield


def _letters(each, monkeypatch):
    monkeypatch.setattr(theirs, "re_eng", re.compile("[a-z]"))
    yield


@pytest.mark.parametrize("patience", [0, 10**9])
@pytest.mark.parametrize(
    "change",
    [
        _dictionary_that_its_owner_changes, _own_total_alone, _own_dictionary_alone, _total_of_nothing, _method_of_one,
        _method_of_all, _subclass, _hmm, _emissions, _letters,
    ],
)  # fmt: skip
def test_what_a_script_puts_in_the_place_of_jiebas_own_is_what_cuts(change, patience, monkeypatch):
    monkeypatch.setattr(tokenizer, "PATIENCE", patience)
    texts = ["我来到北京清华大学", "他来到了网易杭研大厦abcD5"]

    def words(kind):
        with monkeypatch.context() as patch:
            each, found = kind.Tokenizer(), []
            each.lcut("我")
            for _ in change(each, patch):
                found += [_words_or_error(each, text, hmm) for text in texts for hmm in (True, False)]
            return found + [_words_or_error(each, text, True) for text in texts]

    assert words(tokenizer) == words(theirs)


def _words_or_error(each, text, hmm):
    try:
        return each.lcut(text, HMM=hmm)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_pickles_and_copies_cut_alike(again, tmp_path):
    first = tokenizer.Tokenizer()
    assert again(first).lcut("我来到北京清华大学") == first.lcut("我来到北京清华大学")
    first.initialize()
    assert len(pickle.dumps(first)) < 10_000  # the unchanged dictionary does not travel
    first.add_word("来到北京")
    first.del_word("清华大学")
    second = again(first)
    assert second.lcut("我来到北京清华大学") == first.lcut("我来到北京清华大学")
    second.add_word("大学里")
    assert "大学里" not in first.FREQ


def test_the_dictionary_is_there_for_whoever_asks_after_a_cut_and_threads_lose_no_word_of_it():
    one, two = theirs.Tokenizer(), tokenizer.Tokenizer()
    assert answer(two, "FREQ", "中国") == answer(one, "FREQ", "中国")  # nothing yet
    for each in (one, two):
        each.lcut("中国人民")
    again = pickle.loads(pickle.dumps(two))
    words = [chr(0x4E00 + number) * 3 for number in range(40)]
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda word: again.add_word(word, 7), words))
    assert [again.FREQ[word] for word in words] == [7] * len(words)
    assert answer(two, "FREQ", "中国") == answer(one, "FREQ", "中国")


def test_rules_that_a_script_puts_in_the_place_of_jiebas_hold():
    """The advice of jieba's users for words with spaces: another `re_han_default`."""
    rule = re.compile("([\u4e00-\u9fd5a-zA-Z0-9+#&\\._% \\-]+)")
    with patch.object(ours, "re_han_default", rule):
        assert theirs.re_han_default is rule
        one, two = theirs.Tokenizer(), tokenizer.Tokenizer()
        for each in (one, two):
            each.add_word("Edu Trust认证", 2000)
        for text in ("这是Edu Trust认证", *sentences(20)):
            assert two.lcut(text) == one.lcut(text)
        assert "Edu Trust认证" in two.lcut("这是Edu Trust认证")
    assert "Edu Trust认证" not in two.lcut("这是Edu Trust认证")


def test_wrong_types_are_refused_as_by_jieba():
    for call in ("lcut", "lcut_for_search"):
        for wrong in (None, 7, ["我"]):
            with pytest.raises((AttributeError, TypeError)):
                getattr(ours, call)(wrong)
    with pytest.raises(ValueError, match="should be unicode"):
        list(ours.tokenize(b"abc"))


def test_the_module_has_all_names_of_jieba_and_threads_may_share_it():
    assert [name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)] == []
    texts = sentences(200)
    ours.enable_parallel(2)
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(ours.lcut, texts))
    ours.disable_parallel()
    assert found == [theirs.lcut(text) for text in texts]


def test_tags_and_keywords_know_the_words_that_were_added():
    texts = sentences(20)
    assert [posseg.lcut(text) for text in texts] == [theirs.posseg.lcut(text) for text in texts]
    assert analyse.extract_tags(texts[0], withWeight=True) == theirs.analyse.extract_tags(
        texts[0], withWeight=True
    )
    assert analyse.textrank(texts[1], withWeight=True) == theirs.analyse.textrank(texts[1], withWeight=True)
    try:
        ours.add_word("来到北京", tag="zz")
        assert [tuple(pair) for pair in posseg.cut("我来到北京")] == [("我", "r"), ("来到北京", "zz")]
        assert "来到北京" in analyse.extract_tags("我来到北京，来到北京")
    finally:
        ours.dt.__init__()
        posseg.dt.load_word_tag(ours.get_dict_file())


def test_a_script_needs_but_another_import(tmp_path):
    script = "import jieba\nprint('/'.join(jieba.cut('我来到北京清华大学')))"
    assert Path(ours.__file__).parent.name == "jieba"
    scope: dict = {}
    exec(script.replace("import jieba", "import shoestring.count.jieba as jieba"), scope)
    assert scope["jieba"] is ours
