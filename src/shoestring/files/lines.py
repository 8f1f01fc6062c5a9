"""From bytes to lines of text, without holding more than a block and the line that it cuts.

A line ends at LF, one CR before it goes with it; NEL, LS, VT, form feed and NUL are ordinary characters.
This is the one rule under which cutting a file at any byte and decoding it commute.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from shoestring._errors import InputError
from shoestring.files import encodings, recognising
from shoestring.files.reading import Reading, Report
from shoestring.files.streams import Stream

BROKEN = "\udcff"  # stands in decoded text for bytes that `errors="skip"` drops together with their document


class Lines:
    """The text of a stream in batches of complete lines.

    Args:
        stream: the bytes; at offset 0 a BOM is dropped.
        encoding: how they are encoded; `"auto"` looks.
        reading: what to do with broken bytes and over-long lines.
        report: takes the counts.
        lines_before: returns how many lines precede the stream; asked only for an error message.

    Attributes:
        line: lines before the current batch.
        offset: bytes before the current batch (in UTF-8 if the encoding is UTF-16 or the like).
    """

    def __init__(
        self,
        stream: Stream,
        encoding: str,
        reading: Reading,
        report: Report,
        lines_before: Callable[[], int] = lambda: 0,
    ) -> None:
        if encoding == "auto":
            encoding = recognising.detect(*stream.peek(recognising.SAMPLE), stream.name)
            report.recognised(stream.name, encoding)
        self.stream, self.reading, self.report = stream, reading, report
        self.encoding = encodings.canonical(encoding)
        self.line, self.offset = 0, stream.start
        self._transcoded = not encodings.cuts_at_newline(self.encoding)
        self._codec = "utf-8" if self._transcoded else self.encoding
        self._lines_before = lines_before
        self._guessed = reading.encoding == "auto" and self.encoding != "utf-8" and not self._transcoded
        self._limit = sys.maxsize if reading.max_document_bytes is None else reading.max_document_bytes

    def batches(self) -> Iterator[str]:
        """Yields text that ends at a line end, but for the file's last line if that has none."""
        for block in self._complete():
            self.report.bytes += len(block)
            if self._guessed:
                before = self._lines_before() + self.line
                recognising.refuse_mixture(block, self.encoding, self.stream.name, before)
            try:
                text = block.decode(self._codec)
            except UnicodeDecodeError:
                text = self._repaired(block)
            yield text
            self.line += block.count(b"\n")
            self.offset += len(block)

    def whole(self) -> str:
        """Returns the text as one piece, CR LF as LF."""
        pieces, held = [], 0
        for block in self._bytes():
            pieces.append(block)
            held += len(block)
            if self._too_long(held):
                self.drop(0, 0, f"the file is {longer_than(self._limit)}")
                return ""
        self.report.bytes += held
        if self.stream.cut:
            self.report.note("truncated", self.stream.name, held)
        return self._repaired(b"".join(pieces)).replace("\r\n", "\n")

    def drop(self, line: int, at: int, why: str) -> None:
        """Drops a document under `errors="skip"` and counts it; else refuses it.

        Args:
            line: lines before it in this batch.
            at: bytes before it in this batch.
            why: what is wrong with it.

        Raises:
            InputError: errors is not `"skip"`.
        """
        if self.reading.errors != "skip":
            raise InputError(f"{self._where(line)}: {why}; or drop such documents with --errors skip")
        self.report.note("skipped", self.stream.name, self.offset + at)

    def size(self, text: str) -> int:
        """Returns how many bytes decoded text took."""
        return len(text.encode(self._codec, "replace" if self._codec != "utf-8" else "surrogateescape"))

    def _where(self, line: int) -> str:
        return f"{self.stream.name}: line {self._lines_before() + self.line + line + 1:,}"

    def _bytes(self) -> Iterator[bytes]:
        """The stream's blocks, as UTF-8 if LF may lie within a character, without a BOM."""
        blocks = iter(self.stream)
        if self._transcoded:
            blocks = encodings.to_utf8(blocks, self.encoding, self._broken)
        head = b""
        while len(head) < 4 and (block := next(blocks, None)) is not None:  # a BOM may come in pieces
            head += block
        if self.stream.start == 0:
            text = encodings.without_bom(head, self._codec)
            self.offset += len(head) - len(text)
            head = text
        yield head
        yield from blocks

    def _complete(self) -> Iterator[bytes]:
        """Blocks of complete lines; over-long lines are refused or dropped."""
        held, size, dropping = [], 0, False
        for piece in self._pieces():
            block, first = piece, piece.find(b"\n") + 1
            if not dropping and self._too_long(size + (first - 1 if first else len(block))):
                self.drop(0, 0, f"the line is {longer_than(self._limit)}")
                dropping = True
            if dropping:
                self.offset += size + (first or len(block))
                held, size = [], 0
                if not first:
                    continue
                self.line, dropping, block = self.line + 1, False, block[first:]
            cut = block.rfind(b"\n") + 1
            if cut:
                yield b"".join([*held, block[:cut]])
                held, size = [], 0
            held.append(block[cut:])
            size += len(block) - cut
        if self.stream.cut:
            self.report.note("truncated", self.stream.name, self.offset + size)
        elif size:
            yield b"".join(held)

    def _pieces(self) -> Iterator[bytes]:
        """The bytes in blocks no longer than a line may be, so that a line within a block is short enough."""
        for block in self._bytes():
            if len(block) <= self._limit:
                yield block
            else:
                yield from (block[at : at + self._limit] for at in range(0, len(block), self._limit))

    def _repaired(self, block: bytes) -> str:
        """Decodes line by line, so that a broken byte never takes the next line along."""
        mark = BROKEN if self.reading.errors == "skip" else "\ufffd"
        texts, at = [], 0
        for number, line in enumerate(block.split(b"\n")):
            text, spans = encodings.decode_counting(line, self._codec, mark)
            texts.append(text)
            for start, stop in [] if self._transcoded else spans:
                self._broken(self.offset + at + start, stop - start, self.line + number, line[start:stop])
            at += len(line) + 1
        return "\n".join(texts)

    def _broken(self, at: int, count: int, line: int, data: bytes = b"") -> None:
        if self.reading.errors == "strict":
            raise InputError(
                f"{self.stream.name}: line {self._lines_before() + line + 1:,}, byte {at:,}: {data.hex(' ')}"
                f"{' is' if data else ''} not {self.encoding}; give the right encoding, or errors='replace'"
            )
        if self.reading.errors == "replace":
            self.report.note("broken_bytes", self.stream.name, at, count)

    def _too_long(self, size: int) -> bool:
        return size > self._limit


def longer_than(limit: int) -> str:
    """Returns the end of a message about a line or file that is too long."""
    return f"longer than max_document_bytes={limit:,}; raise that, or cut the text into lines"
