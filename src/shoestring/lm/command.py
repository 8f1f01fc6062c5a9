"""`shoestring lm`: convert, generate, fewshot, choose, eval and serve, each a thin shell over its function."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import InputError, OptionError
from shoestring._extras import require

if TYPE_CHECKING:
    from shoestring.lm.engine import Engine
    from shoestring.lm.sampling import Sampling


def model_options(function: Callable) -> Callable:
    """Adds what says how a model is loaded; the function gets `model`, `backend`, `precision`, `device`, `threads`."""
    for option in (
        click.option("--threads", default=0, help="Of the processor.  [default: every core]"),
        click.option("--device", help="cpu, cuda, cuda:1 or mps.  [default: a GPU if there is one]"),
        click.option("--precision", default="auto", show_default=True, help="fp32, bf16, int8 or int4."),
        click.option("--backend", default="auto", show_default=True, help="torch or llama.cpp."),
        click.argument("model"),
    ):
        function = option(function)
    return function


def sampling_options(function: Callable) -> Callable:
    """Adds the settings of a generation; the function gets them under the names of `Sampling`."""
    for option in (
        click.option("--seed", default=0, show_default=True, help="Of the draws."),
        click.option(
            "--min-ends", default=1, show_default=True, help="How many stop strings or end tokens it takes."
        ),
        click.option(
            "--stop", multiple=True, help="A string that ends the text, such as '\\n'; may be repeated."
        ),
        click.option("--repetition-penalty", default=1.0, show_default=True, help="Above 1: repeat less."),
        click.option(
            "--top-p", default=1.0, show_default=True, help="Only the most likely of this total probability."
        ),
        click.option("--top-k", default=0, show_default=True, help="Only the k most likely; 0 is all."),
        click.option("--temperature", default=1.0, show_default=True, help="0 takes the most likely token."),
        click.option("--min-tokens", default=0, show_default=True, help="No end before so many."),
        click.option("--max-tokens", default=64, show_default=True, help="At most so many."),
    ):
        function = option(function)
    return function


@ui.command("convert")
@click.argument("source")
@click.argument("output")
@click.option(
    "--to", default="hf", show_default=True, help="hf, int8, int4, gguf-f16, gguf-q8_0 or gguf-q4_k_m."
)
@click.option("--vocab", help="CPM's chinese_vocab.model, if it does not lie with the weights.")
@click.option("--heads", type=int, help="Attention heads, for shards of a size other than CPM-LM's.")
@click.option("--unpublished", is_flag=True, help="Do not insist on CPM-LM's published SHA-1.")
@click.option("--overwrite", is_flag=True, help="Replace a folder.")
def convert(
    ui: ui.UI, source: str, output: str, to: str, vocab: str | None, heads: int | None, unpublished: bool,
    overwrite: bool,
) -> None:  # fmt: skip
    """Turns CPM-LM's released shards, or a Hugging Face folder, into one that runs here.

    SOURCE has mp_rank_00_model_states.pt and its like, or config.json and weights. OUTPUT becomes a folder.
    """
    require("lm", "torch", "sentencepiece", "jieba", "transformers")
    from shoestring.lm.conversion import convert

    started = time.perf_counter()
    done = convert(
        source,
        output,
        to=to,
        vocabulary=vocab,
        heads=heads,
        published=not unpublished,
        overwrite=overwrite,
        ui=ui,
    )
    seconds = time.perf_counter() - started
    ui.result(
        {"output": output, "parameters": done.parameters, "bytes": done.bytes, "seconds": round(seconds, 2)},
        f"{output}: {done.parameters:,} weights, {done.bytes / 1e9:.2f} GB, {seconds:.1f} s",
    )


@ui.command("generate")
@model_options
@click.argument("prompts", nargs=-1, required=True)
@sampling_options
@click.option("--samples", default=1, show_default=True, help="Of each prompt.")
@click.option("--beams", default=0, help="Search with so many beams instead of drawing.")
@click.option(
    "--length-penalty", default=0.0, show_default=True, help="Of beams; above 0 favours longer texts."
)
@click.option("--logprobs", type=int, help="Report the so many most likely tokens (with --json).")
@click.option(
    "--truncate", type=click.Choice(["left", "right"]), help="Cut a prompt that is too long on this side."
)
def generate(
    ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int, prompts: tuple[str, ...],
    samples: int, beams: int, length_penalty: float, logprobs: int | None, truncate: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Continues prompts; the text comes while it is made. - reads one prompt from stdin."""
    sampling = _sampling({**settings, "logprobs": logprobs})
    texts = [sys.stdin.read().removesuffix("\n") if text == "-" else text for text in prompts]
    engine = _loaded(ui, model, backend, precision, device, threads)
    if beams:
        from shoestring.lm.beam import beam_search

        found = beam_search(
            engine, texts, sampling, beams=beams, length_penalty=length_penalty, truncate=truncate
        )
    else:
        found = _streamed(ui, engine, texts, sampling, samples, truncate)
    if ui.as_json:
        ui.result({"prompts": [_as_json(engine, text, row) for text, row in zip(texts, found, strict=True)]})
    elif beams or len(texts) * samples > 1:
        for text, row in zip(texts, found, strict=True):
            for sample in row:
                print(f"{text}{sample.text}\n")


