"""A folder of ours loads in a process that cannot import shoestring, and says the same."""

import ast
import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from shoestring.transformer import (
    ShoestringConfig,
    ShoestringForCausalLM,
    ShoestringForMaskedLM,
    ShoestringModel,
)
from shoestring.transformer.model.standalone import MODULE, source

SIZES = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 4,
    "initializer_range": 0.4,
    "eos_token_id": None,
}
BERT = {
    "norm": "layer", "norm_position": "post", "position": "learned", "hidden_act": "gelu", "gated": False,
    "attention_bias": True, "mlp_bias": True, "type_vocab_size": 2, "head_transform": True, "head_bias": True,
    "pooler": True, "embedding_size": 12,
}  # fmt: skip
TALKING = {"talking_heads": "both", "num_key_heads": 2, "num_value_heads": 6, "num_key_value_heads": 2, "value_size": 3,
           "key_size": 8}  # fmt: skip
FORMS = {
    "plain": {"is_decoder": True},
    "talking": {"is_decoder": True, **TALKING},
    "dynamic": {"is_decoder": True, "talking_heads": "both", "dynamic_talking_heads": True},
    "distances": {"is_decoder": True, "position": "relative"},
    "source first": {**BERT, "is_decoder": True, "prefix_lm": True},
    "encoder": BERT,
}

# Runs with a finder in front that knows no shoestring.
STRANGER = """
import json, sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("shoestring", "jaxtyping"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nowhere())
sys.path = [place for place in sys.path if not place.endswith("/src")]
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

found = {}
ids = torch.arange(5, 12)[None].expand(2, -1).clone()
ids[1] += 3
for name in sys.argv[1:]:
    auto = AutoModelForMaskedLM if name.endswith("encoder") else AutoModelForCausalLM
    model = auto.from_pretrained(name, trust_remote_code=True).eval()
    with torch.no_grad():
        found[name] = [model(ids).logits.double().sum().item()]
    if not name.endswith("encoder"):
        how = {"max_new_tokens": 32, "do_sample": False, "pad_token_id": 0}
        for cache in ({}, {"cache_implementation": "static", "disable_compile": True}):
            found[name].append(model.generate(ids, **how, **cache).tolist())
    model.save_pretrained(name + "-again")
print(json.dumps(found))
"""


def model_of(settings):
    torch.manual_seed(0)
    kind = ShoestringForCausalLM if settings.get("is_decoder") else ShoestringForMaskedLM
    model = kind(ShoestringConfig(**SIZES, **settings)).eval()
    for name, parameter in model.named_parameters():
        if "_mix" in name or ".dynamic." in name or name.endswith("bias"):
            parameter.data += 0.3 * torch.randn(parameter.shape)
    return model


def test_it_loads_and_says_the_same_where_shoestring_cannot_be_imported(tmp_path):
    models = {name.replace(" ", "_"): model_of(settings) for name, settings in FORMS.items()}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, *models], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    ids = torch.arange(5, 12)[None].expand(2, -1).clone()
    ids[1] += 3
    for name, model in models.items():
        total, *texts = found[name]
        with torch.no_grad():
            assert total == pytest.approx(model(ids).logits.double().sum().item(), abs=1e-3)
        for text in texts:
            assert text == model.generate(ids, max_new_tokens=32, do_sample=False, pad_token_id=0).tolist()
        again = AutoModel.from_pretrained(tmp_path / f"{name}-again")  # saved by the stranger, read by us
        assert isinstance(again, ShoestringModel)
        assert (tmp_path / f"{name}-again" / f"{MODULE}.py").is_file()


def test_where_shoestring_is_its_own_classes_are_taken(tmp_path):
    model_of(FORMS["talking"]).save_pretrained(tmp_path)
    for trust in ({}, {"trust_remote_code": True}):
        assert type(AutoModelForCausalLM.from_pretrained(tmp_path, **trust)) is ShoestringForCausalLM


def test_the_file_stands_alone():
    """It imports torch, transformers and the standard library alone, and defines every name once."""
    tree = ast.parse(source())
    tops = {str(node.module).partition(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
    tops |= {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert tops <= {*sys.stdlib_module_names, "torch", "transformers"}
    names = [node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    assert len(names) == len(set(names))
    assert "shoestring." not in source().replace("shoestring.transformer", "")
