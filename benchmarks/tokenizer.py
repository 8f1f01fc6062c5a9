"""Training a tokenizer on real Chinese text: ours beside the trainers of `tokenizers` and sentencepiece.

The text is the reviews and the newspaper that the tour reads (4.4 million characters); one run, CPU
seconds of the whole process tree's threads, word counting included. Characters per token are measured on every 50th
document. The other trainers get the text as it is, so their pieces may cross words, which spells text in fewer
tokens but gives words no ids of their own; the share of jieba's frequent words that are one token shows it.

    python benchmarks/tokenizer.py            -> benchmarks/results/tokenizer.json
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from shoestring import files
from shoestring.tour import text
from shoestring.transformer.tokenizer import LONGEST_PIECE, PIECES, count_words, train_tokenizer

RESULT = Path(__file__).parent / "results" / "tokenizer.json"
SIZE = 8192
Pieces = Callable[[str], list[str]]


def ours(kind: str) -> Callable[[list[str]], Pieces]:
    return lambda documents: train_tokenizer(count_words(documents), SIZE, kind).tokenize


def library(kind: str) -> Callable[[list[str]], Pieces]:
    def train(documents: list[str]) -> Pieces:
        core = Tokenizer(models.Unigram() if kind == "unigram" else models.BPE(unk_token="<unk>"))
        core.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
        common = {"vocab_size": SIZE, "special_tokens": ["<unk>"], "show_progress": False}
        trainer = (
            trainers.UnigramTrainer(unk_token="<unk>", max_piece_length=LONGEST_PIECE, **common)
            if kind == "unigram"
            else trainers.BpeTrainer(max_token_length=LONGEST_PIECE, limit_alphabet=SIZE // 2, **common)
        )
        core.train_from_iterator(documents, trainer)
        return lambda document: core.encode(document).tokens

    return train


def sentencepiece(documents: list[str]) -> Pieces:
    import sentencepiece as spm

    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(documents), model_writer=model, vocab_size=SIZE, model_type="unigram",
        byte_fallback=True, add_dummy_prefix=False, max_sentence_length=1 << 16, num_threads=2, minloglevel=2,
    )  # fmt: skip
    processor = spm.SentencePieceProcessor(model_proto=model.getvalue())
    return lambda document: processor.encode(document, out_type=str)


TRAINERS = {
    "shoestring unigram": ours("unigram"),
    "shoestring bpe": ours("bpe"),
    "tokenizers UnigramTrainer": library("unigram"),
    "tokenizers BpeTrainer": library("bpe"),
    "sentencepiece unigram": sentencepiece,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        documents = list(files.documents(list(text.write(Path(folder)).values())))
    frequent = [word for word, _ in count_words(documents).most_common(4000) if len(word) > 1][:2000]
    sample = documents[::50]
    measured = {}
    for name, train in TRAINERS.items():
        start = time.process_time()
        pieces = train(documents)
        seconds = time.process_time() - start
        measured[name] = {
            "cpu_seconds": round(seconds, 2),
            "characters_per_token": round(
                sum(map(len, sample)) / sum(len(pieces(each)) for each in sample), 3
            ),
            "frequent_words_whole": sum(len(pieces(word)) == 1 for word in frequent) / len(frequent),
        }
        print(name, measured[name], flush=True)
    fastest = measured["shoestring unigram"]["cpu_seconds"]
    result = {
        "characters": sum(map(len, documents)),
        "vocabulary": SIZE,
        "trainers": measured,
        "times_faster_than": {
            name: round(measured[name]["cpu_seconds"] / fastest, 1) for name in list(TRAINERS)[2:]
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