@ui.command("fewshot")
@model_options
@click.argument("shots", required=False)
@click.option(
    "--template", default="translate", show_default=True, help="A built-in one, FILE.toml or FILE.toml:NAME."
)
@click.option(
    "--test", "tests", metavar="FILE", help="Queries, one a line, with TAB and the answer if it is known."
)
@click.option("--query", "queries", multiple=True, help="A query; may be repeated.")
@click.option("--choose", "choosing", is_flag=True, help="Choose among the answers of the shots.")
@click.option(
    "--score", default="mean", show_default=True, help="likelihood, mean or channel; with --choose."
)
@click.option("--calibrate", is_flag=True, help="Do not favour answers that are likely everywhere.")
def fewshot(
    ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int, shots: str | None,
    template: str, tests: str | None, queries: tuple[str, ...], choosing: bool, score: str, calibrate: bool,
) -> None:  # fmt: skip
    """Answers queries after a few examples. SHOTS.tsv has input TAB output a line; without it the template's own."""
    from shoestring.lm.evaluate import accuracy, pairs, predictions
    from shoestring.lm.template import named

    task = named(template)
    examples = list(task.shots) if shots is None else pairs(_lines(shots), shots)
    asked: list[tuple[str, str | None]] = [(query, None) for query in queries]
    if tests:
        asked += [(query, wanted or None) for query, wanted in pairs(_lines(tests), tests, labelled=False)]
    if not asked:
        raise OptionError("nothing to answer; pass --query TEXT or --test FILE")
    engine = _loaded(ui, model, backend, precision, device, threads)
    examples = task.fitted([query for query, _ in asked], examples, _fits(engine, task.max_tokens))
    candidates = sorted({answer for _, answer in examples}) if choosing else []
    from shoestring.lm.choosing import FewShot

    few = FewShot(engine, task, examples, candidates, score, calibrate)
    found = list(ui.track(predictions(few, asked), "answering", len(asked), "query"))
    rows = [(each.query, each.answer, each.wanted or "") for each in found]
    if ui.as_json:
        ui.result({
            "shots": len(examples), **accuracy(found),
            "predictions": [dict(zip(("query", "answer", "wanted"), row, strict=True)) for row in rows],
        })  # fmt: skip
        return
    ui.table(("query", "answer", "wanted"), rows)
    _say_accuracy(ui, accuracy(found))


