"""The scheduler beside the library: prompts read together, in pieces and from earlier ones give the same."""

import threading

import pytest

from shoestring.lm.engines.base import CacheFull
from shoestring.lm.engines.load import load
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.serve.prefixes import Prefixes
from shoestring.lm.serve.requests import Limits, Request
from shoestring.lm.serve.scheduler import Scheduler

GREEDY = Sampling(max_tokens=8, temperature=0)


@pytest.fixture(scope="module")
def engine(chat_folder):
    return load(chat_folder)


@pytest.fixture
def scheduler(engine):
    made = Scheduler(engine, Limits(batch=8))
    yield made
    made.close()


class Asked:
    """A request and what was delivered."""

    def __init__(self, ids, sampling=GREEDY, samples=1):
        self.pieces, self.error, self.done, self.first = [], None, threading.Event(), threading.Event()
        self.request = Request(ids, sampling, samples, self._deliver)

    def _deliver(self, item):
        if item is None or isinstance(item, BaseException):
            self.error = item
            self.done.set()
            self.first.set()
        else:
            self.pieces.append(item)
            self.first.set()

    @property
    def text(self):
        assert self.done.wait(60)
        assert self.error is None, self.error
        return "".join(piece.text for piece in self.pieces)


def together(scheduler, rows, sampling=GREEDY):
    """Submits prompts so that all of them wait when the scheduler looks."""
    block, asked = threading.Event(), [Asked(ids, sampling) for ids in rows]
    scheduler.call(block.wait)
    scheduler.submit([each.request for each in asked])
    block.set()
    return asked


def alone(engine, rows, sampling=GREEDY):
    return [generate(engine, [ids], sampling)[0][0].text for ids in rows]


def prompt(engine, text):
    return engine.texts.encode(text)


def test_short_prompts_are_read_in_one_pass(engine, scheduler, monkeypatch):
    rows = [prompt(engine, "the cat " * number) for number in range(1, 7)]
    opened, open_ = [], engine.open
    monkeypatch.setattr(engine, "open", lambda ids, *rest: opened.append(len(ids)) or open_(ids, *rest))
    found = [each.text for each in together(scheduler, rows)]
    assert opened == [6]
    monkeypatch.undo()
    assert found == alone(engine, rows)


def test_prompts_that_go_on_from_earlier_ones_are_read_in_one_pass(engine, scheduler):
    shots = prompt(engine, "the mat and it was warm, 你好 " * 6)
    assert len(shots) > 40
    (first,) = together(scheduler, [shots])
    assert first.text == alone(engine, [shots])[0]
    rests = ["a", "the cat sat", "北京是", "on the mat and"]
    rows = [shots[: len(shots) - cut] + prompt(engine, rest) for cut, rest in enumerate(rests)]
    before = scheduler.statistics.reused_tokens
    found = [each.text for each in together(scheduler, rows)]
    assert scheduler.statistics.reused_tokens - before > 3 * 40
    assert found == alone(engine, rows)


def test_a_long_prompt_does_not_hold_up_the_others(engine, scheduler, monkeypatch):
    """While 450 tokens are read, each step of a running row comes after one piece of them at most."""
    events, session = [], type(engine.open([[5]]))
    for name in ("extend", "step"):
        usual = getattr(session, name)

        def noted(self, tokens, *rest, name=name, usual=usual):
            events.append(name)
            return usual(self, tokens, *rest)

        monkeypatch.setattr(session, name, noted)
    running = Asked([9], Sampling(max_tokens=60, temperature=0))
    scheduler.submit([running.request])
    assert running.first.wait(60)
    long = Asked([7 + place % 300 for place in range(450)])
    scheduler.submit([long.request])
    assert long.text == alone(engine, [long.request.ids])[0]
    assert running.text
    pieces = [place for place, name in enumerate(events) if name == "extend"]
    assert len(pieces) >= 3
    assert all(events[place - 1] == "step" for place in pieces[:3])


def test_an_error_in_one_row_is_its_own(engine, scheduler):
    rows = [prompt(engine, "the cat"), prompt(engine, "你好")]
    good = [Asked(ids) for ids in rows]
    bad = Asked(rows[0], Sampling(max_tokens=4, grammar="start: nowhere"), samples=2)
    scheduler.submit([good[0].request, bad.request, good[1].request])
    assert [each.text for each in good] == alone(engine, rows)
    assert bad.done.wait(60)
    assert "grammar" in str(bad.error)


def test_a_failure_of_the_engine_ends_what_ran_and_nothing_else(engine, scheduler, monkeypatch):
    session = type(engine.open([[5]]))

    def broken(self, tokens):
        monkeypatch.undo()
        raise MemoryError("no room")

    monkeypatch.setattr(session, "step", broken)
    failed = Asked([9])
    scheduler.submit([failed.request])
    assert failed.done.wait(60)
    assert isinstance(failed.error, MemoryError)
    assert [each.text for each in together(scheduler, [[9]])] == alone(engine, [[9]])
    assert scheduler.call(lambda: scheduler.load["running"]).result(60) == 0  # between two steps


def test_no_room_ends_the_longest_row_only(engine, scheduler, monkeypatch):
    """An engine that holds 40 tokens in all, as llama.cpp's cache is bounded: the others end as they would alone."""
    session = type(engine.open([[5]]))
    step, read = session.step, session.read

    def bounded(usual, more):
        def tried(self, rows, *rest):
            if sum(map(len, self.ids)) + more(rows) > 40:
                raise CacheFull("no room")
            return usual(self, rows, *rest)

        return tried

    rows = [prompt(engine, "the cat " * number) for number in (1, 4, 2)]
    sampling = Sampling(max_tokens=14, temperature=0)
    wanted = alone(engine, rows, sampling)
    monkeypatch.setattr(session, "step", bounded(step, len))
    monkeypatch.setattr(session, "read", bounded(read, lambda new: sum(map(len, new))))
    asked = together(scheduler, rows, sampling)
    assert [asked[0].text, asked[2].text] == [wanted[0], wanted[2]]
    assert asked[1].done.wait(60)
    assert isinstance(asked[1].error, CacheFull)
    assert together(scheduler, rows[:1], sampling)[0].text == wanted[0]


def test_a_prompt_waits_for_room(engine, scheduler, monkeypatch):
    """What finds no room while others run is read when they have ended."""
    session, wanted = type(engine.open([[5]])), alone(engine, [[9], [7] * 40], GREEDY)
    read = session.read

    def bounded(self, rows, *rest):
        if scheduler.load["running"]:
            raise CacheFull("no room")
        return read(self, rows, *rest)

    first = Asked([9])
    scheduler.submit([first.request])
    assert first.first.wait(60)
    monkeypatch.setattr(session, "read", bounded)
    second = Asked([7] * 40)
    scheduler.submit([second.request])
    assert [first.text, second.text] == wanted


def test_what_is_kept_is_bounded_in_bytes(engine):
    size = engine.open([list(range(5, 105))]).nbytes
    kept = Prefixes(3 * size)
    for start in range(6):
        kept.keep(engine.open([list(range(5 + start, 105 + start))]))
        assert kept.held <= 3 * size
    assert kept.best(list(range(10, 110)))[1] == 99  # the newest are there, the oldest are not
    assert kept.best(list(range(5, 105))) == (None, 0)
    kept.keep(engine.open([list(range(5, 305))]))
    assert kept.held <= 3 * size
    Prefixes(0).keep(engine.open([[5, 6]]))
