"""What is held between tokens: grown with few copies, and whole after what ended early."""

from itertools import pairwise

import pytest
import torch

from shoestring.lm.engines import cache as caches
from shoestring.lm.engines.load import load


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_session_is_as_it_was_after_an_error(folder, precision, monkeypatch):
    """Memory that is out at any layer, or Ctrl-C in a prompt: going on gives what it would have given."""
    engine = load(folder, precision=precision)
    monkeypatch.setattr("shoestring.lm.engines.torch.CHUNK", 2)
    wanted, session = engine.open([[9, 8, 7], [6, 5]]), engine.open([[9, 8, 7], [6, 5]])
    long = [[20, 21, 22, 23, 24], [25]]
    for failing in (0, 1, 3):  # of the two layers' four buffers
        run_out(session, failing, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        session.read(long, progress=pressed)
    for each in (wanted, session):
        each.step([3, 4])
        each.read(long)
    assert session.ids == wanted.ids
    assert torch.equal(session.logits, wanted.logits)


def run_out(session, failing, monkeypatch):
    left, real = [failing], caches._with_room

    def with_room(*given):
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError
        return real(*given)

    for layer in session.cache.layers:  # no room is left, so that each layer asks for more
        layer.hold(layer.keys.clone(), layer.values.clone())
    with monkeypatch.context() as patch:
        patch.setattr(caches, "_with_room", with_room)
        with pytest.raises(MemoryError):
            session.step([1, 2])


def pressed(count):
    raise KeyboardInterrupt


def test_what_is_held_is_copied_few_times():
    layer, new, places = caches.GrowingLayer(), torch.ones(1, 2, 1, 4), []
    for token in range(5000):
        keys, values = layer.update(new * token, -new * token)
        places.append(keys.data_ptr())
    assert torch.equal(keys[0, 1, :, 0], torch.arange(5000.0))
    assert torch.equal(values, -keys)
    assert sum(a != b for a, b in pairwise(places)) <= 12
