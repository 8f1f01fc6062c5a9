"""Every engine cuts as jieba 0.42.1 does, token for token."""

from __future__ import annotations

import os
import random
import time
from importlib.util import find_spec

import jieba as original
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jieba import finalseg

from count_corpus import jieba, jieba_words, odd_text, sentences
from shoestring._errors import InputError
from shoestring.count import Cutter, cut
from shoestring.count.cutting import dictionary
from shoestring.count.cutting.cutter import slow_cut
from shoestring.count.cutting.dictionary import UserWord
from shoestring.count.cutting.finalseg import finalseg as finalseg_of_ours
from shoestring.count.cutting.tokenizers import repaired_rjieba

needs_kernel = pytest.mark.skipif(
    find_spec("shoestring.count._kernel") is None, reason="the native kernel is not built here"
)


@pytest.fixture(scope="module")
def table():
    return dictionary.compiled()


@needs_kernel
@pytest.mark.parametrize("hmm", [True, False])
def test_kernel_equals_jieba_on_real_text(table, hmm):
    different = [text for text in sentences() if table.cut(text, hmm) != jieba().lcut(text, HMM=hmm)]
    assert different == []


@needs_kernel
@pytest.mark.parametrize("hmm", [True, False])
def test_kernel_equals_jieba_on_odd_strings(table, hmm):
    rng = random.Random(1)
    for _ in range(1500):
        text = odd_text(rng)
        assert table.cut(text, hmm) == jieba().lcut(text, HMM=hmm), text


@needs_kernel
@settings(max_examples=400, deadline=None)
@given(
    st.text(st.one_of(st.characters(), st.sampled_from("中国人民银行在上边常abc09.%-+#&_ \r\n")), max_size=60)
)
def test_kernel_equals_jieba_on_any_string(text):
    table = dictionary.compiled()
    for hmm in (True, False):
        assert table.cut(text, hmm) == jieba().lcut(text, HMM=hmm)


@needs_kernel
def test_lone_surrogates_pass_as_in_jieba(table):
    text = "中国\ud800人民abc\udfff"
    assert table.cut(text, True) == jieba().lcut(text)


@pytest.mark.parametrize("hmm", [True, False])
def test_repaired_rjieba_equals_jieba(hmm):
    pytest.importorskip("rjieba")
    repaired = repaired_rjieba(hmm)
    for text in sentences()[:1000]:
        assert list(repaired(text)) == jieba().lcut(text, HMM=hmm), text
    rng = random.Random(2)
    for _ in range(1000):
        text = odd_text(rng)
        assert list(repaired(text)) == jieba().lcut(text, HMM=hmm), text


def user_words(rng: random.Random, count: int) -> list[UserWord]:
    """New words, words of the dictionary, words outside of blocks; with and without frequency; some forced apart."""
    made = []
    for _ in range(count):
        word = rng.choice(jieba_words()) if rng.random() < 0.4 else odd_text(rng)[:12]
        word = "".join(word.split()).replace("\0", "") or "好"
        made.append(
            UserWord(word + "·x" if rng.random() < 0.05 else word, rng.choice([-1, -1, 0, 1, 5, 100000]))
        )
    return made


@needs_kernel
def test_user_words_equal_jieba_even_where_they_override(monkeypatch):
    monkeypatch.setattr(finalseg, "Force_Split_Words", set())
    rng = random.Random(3)
    words = user_words(rng, 1500)
    theirs = original.Tokenizer()
    for word in words:
        theirs.add_word(word.word, None if word.frequency < 0 else word.frequency)
    ours = dictionary.compiled(words)
    assert ours.total() == theirs.total
    vocabulary = jieba_words()[:2000] + [word.word for word in words] * 5
    for _ in range(800):
        text = odd_text(rng, vocabulary)
        for hmm in (True, False):
            assert ours.cut(text, hmm) == theirs.lcut(text, HMM=hmm), text


def test_slow_cut_keeps_forced_words_to_itself():
    text = "他来到了网易杭研大厦"
    before = jieba().lcut(text)
    assert "杭研" in before
    assert "杭研" not in slow_cut([UserWord("杭研", 0)])(text, True)
    assert jieba().lcut(text) == before


def test_user_dictionary_file_equals_load_userdict(tmp_path):
    path = tmp_path / "user.txt"
    path.write_text("\ufeff云计算 5 n\n创新办 3\n凱特琳 nz\n\n台中\nhello world 3 n\n", encoding="utf-8")
    theirs = original.Tokenizer()
    theirs.load_userdict(str(path))
    cutter = Cutter(path)
    for text in ("云计算与创新办hello world", "我在台中见到凱特琳"):
        assert cutter.cut(text) == theirs.lcut(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe\n", "line 1: not UTF-8 at byte 0"), ("好\n\ufeff\n".encode(), "line 2: no word")],
)
def test_bad_user_dictionary_is_named(tmp_path, content, message):
    path = tmp_path / "user.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Cutter(path)


