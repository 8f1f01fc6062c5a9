"""At CPM's true width, two layers: shards -> folder -> few bits; the spec's limits of what quantization may change."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from shoestring.lm.engines.load import load
from shoestring.lm.weights.conversion import convert

from ..conftest import checkpoint

# Mean KL divergence from the fp32 model, as measured of peers at this width; int8 beside torch's dynamic layers,
# int4 beside q4_k_m.
LIMITS = {"int8": 1.9e-3, "int4": 1.6e-2, "gguf-f16": 1e-6, "gguf-q8_0": 2.5e-4, "gguf-q4_k_m": 1.6e-2}


@pytest.fixture(scope="module")
def width(tmp_path_factory, vocabulary):
    """The converted folder, and the log-probabilities of the model that the shards were made from."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=30_000, n_embd=2560, n_layer=2, n_head=32, n_positions=1024, bos_token_id=None,
        eos_token_id=7, pad_token_id=5,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval().half()
    folder = tmp_path_factory.mktemp("width")
    source = checkpoint(model, folder / "cpm", 2, zipped=False)
    convert(source, folder / "hf", vocabulary=vocabulary)
    ids = torch.randint(8, 30_000, (24,), generator=torch.Generator().manual_seed(1)).tolist()
    rows = [ids[:size] for size in range(3, 25, 3)]
    model = model.float()
    with torch.no_grad():
        logits = torch.cat([model(torch.tensor([row])).logits[:, -1] for row in rows])
    return folder, rows, logits.log_softmax(-1)


@pytest.mark.slow
def test_the_converted_model_says_the_same(width):
    folder, rows, wanted = width
    found = load(folder / "hf", precision="fp32", device="cpu").open(rows).logits.log_softmax(-1)
    assert (found - wanted).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("to", LIMITS)
def test_few_bits_change_as_little_as_the_best_peers(width, to):
    if to.startswith("gguf"):
        pytest.importorskip("llama_cpp", reason="the extra gguf is not installed")
    folder, rows, wanted = width
    convert(folder / "hf", folder / to, to=to)
    found = load(folder / to, device="cpu").open(rows).logits.log_softmax(-1)
    kl = (wanted.exp() * (wanted - found)).sum(-1).mean()
    print(f"{to}: KL {kl:.2e}")
    assert kl < LIMITS[to]
