"""CPM's tokenizer: the original's ids on both vocabulary files, its text back, and a life as a Hugging Face one."""

import hashlib
import json
from itertools import islice
from pathlib import Path

import jieba
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from shoestring import files
from shoestring._errors import InputError
from shoestring.lm.tokenizer import CpmTokenizer, _second_release
from shoestring.tour.text import bundled

SECOND, FIRST = "chinese_vocab.model", "chinese_vocab.first-release.model"
# What the original code gives on the second release.
GOLDEN = json.loads((Path(__file__).parent / "golden_ids.json").read_text("utf-8"))
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40) | st.text(
    "今天天气很好， \n１a", max_size=30
)


class Original:
    """The rules of CPM-1-Generate's tokenizer, as published."""

    def __init__(self, model_file):
        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
        self.translator = str.maketrans(" \n", "\u2582\u2583")

    def encode(self, text):
        seg_list = [x.translate(self.translator) for x in jieba.cut(text, cut_all=False)]
        return self.sp.encode(" ".join(seg_list))

    def decode(self, tokens):
        text = self.sp.decode(tokens)
        return text.replace(" ", "").replace("\u2582", " ").replace("\u2583", "\n")


@pytest.fixture(scope="module", params=[SECOND, FIRST])
def tokenizer(request, data):
    return CpmTokenizer(data / "cpm" / request.param)


@pytest.fixture(scope="module")
def original(data):
    return Original(data / "cpm" / SECOND)


@pytest.mark.parametrize("text", GOLDEN)
def test_golden_ids(tokenizer, text):
    assert tokenizer.encode(text) == tokenizer(text)["input_ids"] == GOLDEN[text]


def test_real_text_gets_the_originals_ids(tokenizer, original):
    sources = [bundled() / "sentiment" / "pos.txt", bundled() / "tag" / "199801.txt", Path(__file__)]
    for source in sources:
        for line in islice(files.documents([source]), 0, 4000, 20):
            assert tokenizer.encode(line) == original.encode(line)


@settings(max_examples=300, deadline=None)
@given(text=TEXT)
def test_any_text_gets_the_originals_ids(tokenizer, original, text):
    assert tokenizer.encode(text) == original.encode(text)


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.integers(0, 29_999) | st.integers(0, 12), max_size=30))
def test_any_ids_get_the_originals_text(tokenizer, original, ids):
    assert tokenizer.decode(ids) == original.decode(ids)
    assert "".join(map(tokenizer.text_of, ids)) == original.decode(ids)


@settings(max_examples=200, deadline=None)
@given(text=TEXT)
def test_words_of_pieces(tokenizer, text):
    ids, spans = tokenizer.encode_with_words(text)
    assert ids == tokenizer.encode(text)
    assert all(0 <= begin < end <= len(text) for begin, end in spans)
    assert spans == sorted(spans)


def test_spaces_and_new_lines_come_back(tokenizer):
    text = "问题:北京 是\n\n中国的首都吗?  是"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_names_of_special_tokens_in_a_text_are_text(tokenizer, original):
    assert tokenizer.encode("甲<eod>乙<pad>") == original.encode("甲<eod>乙<pad>")


def test_the_first_release_becomes_the_second(data):
    published = (data / "cpm" / SECOND).read_bytes()
    assert _second_release(str(data / "cpm" / FIRST)) == published
    assert hashlib.sha256(published).hexdigest().startswith("25c1d178")


def test_as_a_hugging_face_tokenizer(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is CpmTokenizer
    assert (loaded.pad_token_id, loaded.eos_token_id, loaded.unk_token_id, len(loaded)) == (5, 7, 0, 30_000)
    batch = loaded(["你好", "你好\n世界"], padding=True)
    assert batch["input_ids"] == [[5, 5, 5, 6756], [6756, 8, 3, 278]]
    assert batch["attention_mask"] == [[0, 0, 0, 1], [1, 1, 1, 1]]
    assert loaded.batch_decode(batch["input_ids"], skip_special_tokens=True) == ["你好", "你好\n世界"]


def test_wrong_files(tmp_path, data):
    with pytest.raises(InputError, match=r"no such file; give the chinese_vocab\.model"):
        CpmTokenizer(tmp_path / "absent.model")
    (tmp_path / "other.model").write_text("text")
    with pytest.raises(InputError, match="not a SentencePiece model of CPM"):
        CpmTokenizer(tmp_path / "other.model")
    broken = (data / "cpm" / SECOND).read_bytes()[:1000]
    (tmp_path / "half.model").write_bytes(broken)
    with pytest.raises(InputError, match="damaged or half downloaded"):
        CpmTokenizer(tmp_path / "half.model")


def test_tokens_cannot_be_added_to_a_models_vocabulary(data):
    tokenizer = CpmTokenizer(data / "cpm" / SECOND)
    assert tokenizer.add_tokens(["<sep>", "▃"]) == 0
    with pytest.raises(InputError, match="add_tokens '新词': CPM's vocabulary is fixed, 30,000 pieces"):
        tokenizer.add_tokens(["新词"])
    assert len(tokenizer) == 30_000
