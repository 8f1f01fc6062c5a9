"""transformers' own `ModelTesterMixin` and `GenerationTesterMixin` against our classes: passed, failed, skipped, why.

    git clone https://github.com/huggingface/transformers checkout
    python benchmarks/hugging_face.py checkout [release]

Their tests are read from the checkout that one gives (nothing of it is kept here); `parameterized` must be installed.
Where the checkout is not of the installed version, `release` is an unpacked source distribution of that one: it has
tests/test_modeling_common.py, though not tests/generation. Without a folder nothing is run. A test that transformers'
own Llama or BERT fails too, because tests and what is installed are of two versions, says nothing of us and is counted
as skipped. The same checks in our own words are tests/transformer/test_conventions.py.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
import tempfile
import unittest
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

COMMON = {
    "vocab_size": 99, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 37,
    "max_position_embeddings": 512, "num_key_value_heads": 4, "dropout": 0.0,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
BERT = {
    "norm": "layer", "norm_position": "post", "position": "learned", "hidden_act": "gelu", "gated": False,
    "attention_bias": True, "mlp_bias": True, "type_vocab_size": 2, "head_transform": True, "head_bias": True,
    "pooler": True,
}  # fmt: skip
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"is_decoder": True},
    "both": {"is_decoder": True, "talking_heads": "both"},
    "both, shared keys, unequal heads": {
        "is_decoder": True, "talking_heads": "both", "num_key_heads": 2, "num_value_heads": 6, "num_key_value_heads": 2,
        "key_size": 8, "value_size": 4,
    },
    "dynamic": {"is_decoder": True, "talking_heads": "both", "dynamic_talking_heads": True},
    "BERT-like": BERT,
    "learned positions": {"is_decoder": True, "position": "learned"},
}  # fmt: skip

# What cannot be asked of these classes, and why: told in the result, never hidden.
NOT_ASKED = {
    "test_flex_attention": "flex attention is refused: it has no hook after the softmax",
}


class Tester:
    """What the mixins ask of a model's own tests."""

    batch_size, seq_length, is_training = 13, 7, True
    hidden_size, num_hidden_layers, num_attention_heads, vocab_size = 32, 2, 4, 99

    def __init__(self, config: Callable[[], Any]) -> None:
        self.get_config = config
        made = config()
        self.num_attention_heads = getattr(
            made, "num_value_heads", 4
        )  # there are as many weights as value heads

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        """Returns a config and a padded batch."""
        import torch

        ids = torch.randint(3, self.vocab_size, (self.batch_size, self.seq_length))
        mask = torch.ones_like(ids).tril()  # rows of every length
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}


class OurShapes:
    """What the mixins expect of caches and weights where head counts and widths may differ."""

    def _check_attentions_for_generate(self, *, config: Any, **given: Any) -> None:
        seen = copy.copy(config)
        seen.num_heads = config.num_value_heads
        super()._check_attentions_for_generate(config=seen, **given)  # pyrefly: ignore

    def _check_past_key_values_for_generate(
        self, batch_size: int, past_key_values: Any, seq_length: int, config: Any
    ) -> None:
        """Values may have another width, and dynamic mixes keep something beside a key."""
        assert len(past_key_values.layers) == config.num_layers
        groups = config.num_key_value_heads
        keys = (groups or config.num_key_heads) * config.key_size
        values = (groups or config.num_value_heads) * config.value_size
        for layer in past_key_values.layers:
            for found, width in ((layer.keys, keys), (layer.values, values)):
                assert (len(found), found.shape[2]) == (batch_size, seq_length)
                columns = found.shape[1] * found.shape[3]
                assert columns > width if config.dynamic_talking_heads else columns == width


def made(config: Callable[[], Any], classes: Sequence[type], decodes: bool, *first: type) -> type:
    """Returns a class of their tests: the base model first, then the language model, then the others."""
    import torch

    common = import_module("tests.test_modeling_common").ModelTesterMixin
    generation = import_module("tests.generation.test_utils").GenerationTesterMixin
    bases = (*first, common, *((generation,) if decodes else ()), unittest.TestCase)

    class Form(*bases):  # pyrefly: ignore
        all_model_classes = tuple(classes)
        all_generative_model_classes = (classes[1],) if decodes else ()
        test_resize_position_embeddings = False

        def setUp(self) -> None:
            self.model_tester = Tester(config)

        def _prepare_for_class(self, inputs: dict[str, Any], kind: type, return_labels: bool = False) -> Any:
            inputs, rows = dict(inputs), len(inputs["input_ids"])
            if return_labels and "QuestionAnswering" in kind.__name__:
                inputs["start_positions"] = inputs["end_positions"] = torch.ones(rows, dtype=torch.long)
            elif return_labels and "SequenceClassification" in kind.__name__:
                inputs["labels"] = torch.zeros(rows, dtype=torch.long)
            elif return_labels and kind is not classes[0]:
                inputs["labels"] = torch.zeros_like(inputs["input_ids"])
            return inputs

    for name, why in NOT_ASKED.items():
        for test in [test for test in dir(Form) if test.startswith(name)]:
            setattr(Form, test, unittest.skip(why)(getattr(Form, test)))
    return Form