@ui.command("choose")
@model_options
@click.argument("prompt")
@click.argument("candidates", nargs=-1, required=True)
@click.option("--score", default="mean", show_default=True, help="likelihood or mean.")
def choose(
    ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int, prompt: str,
    candidates: tuple[str, ...], score: str,
) -> None:  # fmt: skip
    """Tells which of some candidates follows a prompt, in one pass."""
    from shoestring.lm.choosing import choose

    engine = _loaded(ui, model, backend, precision, device, threads)
    choice = choose(engine, prompt, candidates, score=score)
    rows = sorted(
        zip(choice.candidates, choice.scores, choice.logprobs, choice.tokens, choice.shares, strict=True),
        key=lambda row: -row[1],
    )
    names = ("candidate", "score", "logprob", "tokens", "share")
    if ui.as_json:
        ui.result({"best": choice.best, "candidates": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        ui.table(names, [(c, f"{s:.3f}", f"{p:.3f}", n, f"{share:.1%}") for c, s, p, n, share in rows])


@ui.command("eval")
@model_options
@click.argument("texts", nargs=-1)
@click.option("--labelled", metavar="FILE", help="input TAB answer a line: accuracy of the template on it.")
@click.option("--template", default="sentiment", show_default=True, help="For --labelled.")
@click.option(
    "--score", default="mean", show_default=True, help="For --labelled: likelihood, mean or channel."
)
@click.option("--limit", default=0, help="Only the first so many documents or lines; 0 is all.")
@click.option("--calibrate", is_flag=True, help="Do not favour answers that are likely everywhere.")
def evaluate(
    ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int, texts: tuple[str, ...],
    labelled: str | None, template: str, score: str, calibrate: bool, limit: int,
) -> None:  # fmt: skip
    """Perplexity of text files, a document a line; or accuracy on a labelled file by choosing among its answers."""
    from itertools import islice

    from shoestring import files
    from shoestring.lm.evaluate import accuracy, pairs, perplexity, predictions
    from shoestring.lm.template import named

    if bool(texts) == bool(labelled):
        raise OptionError("give either text files or --labelled FILE")
    engine = _loaded(ui, model, backend, precision, device, threads)
    if labelled:
        from shoestring.lm.choosing import FewShot

        asked = pairs(_lines(labelled), labelled)[: limit or None]
        task = FewShot(
            engine, named(template), None, sorted({answer for _, answer in asked}), score, calibrate
        )
        found = list(ui.track(predictions(task, asked), "choosing", len(asked), "query"))
        ui.result(accuracy(found), _accuracy_line(accuracy(found)))
        return
    documents = islice(files.documents(list(texts)), limit or None)
    cost = perplexity(engine, ui.track(documents, "reading", unit="doc"))
    values = {
        "perplexity per token": round(cost.per_token, 3), "perplexity per character": round(cost.per_character, 3),
        "tokens": cost.tokens, "characters": cost.characters, "documents": cost.documents,
    }  # fmt: skip
    ui.result(values)


@ui.command("serve")
@model_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address lets others in.")
@click.option("--port", default=8000, show_default=True)
@click.option(
    "--api-key", envvar="SHOESTRING_API_KEY", help="Ask for it in every request.  [SHOESTRING_API_KEY]"
)
@click.option("--batch", default=8, show_default=True, help="Rows that are continued at once.")
@click.option("--queue", default=64, show_default=True, help="Requests that may wait; more get 429.")
@click.option(
    "--prefix-tokens", default=4096, show_default=True, help="Tokens of prompts whose keys are kept."
)
def serve(
    ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int, host: str, port: int,
    api_key: str | None, batch: int, queue: int, prefix_tokens: int,
) -> None:  # fmt: skip
    """Serves a model as OpenAI's API does, with a page to try prompts on."""
    require("lm", "starlette", "uvicorn")
    from shoestring.lm.serve.scheduler import Limits
    from shoestring.lm.serve.server import run

    limits = Limits(batch=batch, queue=queue, prefix_tokens=prefix_tokens)
    if host not in ("127.0.0.1", "localhost", "::1") and not api_key:
        ui.say(f"--host {host} without --api-key: everyone who reaches this machine can use the model")
    run(
        lambda: _loaded(ui, model, backend, precision, device, threads),
        limits,
        host,
        port,
        api_key,
        say=ui.say,
    )


def _loaded(ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int) -> Engine:
    require("lm", "torch", "sentencepiece", "jieba", "transformers")
    import torch

    from shoestring.lm.engine import load

    if threads < 0:
        raise OptionError(f"--threads {threads}: must be 0 or more")
    if threads:
        torch.set_num_threads(threads)
    started = time.perf_counter()
    engine = load(model, backend=backend, precision=precision, device=device, threads=threads)
    ui.say(f"{engine.name}: {engine.kind}, loaded in {time.perf_counter() - started:.1f} s")
    return engine


def _sampling(settings: dict[str, Any]) -> Sampling:
    from shoestring.lm.sampling import Sampling

    settings["stop"] = tuple(_unescaped(stop) for stop in settings["stop"])
    return Sampling(**settings)


def _unescaped(stop: str) -> str:
    """A new line is hard to type: \\n and \\t mean what they do in Python."""
    return stop.replace("\\n", "\n").replace("\\t", "\t")


def _streamed(
    ui: ui.UI, engine: Engine, texts: list[str], sampling: Sampling, samples: int, truncate: str | None
) -> list[list[Any]]:
    from shoestring.lm.generation import collected, stream

    alone = len(texts) == samples == 1 and not ui.as_json
    with _prefill(ui) as progress:
        pieces = []
        for piece in stream(engine, texts, sampling, samples=samples, truncate=truncate, progress=progress):
            if alone:
                if not pieces:
                    progress(0)
                print(("" if pieces else texts[0]) + piece.text, end="", flush=True)
            pieces.append(piece)
    if alone:
        print()
    return collected(pieces, len(texts), samples)


@contextmanager
def _prefill(ui: ui.UI) -> Iterator[Callable[[int], Any]]:
    """A bar for the tokens of the prompt, which goes when the first token comes."""
    with ui.bar("reading the prompt", None, "token") as bar:

        def progress(tokens: int) -> None:
            if tokens:
                bar.update(tokens)
            else:
                bar.close()

        yield progress


def _as_json(engine: Engine, prompt: str, samples: list[Any]) -> dict[str, Any]:
    def token(each: Any) -> dict[str, Any]:
        decode = engine.tokenizer.decode
        values = {"id": each.id, "text": decode([each.id]), "logprob": each.logprob}
        return values | ({"top": {decode([id]): value for id, value in each.top}} if each.top else {})

    return {
        "prompt": prompt,
        "samples": [
            {"text": each.text, "finish": each.finish, "logprob": each.logprob,
             "tokens": [token(one) for one in each.tokens]}
            for each in samples
        ],
    }  # fmt: skip


def _fits(engine: Engine, answer: int) -> Callable[[str], bool]:
    return lambda text: len(engine.tokenizer.encode(text)) + answer <= engine.positions


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8, byte {error.start}; save it as UTF-8") from error


def _say_accuracy(ui: ui.UI, values: dict[str, Any]) -> None:
    if "accuracy" in values:
        print(_accuracy_line(values))


def _accuracy_line(values: dict[str, Any]) -> str:
    return "accuracy {accuracy:.1%} on {labelled:,}; always the most frequent answer: {majority:.1%}".format(
        **values
    )


@ui.command("lm")
def overview(ui: ui.UI) -> None:
    """Chinese language models on small hardware: CPM-LM from its release, any GPT-2 or Llama, few-shot."""
    raise OptionError(
        "say what to do, such as: shoestring lm generate MODEL PROMPT; see shoestring lm --help"
    )


verb = ui.Group(overview, convert, generate, fewshot, choose, evaluate, serve)
