"""`lm fewshot` says of labels that it cannot find that it cannot; `lm choose` names no option that it lacks."""

from pathlib import Path

import pytest

from lm.chat_model import chat_folder
from shoestring.cli import main


def typed(capsys, *words):
    with pytest.raises(SystemExit):
        main(["lm", *map(str, words), "--device", "cpu"])
    return capsys.readouterr()


def test_wanted_answers_that_are_no_candidates_are_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = chat_folder(tmp_path / "talker")
    Path("shots.tsv").write_text("the cat\tgood\nthe dog\tbad\n", "utf-8")
    Path("test.tsv").write_text("the cat\tGood\nthe dog\tbad\nthe end\tnone\n", "utf-8")
    fewshot = ("fewshot", model, "shots.tsv", "--template", "sentiment", "--test")
    said = typed(capsys, *fewshot, "test.tsv", "--choose").err
    assert "wanted, but none of the shots' answers, so never right: Good, none" in said
    assert "never right" not in typed(capsys, *fewshot, "shots.tsv", "--choose").err
    assert "never right" not in typed(capsys, *fewshot, "test.tsv").err


def test_a_prompt_that_is_too_long_is_not_cut_by_an_option_of_others(tmp_path, capsys):
    model = chat_folder(tmp_path / "talker")
    said = typed(capsys, "choose", model, "the cat " * 5000, "a", "b").err
    assert "more than the model's" in said
    assert "truncate" not in said
    assert "--truncate" in typed(capsys, "generate", model, "the cat " * 5000).err
