"""Every family that is not refused equals transformers' own uncached forward pass, in whatever way it is asked.

`python -m pytest tests/lm/engines/test_families.py -m '' -s` prints the matrix: N exact, M refused by name.
"""

import re

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN
from transformers.pytorch_utils import Conv1D

from shoestring._errors import OptionError
from shoestring.lm.engines.families import EXACT, require_known
from shoestring.lm.engines.load import load
from shoestring.lm.weights import few_bits
from shoestring.lm.weights.few_bits import Embedding8, Linear8, LinearLow
from shoestring.lm.weights.quantize import from_int8, from_low

from ..families import VOCABULARY, saved

SOME = (
    "bloom",
    "falcon",
    "gemma3_text",
    "gpt2",
    "gpt_neo",
    "gpt_oss",
    "llama",
    "mistral",
    "mixtral",
    "phi3",
    "qwen3",
)
FAMILIES = sorted(EXACT - {"shoestring"})


def whole(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)


def last(model, row):
    return whole(model, row)[-1]


def agree(found, wanted):
    assert (torch.as_tensor(found, dtype=torch.float64) - wanted).abs().max() < 2e-3


def following(model, ids, start):
    table = whole(model, ids)
    return torch.stack([table[place - 1, ids[place]] for place in range(start, len(ids))])


@pytest.fixture(params=[f if f in SOME else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES])
def pair(request, tmp_path):
    model = saved(request.param, tmp_path)
    return load(tmp_path, precision="fp32"), model, tmp_path


def test_a_family_equals_transformers_without_a_cache(pair):
    engine, model, folder = pair
    drawn = torch.randint(3, VOCABULARY, (400,), generator=torch.Generator().manual_seed(0)).tolist()
    numbers = iter(drawn)

    def ids(count):
        return [next(numbers) for _ in range(count)]

    text = ids(30)
    agree(engine.logprobs(text), following(model, text, 1))

    rows = [ids(3), ids(20), ids(9)]  # padded on the left
    session = engine.open([list(row) for row in rows])
    for tokens in ([5, 6, 7], [8, 9, 10], [20, 21, 22]):
        session.step(tokens)
        rows = [[*row, token] for row, token in zip(rows, tokens, strict=True)]
    for row, logits in zip(rows, session.logits, strict=True):
        agree(logits.double().log_softmax(-1), last(model, row))

    row = ids(4)
    session = engine.open([row])
    for token in ids(14):  # past the window
        session.step([token])
        row = [*row, token]
    agree(session.logits[0].double().log_softmax(-1), last(model, row))

    forked, more = session.fork(12), ids(4)
    forked.extend(more)
    agree(forked.logits[0].double().log_softmax(-1), last(model, row[:12] + more))

    other = ids(5)
    session.join([engine.open([other])])
    session.step([7, 8])
    session.select([1, 0])
    session.step([4, 5])
    for found, wanted in zip(session.logits, ([*other, 8, 4], [*row, 7, 5]), strict=True):
        agree(found.double().log_softmax(-1), last(model, wanted))

    prompt, after, candidates = ids(17), ids(6), [ids(4), ids(1), ids(12), ids(3)]
    session = engine.open([prompt])
    for trunk in ([], after):
        for each, found in zip(candidates, session.score(candidates, after=trunk), strict=True):
            agree(found, following(model, prompt + trunk + each, len(prompt + trunk)))

    for precision in ("int8", "int4"):
        few_bits_equal_their_weights(folder, model, precision, drawn[:20])


def few_bits_equal_their_weights(folder, model, precision, ids):
    """A quantized model is the one whose weights are what the bits stand for; only then are activations rounded."""
    try:
        engine = load(folder, precision=precision)
    except OptionError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert re.search("in int8 or int4: .* pass --precision bf16", refusal)
        return
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        for name, module in engine.model.named_modules():
            if isinstance(module, Linear8 | LinearLow | Embedding8):
                original = model.get_submodule(name)
                weight = stands_for(module, original)
                original.weight.copy_(weight.t() if isinstance(original, Conv1D) else weight)
        patch.setattr(few_bits, "_kernel", None)
        patch.setattr(engine, "fused", None)  # test_fused has what rounding does there
        agree(engine.open([ids]).logits[0].double().log_softmax(-1), last(model, ids))
        for name, weight in model.named_parameters():
            weight.copy_(before[name])


def stands_for(module, original):
    if isinstance(module, Embedding8):
        tokens, hidden = original.weight.shape
        return from_int8(module.levels, module.scale)[:tokens, :hidden]
    unpacked = from_low if isinstance(module, LinearLow) else from_int8
    parts = [getattr(module, part) for part in ("levels", "scale", "zero", "unit") if hasattr(module, part)]
    return unpacked(*parts)[: module.outputs, : module.inputs]


def test_the_others_are_refused_by_name(capsys):
    refused = sorted(set(KNOWN) - EXACT)
    for kind in refused:
        with pytest.raises(OptionError, match=f"model_type '{kind}': not among the {len(EXACT)} families"):
            require_known(kind)
    assert {"bert", "mamba", "lfm2", "recurrent_gemma", "bart", "qwen3_next"} <= set(refused)
    print(f"{len(FAMILIES)} exact, {len(refused)} refused by name")
