"""Answers that must follow a grammar, by a model of random weights."""

import json
import re

import pytest

from shoestring._errors import OptionError
from shoestring.lm.engines.load import load
from shoestring.lm.generation import grammar
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "colour": {"enum": ["red", "青"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "age", "colour", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(chat_folder):
    return load(chat_folder)


def made(engine, rule, seed, **settings):
    (row,) = generate(engine, ["the cat"], Sampling(max_tokens=200, grammar=rule, seed=seed, **settings))
    return row[0]


@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"temperature": 3.0, "top_p": 0.5}])
def test_json_of_a_schema(engine, settings):
    rule = grammar.of_schema(PERSON)
    for seed in range(6):
        sample = made(engine, rule, seed, **settings)
        assert sample.finish == "stop"
        found = json.loads(sample.text)
        assert list(found) == PERSON["required"]
        assert 0 <= found["age"] <= 150
        assert found["colour"] in ("red", "青")
        assert len(found["name"]) <= 8


def test_one_of_a_list(engine):
    texts = ["a+b", "北京", "c|d", "x y\n", "[z]", "-", "a+"]
    rule = grammar.of_choice(texts)
    assert {made(engine, rule, seed, temperature=50.0).text for seed in range(40)} == set(texts)


def test_a_regular_expression(engine):
    for seed in range(5):
        assert re.fullmatch(
            r"[0-9]{4}-[a-f]{2}", made(engine, grammar.of_regex(r"[0-9]{4}-[a-f]{2}"), seed).text
        )


@pytest.mark.parametrize(
    "schema",
    [{"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, {"type": "strin"},
     {"type": "array", "uniqueItems": True}, {"not": {"type": "string"}}],
)  # fmt: skip
def test_schemas_that_are_not_understood_are_refused(schema):
    with pytest.raises(OptionError, match=r"^schema: "):
        grammar.of_schema(schema)


def test_broken_expressions_are_refused():
    with pytest.raises(OptionError, match=r"^regular expression: "):
        grammar.of_regex("(")