def test_missing_user_dictionary(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        Cutter(tmp_path / "none.txt")


def test_cut_has_jiebas_signature():
    text = "我来到北京清华大学"
    assert cut(text) == original.lcut(text)
    assert cut(text, cut_all=True) == original.lcut(text, cut_all=True)
    assert cut(text, False, False) == original.lcut(text, HMM=False)
    assert cut("") == []


@needs_kernel
def test_cache_is_written_once_and_a_broken_one_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOESTRING_CACHE", str(tmp_path))
    dictionary.compiled()
    (path,) = tmp_path.iterdir()
    image = path.read_bytes()
    for broken in (b"", image[:1000], image[:-1] + b"\0\0", image.replace(image[5000:5008], b"\xff" * 8)):
        path.write_bytes(broken)
        dictionary._table.cache_clear()
        assert dictionary.compiled().cut("北京大学", True) == ["北京大学"]
        assert path.read_bytes() == image


@needs_kernel
def test_the_cache_keeps_the_tables_that_were_used_last(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOESTRING_CACHE", str(tmp_path))
    monkeypatch.setattr(dictionary, "MOST_KEPT", 3)
    for number in range(5):
        path = tmp_path / f"jieba-{number}.table"
        path.write_bytes(b"")
        os.utime(path, (number, number))
    (tmp_path / "another's").write_bytes(b"")
    dictionary.compiled()
    left = {path.name for path in tmp_path.iterdir()}
    assert left >= {"jieba-3.table", "jieba-4.table", "another's"}
    assert len(left) == 4


@needs_kernel
def test_a_digest_changes_with_every_bit_and_length():
    from shoestring.count import _kernel

    rng = random.Random(0)
    content = bytearray(rng.randbytes(99))
    met = {_kernel.digest(bytes(content), stop) for stop in range(100)} | {_kernel.digest(bytes(100))}
    for bit in range(8 * 99):
        content[bit // 8] ^= 1 << bit % 8
        met.add(_kernel.digest(bytes(content)))
        content[bit // 8] ^= 1 << bit % 8
    assert len(met) == 101 + 8 * 99
    assert _kernel.digest(bytes(content)) in met
    assert {len(each) for each in met} == {dictionary.DIGEST}


@needs_kernel
def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHOESTRING_CACHE", str(tmp_path / "file" / "folder"))
    assert dictionary.compiled().cut("北京大学", True) == ["北京大学"]


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_kernel_refuses_or_survives_any_image(seed, changes):
    from shoestring.count import _kernel

    image = bytearray(IMAGE or _image())
    rng = random.Random(seed)
    for _ in range(changes):
        at = rng.randrange(300) if rng.random() < 0.5 else rng.randrange(len(image))
        image[at] = rng.randrange(256)
    try:
        table = _kernel.Table(bytes(image))
    except ValueError:
        return
    assert "".join(table.cut("我来到北京清华大学abc", True)) == "我来到北京清华大学abc"
    counter = _kernel.Counter(table, True)
    counter.feed_texts(["我来到北京清华大学abc"] * 3, 1)
    try:
        counter.columns(True, 1, 0)
    except MemoryError:
        return  # a word without end


@needs_kernel
def test_a_few_seconds_of_fuzzing_with_a_new_seed():
    import fuzz_kernel

    assert fuzz_kernel.main(8, int(time.time())) == 0


IMAGE = b""


def _image() -> bytes:
    from shoestring.count import _kernel

    global IMAGE  # noqa: PLW0603 - made once
    IMAGE = _kernel.build("我来到 5 v\n北京 3 ns\n清华大学 9 nt\n".encode(), [], dictionary._hmm())
    return IMAGE


@needs_kernel
@pytest.mark.parametrize(
    "text", [b"word\n", b"word x\n", b" 3\n", "好 3\n\n中 1\n".encode(), b"a 99999999999999999999\n"]
)
def test_a_dictionary_that_jieba_refuses_is_refused(text):
    from shoestring.count import _kernel

    with pytest.raises(ValueError, match=r"line \d"):
        _kernel.build(text, [], dictionary._hmm())


@pytest.fixture(scope="module")
def hmm_cut():
    return finalseg_of_ours()


HAN = st.characters(min_codepoint=0x4E00, max_codepoint=0x9FD5)


@settings(max_examples=500, deadline=None)
@given(run=st.text(st.one_of(HAN, st.sampled_from("中国人民aB1.%+ 。")), min_size=1))
def test_hmm_cut_equals_jieba(hmm_cut, run):
    assert hmm_cut(run) == list(finalseg.cut(run))
