"""A conversation in this process and in the terminal: the same text as one that is read anew at every turn."""

import os
import pty
import subprocess
import sys
import time

import pytest

from lm.chat_model import chat_folder as saved
from promised import kept
from shoestring._errors import InputError
from shoestring.lm.engines.load import load
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.serve.talking import Talk

GREEDY = Sampling(max_tokens=12, temperature=0)


@pytest.fixture(scope="module")
def engine(chat_folder):
    return load(chat_folder)


def afresh(engine, messages, sampling=GREEDY):
    text = engine.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return generate(engine, [engine.texts.encode_chat(text)], sampling)[0][0].text


def test_each_turn_is_what_the_whole_conversation_gives(engine):
    talk, messages = Talk(engine, GREEDY, "be brief"), [{"role": "system", "content": "be brief"}]
    for said in ("the cat", "你好😀", "and?"):
        messages.append({"role": "user", "content": said})
        answer = "".join(talk.say(said))
        assert answer == afresh(engine, messages)
        messages.append({"role": "assistant", "content": answer})
    talk.anew()
    assert "".join(talk.say("the cat")) == afresh(engine, [messages[0], messages[1]])


def test_an_answer_that_is_left_is_kept_as_far_as_it_came(engine):
    talk = Talk(engine, GREEDY)
    pieces = talk.say("the cat")
    given = next(pieces) + next(pieces)
    pieces.close()
    assert talk.messages[-1].content == given
    said = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": given}]
    assert "".join(talk.say("and?")) == afresh(engine, [*said, {"role": "user", "content": "and?"}])


def test_old_turns_are_forgotten_when_there_is_no_more_room(tmp_path):
    engine = load(saved(tmp_path / "short", positions=96))
    talk = Talk(engine, GREEDY, "be brief")
    for _ in range(6):
        list(talk.say("the cat sat on the mat"))
    assert talk.forgotten > 0
    assert talk.messages[0].content == "be brief"
    with pytest.raises(InputError, match="more than the model's 95 positions"):
        list(talk.say("cat " * 200))
    list(talk.say("the cat"))  # goes on


def test_lines_of_a_pipe(shoestring, chat_folder, engine):
    done = shoestring("lm", "chat", chat_folder, "--temperature", 0, "--max-tokens", 12, "--json", "-q",
                      input="the cat\n\nand?\n")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = kept("lm chat", done.stdout)["messages"]
    assert [each["role"] for each in found] == ["user", "assistant"] * 2
    assert found[1]["content"] == afresh(engine, found[:1])
    assert found[3]["content"] == afresh(engine, found[:3])


def test_in_a_terminal(chat_folder, engine):
    """A real terminal: the answer comes, /new forgets, Ctrl-D leaves."""
    keyboard, terminal = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "shoestring",
        "lm",
        "chat",
        str(chat_folder),
        "--temperature",
        "0",
        "--max-tokens",
        "12",
    ]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        for line in (b"the cat\n", b"/new\n", b"the cat\n"):
            os.write(keyboard, line)
        time.sleep(0.2)
        os.write(keyboard, b"\x04")
        out, told = running.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal)
    assert running.returncode == 0
    answer = afresh(engine, [{"role": "user", "content": "the cat"}])
    assert out.decode().count(answer) == 2
    assert "/new starts over" in told.decode()
