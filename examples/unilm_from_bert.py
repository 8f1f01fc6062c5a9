"""A BERT as UniLM: it learns to write words backwards, the source read both ways, the target from the left.

Run: python examples/unilm_from_bert.py        (half a minute on two cores)

The BERT here is a small random one in Hugging Face form; put the folder of a real one in its place.
"""

import random
import tempfile
from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from shoestring.transformer import convert, from_checkpoint

CHARACTERS = "春眠不觉晓处闻啼鸟夜来风雨声花落知多少"


def small_bert(folder: Path) -> None:
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS]
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    BertForMaskedLM(BertConfig(vocab_size=len(vocab), hidden_dropout_prob=0.0, **sizes)).save_pretrained(
        folder
    )
    BertTokenizer(vocab={token: index for index, token in enumerate(vocab)}).save_pretrained(folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bert = Path(folder, "bert")
        small_bert(bert)
        done = from_checkpoint(bert, head="unilm")
        model, tokenizer = done.model, done.tokenizer
        print(f"{done.kind} -> {type(model).__name__}, prefix_lm={model.config.prefix_lm}, new: {done.new}")

        chance = random.Random(0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        model.train()
        for step in range(301):
            words = ["".join(chance.sample(CHARACTERS, 4)) for _ in range(64)]
            pairs = tokenizer(words, [word[::-1] for word in words], return_tensors="pt")
            labels = pairs["input_ids"].masked_fill(pairs["token_type_ids"] == 0, -100)
            loss = model(**pairs, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if step % 100 == 0:
                print(f"step {step}: loss {loss.item():.1f}")

        model.eval()
        words = ["春风来花", "夜雨声多"]
        ids = model.generate(**tokenizer(words, return_tensors="pt"), max_new_tokens=4)
        for word, row in zip(words, ids[:, 6:], strict=True):
            print(word, "->", tokenizer.decode(row).replace(" ", ""))

        small = convert(bert, Path(folder, "small"), keep_tokens=[0, 1, 2, 3, 4, 5, 6, 7])
        print("kept tokens:", "".join(small.tokenizer.convert_ids_to_tokens([5, 6, 7])))


if __name__ == "__main__":
    main()

# Expected output (the losses may differ a little between machines):
#
# bert -> ShoestringForCausalLM, prefix_lm=True, new: []
# step 0: loss 3.2
# step 100: loss 0.1
# step 200: loss 0.0
# step 300: loss 0.0
# 春风来花 -> 花来风春
# 夜雨声多 -> 多声雨夜
# kept tokens: 春眠不
