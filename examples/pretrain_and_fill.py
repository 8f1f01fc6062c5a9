"""From text to a model that fills in words: tokenizer, pre-training, a guess.

Run: python examples/pretrain_and_fill.py        (about half a minute on two cores)

The text is four sentences with the days counted up, so the model can learn all of it.
"""

import tempfile
from pathlib import Path

from transformers import pipeline

from shoestring import ui
from shoestring.train import TrainSettings
from shoestring.transformer import ShoestringForMaskedLM, preset, pretrain, train_tokenizer
from shoestring.transformer.tokenizer import count_words

SENTENCES = (
    "第{}天我们在北京大学读书。",
    "第{}天同学们喜欢春天。",
    "第{}天妈妈在家里做饭。",
    "第{}天爸爸去公司上班。",
)


def main() -> None:
    text = [sentence.format(day) for day in range(100) for sentence in SENTENCES]
    tokenizer = train_tokenizer(count_words(text), vocab_size=310)
    print("tokens:", "|".join(tokenizer.tokenize("第12天我们在北京大学读书。")))

    with tempfile.TemporaryDirectory() as folder:
        done = pretrain(
            text, tokenizer, Path(folder, "model"),
            objective="mlm",
            config=preset("nano", hidden_size=64, num_layers=2, key_size=32),
            settings=TrainSettings(steps=150, batch_size=16, learning_rate=3e-3),
            length=32,
            ui=ui.UI(quiet=True),
        )  # fmt: skip
        print(f"held-out loss {done.loss:.1f} nats where guessing costs {done.untrained_loss:.1f}")
        model = ShoestringForMaskedLM.from_pretrained(done.folder)
        fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)
        for sentence in ("第7天同学们<mask>春天。", "第7天妈妈在<mask>做饭。"):
            print(sentence, "->", fill(sentence)[0]["token_str"])


if __name__ == "__main__":
    main()

# Expected output (the loss may differ a little between machines):
#
# tokens: 第|1|2|天|我们|在|北京大学|读书|。
# held-out loss 0.1 nats where guessing costs 5.7
# 第7天同学们<mask>春天。 -> 喜欢
# 第7天妈妈在<mask>做饭。 -> 家里