def test_cases() -> dict[str, type]:
    """Returns a test class for each form of ours."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    from shoestring import transformer as ours

    MODEL_MAPPING_NAMES["shoestring"] = "ShoestringModel"  # a model without a head has no loss to train
    heads = (ours.ShoestringForSequenceClassification, ours.ShoestringForTokenClassification,
             ours.ShoestringForQuestionAnswering)  # fmt: skip
    found = {}
    for name, settings in FORMS.items():
        decodes = settings.get("is_decoder", False)
        language = ours.ShoestringForCausalLM if decodes else ours.ShoestringForMaskedLM
        config = partial(ours.ShoestringConfig, **{**COMMON, **settings})
        found["Test_" + re.sub(r"\W+", "_", name)] = made(
            config, (ours.ShoestringModel, language, *heads), decodes, OurShapes
        )
    return found


def controls() -> dict[str, type]:
    """Returns the same test classes for transformers' own models."""
    import transformers as theirs

    sizes = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
             "intermediate_size": 37, "max_position_embeddings": 512, "pad_token_id": 0}  # fmt: skip
    llama, bert = partial(theirs.LlamaConfig, **sizes), partial(theirs.BertConfig, **sizes)
    return {
        "Test_Llama": made(llama, (theirs.LlamaModel, theirs.LlamaForCausalLM), True),
        "Test_Bert": made(bert, (theirs.BertModel, theirs.BertForMaskedLM), False),
    }


class Tally:
    """Collects pytest's reports."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest for each test and subtest."""
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skipped[reason.removeprefix("Skipped: ").splitlines()[0][:120]] += 1
        elif report.failed:
            self.failed[report.nodeid.partition("::")[2]] = (
                str(report.longrepr).strip().splitlines()[-1][:200]
            )
        elif report.when == "call":
            self.passed.append(report.nodeid)


def ran(cases: str, options: Sequence[str]) -> Tally:
    """Runs one of the functions that return test classes under pytest."""
    import pytest

    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, f"test_{cases}.py")
        module.write_text(
            f"from hugging_face import {cases} as cases\n\nglobals().update(cases())\ndel cases\n"
        )
        fixed = [
            "-qq",
            "--no-header",
            "-W",
            "ignore",
            "-p",
            "no:cacheprovider",
            "--tb=short",
            "--rootdir",
            folder,
        ]
        pytest.main([str(module), *fixed, *options], plugins=[tally])
    return tally


def version(checkout: Path) -> str:
    """Returns which transformers a checkout is."""
    text = (checkout / "src" / "transformers" / "__init__.py").read_text("utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0]


def main(arguments: list[str]) -> int:
    """Runs them and says what came out; further arguments are pytest's, such as -k."""
    if not arguments:
        print("their tests are not here; give the folder of a checkout of huggingface/transformers")
        return 0
    folders = [Path(each).resolve() for each in arguments[:2] if Path(each).is_dir()]
    options = arguments[len(folders) :]
    if not folders or not (folders[0] / "tests" / "generation").is_dir():
        print(f"{arguments[0]}: no checkout of huggingface/transformers, tests/generation is missing")
        return 1
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    sys.path[:0] = [str(folders[0]), str(Path(__file__).parent)]
    import_module("tests").__path__[:0] = [str(folders[-1] / "tests")]
    import transformers

    tally = ran("test_cases", options)
    if not tally.passed:
        print("their tests cannot be read with the installed transformers; see above")
        return 1
    if tally.failed:
        names = {node.rpartition("::")[2].partition(" ")[0].partition("[")[0] for node in tally.failed}
        theirs = ran("controls", ["-k", " or ".join(sorted(names))]).failed
        for node in list(tally.failed):
            if any(name in node and name in other for name in names for other in theirs):
                del tally.failed[node]
                tally.skipped["transformers' own Llama or BERT fails it too"] += 1
    result = {
        "transformers": transformers.__version__, "tests of models": version(folders[-1]),
        "tests of generation": version(folders[0]), "forms": len(FORMS),
        "passed": len(tally.passed), "failed": tally.failed, "skipped": dict(tally.skipped.most_common()),
    }  # fmt: skip
    print(f"forms {len(FORMS)}, {len(tally.passed)} passed, {len(tally.failed)} failed, skipped:")
    for reason, count in tally.skipped.most_common():
        print(f"  {count:4} {reason}")
    if not options:
        (RESULTS / "hugging_face.json").write_text(json.dumps(result, indent=1) + "\n")
    return bool(tally.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
