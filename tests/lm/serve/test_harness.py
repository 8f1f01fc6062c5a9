"""lm-evaluation-harness, which we did not write, asks our server and transformers about the same weights.

Two small tasks, whose data this file makes: a multiple choice, and the perplexity of whole documents; equal to 1e-4.
"""

import json
import random

import pytest
import yaml

from lm.chat_model import TEXT
from lm.serving import running

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder with the tasks."""
    folder, draw = tmp_path_factory.mktemp("tasks"), random.Random(0)
    words = " ".join(TEXT).split()
    questions = [
        {
            "question": " ".join(draw.choices(words, k=6)),
            "choices": draw.sample(words, 4),
            "answer": number % 4,
        }
        for number in range(24)
    ]
    documents = [{"text": " ".join(draw.choices(words, k=20 + number))} for number in range(8)]
    common = {"dataset_path": "json", "test_split": "test", "metadata": {"version": 1}}
    choice = {
        "task": "made_choice", "output_type": "multiple_choice", "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
        ],
    }  # fmt: skip
    perplexity = {
        "task": "made_perplexity", "output_type": "loglikelihood_rolling", "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": name} for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")],
    }  # fmt: skip
    for task, rows in ((choice, questions), (perplexity, documents)):
        path = folder / f"{task['task']}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        settings = {**task, **common, "dataset_kwargs": {"data_files": {"test": str(path)}}}
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
    return folder


def evaluated(tasks, kind, **arguments):
    """Returns every metric and every log-likelihood."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        model=kind, model_args=arguments, tasks=["made_choice", "made_perplexity"], batch_size=4,
        task_manager=TaskManager(include_path=str(tasks)), bootstrap_iters=0,
    )  # fmt: skip
    metrics = {
        (task, name): value
        for task, values in found["results"].items()
        for name, value in values.items()
        if isinstance(value, float) and "stderr" not in name
    }
    samples = [
        float(part)
        for task in ("made_choice", "made_perplexity")
        for sample in sorted(found["samples"][task], key=lambda each: each["doc_id"])
        for answer in sample["filtered_resps"]
        for part in (answer if isinstance(answer, (list, tuple)) else [answer])
        if not isinstance(part, str) or part not in ("True", "False")
    ]
    return metrics, samples


@pytest.mark.slow
def test_the_harness_finds_what_it_finds_with_transformers(chat_folder, tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    wanted, told = evaluated(tasks, "hf", pretrained=str(chat_folder), device="cpu", dtype="float32")
    with running(chat_folder, "--device", "cpu") as server:
        found, asked = evaluated(
            tasks, "local-completions", model="talker", base_url=f"{server.url}v1/completions",
            tokenizer=str(chat_folder), max_length=512, num_concurrent=2,
        )  # fmt: skip
    assert found.keys() == wanted.keys()
    assert len(found) >= 5
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=TOLERANCE), name
    assert len(asked) > 100
    assert asked == pytest.approx(told, rel=TOLERANCE)
