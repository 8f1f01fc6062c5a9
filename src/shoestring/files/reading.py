"""How to read (`Reading`) and what was met on the way (`Report`)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from shoestring._errors import OptionError
from shoestring.files.encodings import known

FORMATS = ("txt", "jsonl", "csv", "tsv", "parquet")
_CHOICES = {
    "errors": ("replace", "strict", "skip"),
    "document": ("line", "file"),
    "format": ("auto", *FORMATS),
}


@dataclass(frozen=True)
class Reading:
    """How documents are read.

    Args:
        encoding: `"auto"` detects it once per file (`shoestring.files.recognising`); else a Python text codec.
        errors: what happens to bytes that the encoding does not know. `"replace"` puts U+FFFD and counts
            them; `"strict"` refuses, with file, line and byte offset; `"skip"` drops the document and counts
            it, and does so with broken JSON, rows that lack the column and over-long documents too.
        field: the field of .jsonl, the column of .csv, .tsv and .parquet. None takes `"text"` where there is
            one, else the only text column, else refuses and lists what there is.
        document: what a document of a .txt is, a `"line"` or the whole `"file"`.
        salvage: keep what precedes the damaged or missing end of compressed data, and count it, instead of
            refusing. The line that the damage cuts is dropped.
        max_document_bytes: a longer line, field or text file is refused, so that a file without line ends
            cannot fill the memory. None trusts the data. Parquet cells are not checked.
        format: `"auto"` goes by the file's name (unknown names and stdin are txt); else the format of all.

    Raises:
        OptionError: a value is not among those allowed.
    """

    encoding: str = "auto"
    errors: str = "replace"
    field: str | None = None
    document: str = "line"
    salvage: bool = False
    max_document_bytes: int | None = 64 << 20
    format: str = "auto"

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if (given := getattr(self, name)) not in allowed:
                raise OptionError(f"{name}={given!r}: choose one of {', '.join(allowed)}")
        if self.encoding != "auto" and not known(self.encoding):
            raise OptionError(
                f"encoding={self.encoding!r}: not a text encoding of Python; "
                "choose auto, utf-8, utf-16, gb18030 or another codec"
            )
        if self.max_document_bytes is not None and self.max_document_bytes < 1:
            raise OptionError(f"max_document_bytes={self.max_document_bytes}: must be at least 1, or None")


@dataclass
class Report:
    """What reading met: totals, and where trouble began. Reports of parts add up with `+`.

    Attributes:
        documents: documents that were yielded.
        bytes: bytes of text that were read, after decompression.
        files: files (and archive members) that were opened.
        broken_bytes: bytes that became U+FFFD.
        surrogates: lone surrogates of JSON escapes that became U+FFFD.
        skipped: documents that `errors="skip"` dropped.
        truncated: files whose damaged or missing end `salvage` gave up.
        links: links to nothing that a folder has, and that were left out.
        encodings: per file that is not UTF-8, the encoding that was recognised.
        places: per kind of trouble and file, how often and the first byte offset.
    """

    documents: int = 0
    bytes: int = 0
    files: int = 0
    broken_bytes: int = 0
    surrogates: int = 0
    skipped: int = 0
    truncated: int = 0
    links: int = 0
    encodings: dict[str, str] = field(default_factory=dict)
    places: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def note(self, kind: str, file: str, at: int, count: int = 1) -> None:
        """Adds trouble: `kind` names a total, `at` is a byte offset in the (decompressed) text."""
        setattr(self, kind, getattr(self, kind) + count)
        before, first = self.places.get((kind, file), (0, at))
        self.places[kind, file] = (before + count, min(first, at))

    def recognised(self, file: str, encoding: str) -> None:
        """Adds what a file's encoding was found to be, unless it is UTF-8."""
        if encoding != "utf-8":
            self.encodings[file] = encoding

    def __add__(self, other: Report) -> Report:
        totals: dict[str, Any] = {
            each.name: getattr(self, each.name) + getattr(other, each.name)
            for each in fields(self)
            if each.name not in ("places", "encodings")
        }
        totals["encodings"] = {**self.encodings, **other.encodings}
        places = dict(self.places)
        for place, (count, first) in other.places.items():
            before, earliest = places.get(place, (0, first))
            places[place] = (before + count, min(earliest, first))
        return Report(**totals, places=places)

    def lines(self) -> list[str]:
        """Returns one line per file and kind of trouble, for people; empty when there was none.

        >>> report = Report()
        >>> report.note("broken_bytes", "a.txt", at=1234, count=12)
        >>> report.lines()
        ['12 broken bytes replaced in a.txt (first at byte 1,234)']
        """
        by_encoding: dict[str, list[str]] = {}
        for file, encoding in sorted(self.encodings.items()):
            by_encoding.setdefault(encoding, []).append(file)
        return [
            *(
                f"not UTF-8 and read as {encoding}: {', '.join(names[:_NAMED])}"
                + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
                for encoding, names in by_encoding.items()
            ),
            *(f"{file}: {_LEFT_OUT}" for kind, file in sorted(self.places) if kind == "links"),
            *(
                f"{count:,} {_WORDS[kind][count != 1]} in {file} (first at byte {first:,})"
                for (kind, file), (count, first) in sorted(self.places.items())
                if kind != "links"
            ),
        ]


_NAMED = 20  # files of one encoding that a line names
_LEFT_OUT = "a link to nothing, left out"
_WORDS = {
    "broken_bytes": ("broken byte replaced", "broken bytes replaced"),
    "surrogates": ("lone surrogate replaced", "lone surrogates replaced"),
    "skipped": ("document dropped", "documents dropped"),
    "truncated": ("damaged end given up", "damaged ends given up"),
}
