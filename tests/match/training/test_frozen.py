"""Lower layers that are frozen are computed once, and train as computed ones; a joined encoder reads apart below."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from shoestring._errors import OptionError
from shoestring.match.training.frozen import frozen
from shoestring.match.training.model import build
from shoestring.match.training.settings import Training


@pytest.mark.parametrize("kind", ["bi", "cross"])
def test_remembered_layers_train_as_computed_ones(base, pairs, kind):
    """The same steps with and without the memory give the same weights."""
    from shoestring.match.training.losses import CoSENTLoss

    weights, batch = [], pairs(24, 1)
    batch = replace(batch, first=["猫[PAD]狗", *batch.first[1:]])  # which is how the tokenizer pads, too
    labels = torch.tensor(batch.labels)
    for cached in (True, False):
        torch.manual_seed(0)
        model = (SentenceTransformer if kind == "bi" else CrossEncoder)(
            str(base), device="cpu", **({} if kind == "bi" else {"num_labels": 1})
        )
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with frozen(model, 2, cached):
            model.train()
            optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
            for step in range(3):
                torch.manual_seed(step)
                texts = [list(batch.first), list(batch.second)]
                features = texts if kind == "cross" else [model.preprocess(each) for each in texts]
                optimizer.zero_grad()
                CoSENTLoss(model)(features, labels).backward()
                optimizer.step()
        weights.append(model.state_dict())
    changed = [name for name in before if not torch.equal(before[name], weights[0][name])]
    assert changed
    assert not any("layer.0." in name or "layer.1." in name or "embeddings" in name for name in changed)
    for name in before:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-4, atol=1e-5)


def test_a_joined_encoder_reads_texts_apart_below_and_both_above(base, pairs):
    """By transformers' own layers: two bi-encoders' states, side by side, through what is left of the model."""
    from transformers import AutoModel

    plain, some = AutoModel.from_pretrained(base), list(pairs(6, 1))
    stack = plain.encoder.layer
    model = build(base, Training(mode="joined", freeze=2, prompt="猫", max_length=16, device="cpu"), 2).eval()
    wanted = []
    for pair in some:
        ids = [torch.tensor([model.tokenizer("猫" + text)["input_ids"]]) for text in pair]
        plain.encoder.layer = stack[:2]
        with torch.no_grad():
            states = torch.cat([plain(each).last_hidden_state for each in ids], dim=1)
            for layer in stack[2:]:
                states = layer(states)
        one, two = states[0].split([each.shape[1] for each in ids])
        wanted.append(float(torch.cosine_similarity(one.mean(dim=0), two.mean(dim=0), dim=0)))
    with frozen(model, 2):
        assert model.predict(some) == pytest.approx(wanted, abs=1e-5)
        assert model.predict([pair[::-1] for pair in some]) == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(OptionError, match="apart in frozen layers only"):
        model.predict(some)
