"""The model as one Python file that needs only torch and transformers, for folders that are loaded without shoestring.

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

- The file is this package's own source, cut down to the model and the written-out back end and put in one piece: no
  second implementation that could differ. Its talking heads keep all logits in memory; the package's do not.
- `auto_map` in config.json tells transformers of it; where shoestring is imported, its classes are taken.
"""

from __future__ import annotations

import ast
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from shoestring._errors import InputError

MODULE = "modeling_shoestring"
HEADS = {
    "ForCausalLM": "AutoModelForCausalLM",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
}
# In order: each needs only what stands above it.
PARTS = (
    *(f"talking_heads.{name}" for name in ("counts", "dropout", "mix", "masks", "terms", "eager", "call")),
    *(f"talking_heads.{name}" for name in ("written_out", "head_mixes", "cache")),
    *(f"model.{name}" for name in ("configuration", "positions", "attention", "blocks", "masks", "losses")),
    *(f"model.{name}" for name in ("modeling", "classifiers", "heads")),
)
BEGIN = '''"""A shoestring Transformer in one file, for transformers' trust_remote_code=True.

Written by shoestring {version}; licence: Apache-2.0. The same code in parts, with fast kernels for talking heads:
pip install shoestring
"""

from __future__ import annotations

{imports}

try:  # shapes in signatures, for who reads them
    from jaxtyping import Bool, Float, Int, Int32
except ImportError:
    pass


class OptionError(ValueError):
    """A setting is unknown, out of range or contradicts another."""


def mixing(implementation):
    """Talking heads are written out whatever `attn_implementation` says; one that would ignore them is refused."""
    if implementation in ("eager", "sdpa") or implementation.startswith("talking_heads"):
        return written_out
    raise OptionError(f"attn_implementation {{implementation!r}} cannot mix heads; choose eager or sdpa")


def write_code(folder):
    """Nothing: transformers itself copies the code that came with a folder."""


'''


def write(folder: Path) -> None:
    """Adds the file to the folder of a saved model and names it in its config.json."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["auto_map"] = {
        "AutoConfig": f"{MODULE}.ShoestringConfig",
        "AutoModel": f"{MODULE}.ShoestringModel",
        **{auto: f"{MODULE}.Shoestring{head}" for head, auto in HEADS.items()},
    }
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    (folder / f"{MODULE}.py").write_text(source(), "utf-8")


@cache
def source() -> str:
    """Returns the file's text."""
    from shoestring import __version__

    imports: dict[str, set[str]] = {}
    statements: dict[str, tuple[str, set[str]]] = {}  # what each defines -> its text, the names that it uses
    for part in PARTS:
        _collect(_text(part), imports, statements)
    body = _needed([name for name in statements if name.startswith("Shoestring")], statements)
    whole = [f"import {name}" for name in sorted(imports.pop(""))]
    lines = whole + [
        f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())
    ]
    return BEGIN.format(version=__version__, imports="\n".join(lines)) + "\n\n\n".join(body) + "\n"


def _text(part: str) -> str:
    spec = find_spec(f"shoestring.transformer.{part}")
    if spec is None or spec.origin is None:
        raise InputError(f"shoestring.transformer.{part}: its source is missing; install shoestring again")
    return Path(spec.origin).read_text("utf-8")


def _collect(text: str, imports: dict[str, set[str]], statements: dict[str, tuple[str, set[str]]]) -> None:
    """Adds a module's imports from elsewhere, and what it defines."""
    lines, before = text.splitlines(), 0
    for node in ast.parse(text).body:
        first, before = before, node.end_lineno or 0
        if isinstance(node, ast.Import):
            imports.setdefault("", set()).update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if str(node.module).partition(".")[0] not in ("shoestring", "jaxtyping", "__future__"):
                names = {ast.unparse(alias) for alias in node.names if not alias.name.startswith("Auto")}
                imports.setdefault(str(node.module), set()).update(names)
        elif not isinstance(node, ast.Expr):  # a docstring, or what registers with the Auto classes
            used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            for name in _defined(node):
                statements[name] = "\n".join(lines[first:before]).strip("\n"), used


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        return [node.name]
    return [
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]


def _needed(names: list[str], statements: dict[str, tuple[str, set[str]]]) -> list[str]:
    """Returns the text of these and of all that they need, in the order of the modules, each once."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found and name in statements:
            found.add(name)
            names += statements[name][1]
    return list(dict.fromkeys(text for name, (text, _) in statements.items() if name in found))
