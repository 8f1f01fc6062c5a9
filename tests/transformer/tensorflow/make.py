"""Writes the tiny TensorFlow checkpoints of this folder: pip install tensorflow-cpu, python make.py.

They were written by TensorFlow 2.21.0. Weights are random, names and shapes those of Google's BERT and of
ZhuiyiTechnology's RoBERTa+, NEZHA and RoFormer as bert4keras 0.11.5 saves them.
"""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"春眠不觉晓处闻啼鸟夜来风雨声",
    "a",
    "##b",
    "##春",
    "##,",
    ",",
]
HEADS, HIDDEN, LAYERS, INNER = 2, 8, 2, 12
VARIANTS = {
    "bert": {"embedding": 8, "key": 4, "positions": 16, "pooler": True},
    "roberta_plus": {"embedding": 6, "key": 10, "positions": 16},
    "nezha": {"embedding": 8, "key": 4, "more": {"use_relative_position": True, "max_relative_position": 64}},
    "roformer": {"embedding": 8, "key": 6},
}


def shapes(embedding, key, positions=0, pooler=False, more=None):
    dense = {"kernel": lambda i, o: (i, o), "bias": lambda i, o: (o,)}
    norm = ("LayerNorm/beta", "LayerNorm/gamma")
    out = {"bert/embeddings/word_embeddings": (len(VOCABULARY), embedding)}
    out["bert/embeddings/token_type_embeddings"] = (2, embedding)
    if positions:
        out["bert/embeddings/position_embeddings"] = (positions, embedding)
    widths = {"bert/embeddings/": embedding, "cls/predictions/transform/": embedding}
    layers = {"cls/predictions/transform/dense": (HIDDEN, embedding)}
    if embedding != HIDDEN:
        layers["bert/encoder/embedding_hidden_mapping_in"] = (embedding, HIDDEN)
    if pooler:
        layers["bert/pooler/dense"] = (HIDDEN, HIDDEN)
        out |= {"cls/seq_relationship/output_weights": (2, HIDDEN), "cls/seq_relationship/output_bias": (2,)}
    for index in range(LAYERS):
        path = f"bert/encoder/layer_{index}"
        layers |= {f"{path}/attention/self/{part}": (HIDDEN, HEADS * key) for part in ("query", "key")}
        layers |= {
            f"{path}/attention/self/value": (HIDDEN, HIDDEN),
            f"{path}/attention/output/dense": (HIDDEN, HIDDEN),
            f"{path}/intermediate/dense": (HIDDEN, INNER),
            f"{path}/output/dense": (INNER, HIDDEN),
        }
        widths |= {f"{path}/attention/output/": HIDDEN, f"{path}/output/": HIDDEN}
    out |= {f"{name}/{part}": shape(*size) for name, size in layers.items() for part, shape in dense.items()}
    out |= {f"{name}{part}": (width,) for name, width in widths.items() for part in norm}
    return out | {"cls/predictions/output_bias": (len(VOCABULARY),)}


def write(name, variant, seed):
    random = np.random.default_rng(seed)
    folder = Path(__file__).parent / name
    folder.mkdir(exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for variable, shape in shapes(**variant).items():
            value = random.normal(0, 0.4, shape) + variable.endswith("gamma")
            tf.compat.v1.get_variable(variable, initializer=value.astype("float32"))
        tf.compat.v1.get_variable("global_step", initializer=np.int64(7))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(
            session, str(folder / "bert_model.ckpt"), write_meta_graph=False, write_state=False
        )
    config = {
        "vocab_size": len(VOCABULARY), "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "intermediate_size": INNER, "hidden_act": "gelu", "max_position_embeddings": 16, "type_vocab_size": 2,
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
        **variant.get("more", {}),
    }  # fmt: skip
    (folder / "bert_config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", "utf-8")


if __name__ == "__main__":
    for seed, (name, variant) in enumerate(VARIANTS.items()):
        write(name, variant, seed)
