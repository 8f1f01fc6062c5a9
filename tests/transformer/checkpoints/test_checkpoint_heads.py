"""The head of a checkpoint: carried over, asked to start anew, or refused, and never dropped in silence."""

import pytest
from test_checkpoints import GPT2, SIZES, main_exits, theirs
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMultipleChoice,
    GPT2Config,
    GPT2DoubleHeadsModel,
)

from shoestring._errors import InputError
from shoestring.transformer import from_checkpoint


def test_a_classifier_starts_anew_and_says_so(tmp_path, capsys):
    theirs("bert").save_pretrained(tmp_path / "a")
    arguments = ["--head", "sequence-classification", "--set", "num_labels=3"]
    main_exits(["convert", str(tmp_path / "a"), "-o", str(tmp_path / "b"), *arguments], 0)
    assert "not in the source, starts anew: score.bias, score.weight" in capsys.readouterr().err
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "b").config.num_labels == 3


@pytest.mark.parametrize(
    "model", [BertForMultipleChoice(BertConfig(**SIZES)), GPT2DoubleHeadsModel(GPT2Config(**GPT2))]
)
def test_a_head_without_counterpart_is_not_dropped_unasked(model, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"{type(model).__name__}.*--head none"):
        from_checkpoint(tmp_path)
    assert from_checkpoint(tmp_path, head="none").head == "none"


def test_a_classifier_that_was_saved_never_starts_anew(tmp_path):
    model = theirs("bert, classes")
    state = {name: tensor for name, tensor in model.state_dict().items() if "classifier" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(InputError, match=r"lacks score\.bias and 1 more"):
        from_checkpoint(tmp_path)
