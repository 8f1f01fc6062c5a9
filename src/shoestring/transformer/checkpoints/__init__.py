"""Checkpoints of the field as members of our family: Hugging Face folders and TensorFlow checkpoints.

- `convert`: the entry; a folder in, a model or a folder of ours out.
- `huggingface`, `tensorflow`: what is called what, one table per architecture.
- `bundle`: reads TensorFlow's file format without TensorFlow.
- `vocabulary`: keeps some of the tokens (`keep_tokens`), in the model and in its tokenizer.
"""
