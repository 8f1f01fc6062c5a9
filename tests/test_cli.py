"""The command line loads nothing it does not need, and speaks in one line."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib import import_module

import click
import pytest

from shoestring import ui
from shoestring._errors import InputError
from shoestring._extras import packages
from shoestring.cli import VERBS, command, overview
from shoestring.relay.commands.main import VERBS as RELAY


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running the code."""
    program = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_loads_only_the_standard_library():
    third_party = loaded_by("import shoestring") - loaded_by("pass") - set(sys.stdlib_module_names)
    assert third_party == {"shoestring"}


def test_help_loads_only_the_standard_library():
    third_party = loaded_by("from shoestring.cli import main; main(['--help'])") - loaded_by("pass")
    assert third_party - set(sys.stdlib_module_names) == {"shoestring"}


def test_counting_plain_text_loads_what_it_uses_only(tmp_path):
    (tmp_path / "a.txt").write_text("我来到北京清华大学\n" * 9, encoding="utf-8")
    arguments = ["count", str(tmp_path / "a.txt"), "-o", str(tmp_path / "a.tsv"), "-q", "--workers", "2"]
    code = f"from shoestring.cli import main\ntry: main({arguments!r})\nexcept SystemExit: pass"
    loaded_by(code)  # compiles the dictionary where it is not cached
    slow = "concurrent csv email hashlib jieba json logging numpy pyarrow rich shutil tempfile tqdm zipfile"
    assert loaded_by(code) & {*slow.split()} - loaded_by("pass") == set()


def test_every_verb_of_the_table_is_a_command():
    for target, _ in VERBS.values():
        module, function = target.split(":")
        assert callable(getattr(import_module(module), function).main)


def commands() -> dict[str, click.Command | None]:
    """Every command and subcommand; the relay's, which do without click, are None."""
    found: dict[str, click.Command | None] = {}
    for verb in VERBS:
        made = command(verb)
        if not isinstance(made, click.Command):
            found |= {f"{verb} {name}": None for name in RELAY}
        elif isinstance(made, ui.Group):
            found |= {verb: made.own} if made.own else {}
            found |= {f"{verb} {name}": each for name, each in made.commands.items()}
        else:
            found[verb] = made
    return found


def test_every_command_has_what_the_help_promises(capsys):
    assert "Every command has --help, --json, -q/--quiet and --debug" in overview()
    found = commands()
    assert {"relay status", "count", "count bench", "lm serve", "completion"} <= {*found}
    for name, each in found.items():
        verb, *sub = name.split()
        with suppress(SystemExit):
            (each.main if each else command(verb).main)(
                ["--help"] if each else [*sub, "--help"], prog_name=name
            )
        text = capsys.readouterr().out
        for flag in ("--help", "--json", "-q", "--quiet", "--debug"):
            assert flag in text, f"{name} has no {flag}"


def choices(name: str, option: str) -> list[str]:
    made = commands()[name]
    assert made is not None
    return list(next(each for each in made.params if each.name == option).type.choices)


def test_options_offer_what_the_functions_take():
    from shoestring.grow.growing import VERIFY
    from shoestring.grow.plan.request import PLACES
    from shoestring.grow.stored.dtypes import OF_TORCH
    from shoestring.grow.tensors.splits import SPLITS
    from shoestring.transformer.checkpoints.convert import HEADS

    assert choices("grow", "verify") == [*VERIFY]
    assert choices("grow plan", "place") == [*PLACES]
    assert choices("grow plan", "split") == [*SPLITS]
    assert {*choices("grow", "dtype")} == {*OF_TORCH}
    assert choices("convert", "head") == [*HEADS]


def test_every_device_is_one_of_a_list():
    for name, each in commands().items():
        for option in each.params if each else ():
            if option.name == "device":
                assert isinstance(option.type, ui.Device), name
    device = ui.Device(numbered=True)
    assert [device(each) for each in ("auto", "cpu", "cuda", "cuda:1", "mps")] == [
        "auto",
        "cpu",
        "cuda",
        "cuda:1",
        "mps",
    ]
    for wrong in ("gpu", "cuda:N", "cuda:", "cuda:-1", ""):
        with pytest.raises(click.UsageError):
            device(wrong)
    with pytest.raises(click.UsageError, match="is not one of 'auto', 'cpu', 'cuda', 'mps'"):
        ui.Device()("cuda:1")


