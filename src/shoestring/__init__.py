"""shoestring does big-model work on the hardware you have.

One package, one command line, seven systems, each usable alone:

- `shoestring.relay`: 802.1X login through a router that then keeps the session alive.
- `shoestring.count`: exact word frequencies of a huge corpus.
- `shoestring.transformer`: Transformers whose key size is free, with Talking-Heads attention.
- `shoestring.nvae`: the deep hierarchical VAE.
- `shoestring.lm`: the 2.6-billion-parameter Chinese GPT-2, few-shot.
- `shoestring.grow`: lossless enlargement of trained Transformers.
- `shoestring.match`: text matching with thresholds you can trust.

They stand on `shoestring.files` (streams of documents, atomic outputs), `shoestring.train` (training),
`shoestring.hub` (Hugging Face folders), `shoestring.plot` (figures) and `shoestring.ui` (bars, tables).
Importing this module loads nothing but the standard library.
"""

__version__ = "0.1.0"
