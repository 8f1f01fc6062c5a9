"""shoestring does big-model work on the hardware you have.

One package and one command line, of systems that are each usable alone:

- `shoestring.relay`: 802.1X login through a router that then keeps the session alive.
- `shoestring.count`: exact word frequencies of a huge corpus.
- `shoestring.transformer`: Transformers whose key size is free, their tokenizer and pre-training.
- `shoestring.tour`: the whole story on real text.

They stand on `shoestring.files` (streams of documents, atomic outputs), `shoestring.train` (the training loop),
`shoestring.hub` (Hugging Face folders), `shoestring.plot` (figures) and `shoestring.ui` (bars, tables).
Importing this module loads nothing but the standard library.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Gives `shoestring.ShoestringError`, the base of all our errors, when it is asked for."""
    if name != "ShoestringError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from shoestring._errors import ShoestringError

    return ShoestringError