def test_env_reports_versions_as_json(shoestring):
    done = shoestring("env", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["python"].startswith(".".join(map(str, sys.version_info[:3])))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lm", "genrate"], "shoestring lm: no subcommand 'genrate'; did you mean 'generate'?"),
        (["count", "plto"], "shoestring count: no subcommand and no file 'plto'; did you mean 'plot'?"),
        (["match", "train", "--bse", "x"], "shoestring match train: no such option '--bse'"),
    ],
)
def test_did_you_mean_at_every_level(shoestring, words, line):
    done = shoestring(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(shoestring, shell):
    assert "_SHOESTRING_COMPLETE" in shoestring("completion", shell).stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("shoestring mat", "match"), ("shoestring match tr", "train"), ("shoestring relay si", "simulate")],
)
def test_completion_knows_verbs_and_subcommands(shoestring, typed, offered):
    words = typed.split()
    asked = {"_SHOESTRING_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    assert f"plain,{offered}" in shoestring(env={**os.environ, **asked}).stdout


def test_a_character_that_stdout_lacks_is_escaped(shoestring):
    done = shoestring("count", "没有", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert "\\u6ca1\\u6709" in done.stderr


def test_a_missing_model_is_refused_at_once_and_the_nearest_named(shoestring, tmp_path):
    (tmp_path / "my-model").mkdir()
    done = shoestring("match", "predict", "my-modle", "a", "b")
    assert done.returncode == 1
    assert done.stderr == (
        "InputError: my-modle: no such folder; did you mean my-model?; for a model on the hub, type hf:my-modle\n"
    )


def test_an_extra_is_named_by_its_packages():
    assert "jieba==0.42.1" in packages("count")
    assert any(each.startswith("torch") for each in packages("lm"))
    assert not any(each.startswith("shoestring") for each in packages("all"))


def test_unknown_verb_is_a_usage_error(shoestring):
    done = shoestring("enw")
    assert done.returncode == 2
    assert done.stderr == "shoestring: no command 'enw'; did you mean 'env'?\n"


@ui.command("fail")
@click.argument("kind")
def fail(ui, kind):
    """Fails in a given way."""
    if kind == "ours":
        raise InputError("corpus.txt: empty")
    if kind == "unforeseen":
        raise TypeError("unhashable type: 'list'")
    if kind == "memory":
        raise MemoryError
    if kind == "disk":
        raise OSError(28, "No space left on device", "out.tsv")
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("ours", 1, "InputError: corpus.txt: empty"),
        ("disk", 1, "OutputError: out.tsv: No space left on device; make room"),
        ("unforeseen", 1, "Unexpected TypeError: unhashable type: 'list'; run again with --debug"),
        ("memory", 1, "MemoryError: the memory of this machine does not suffice"),
        ("ctrl-c", 130, "Interrupted"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(kind, code, line, capsys):
    with pytest.raises(SystemExit) as stop:
        fail.main([kind])
    err = capsys.readouterr().err
    assert stop.value.code == code
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_ctrl_c_while_torch_is_imported_is_one_line(tmp_path):
    """C++ that runs Python during torch's import aborts on an exception: here it would be swallowed."""
    (tmp_path / "torch.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "shoestring", "lm", "chat", "no-such-thing"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )
    assert (done.returncode, done.stderr.splitlines()) == (130, ["Interrupted: nothing had begun"])


def test_debug_shows_the_traceback():
    with pytest.raises(InputError):
        fail.main(["--debug", "ours"], standalone_mode=False)


def test_table_lines_up_chinese(capsys):
    ui.UI().table(["word", "count"], [("我们", 12), ("word", 3)])
    lines = capsys.readouterr().out.splitlines()
    width = [len(line.encode("gbk")) for line in lines if line.strip() and "─" not in line]
    assert len(set(width)) == 1
