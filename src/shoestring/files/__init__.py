"""Streams of documents from texts, tables, archives and folders; outputs that are complete or not there.

- Reads .txt (and unknown endings), .jsonl/.ndjson, .csv, .tsv and .parquet, each also .gz, .bz2, .xz, .zst or
  inside .zip and .tar; folders and patterns of them; `-` for stdin; addresses that fsspec knows (`s3://`).
- UTF-8 with and without BOM and UTF-16 are recognised, and GB18030, Big5, Shift_JIS, EUC-KR and others where the
  text is long enough to tell them apart; else the encoding must be given.
- A line ends at LF, one CR before it goes with it. Empty lines are no documents.
- No file is ever in memory as a whole (but the one document of `Reading(document="file")`).
- A big plain file is cut in ranges of bytes that several processes read, each document exactly once.
- Trouble is counted in a `Report`, or refused in one line that names file, line and byte.

The standard library is enough for .txt, .jsonl, .csv and .tsv, also in .gz, .bz2, .xz, .zip and .tar; the
rest needs `pip install 'shoestring[files]'`.

>>> import tempfile, pathlib
>>> folder = pathlib.Path(tempfile.mkdtemp())
>>> with atomic(folder / "a.txt") as file:
...     _ = file.write("白日依山尽\\n\\n黄河入海流\\n")
>>> list(documents([folder]))
['白日依山尽', '黄河入海流']
>>> [list(read(part)) for part in parts([folder / "a.txt"], size=20)]
[['白日依山尽', '黄河入海流']]
"""

from shoestring.files.atomic import atomic, atomic_folder, forget_drafts
from shoestring.files.parts import Part, documents, parts, read, read_bytes
from shoestring.files.reading import Reading, Report
from shoestring.files.recognising import detect

__all__ = [
    "Part",
    "Reading",
    "Report",
    "atomic",
    "atomic_folder",
    "detect",
    "documents",
    "forget_drafts",
    "parts",
    "read",
    "read_bytes",
]
