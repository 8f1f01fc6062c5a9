"""Few-shot answers, a choice among candidates and a quantized copy, with any model folder.

Run: python examples/few_shot.py MODEL        (such as a folder made by `shoestring lm convert`)

Without MODEL a tiny decoder is trained first on capitals, so that the example runs anywhere (half a minute).
"""

import sys
import tempfile
from pathlib import Path

from shoestring import ui
from shoestring.lm import FewShot, Sampling, choose, convert, generate, load
from shoestring.lm.fewshot.template import Template
from shoestring.train import TrainSettings
from shoestring.transformer import preset, pretrain, train_tokenizer
from shoestring.transformer.tokenizer import count_words

CAPITALS = {"美国": "华盛顿", "法国": "巴黎", "日本": "东京", "中国": "北京", "英国": "伦敦", "埃及": "开罗"}
TEMPLATE = Template("capital", "{input}的首都是{output}", stop=("\n", "。"), max_tokens=4)


def trained(folder: Path) -> Path:
    """A decoder that has read each capital a hundred times."""
    text = [f"{country}的首都是{city}。" for country, city in CAPITALS.items() for _ in range(100)]
    pretrain(
        text, train_tokenizer(count_words(text), 300), folder / "model", objective="clm", length=32,
        config=preset("nano", num_layers=1), ui=ui.UI(quiet=True),
        settings=TrainSettings(steps=120, batch_size=8, learning_rate=3e-3),
    )  # fmt: skip
    return folder / "model"


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = Path(sys.argv[1]) if len(sys.argv) > 1 else trained(folder)
        engine = load(model, device="cpu")
        greedy = Sampling(max_tokens=4, temperature=0, stop=TEMPLATE.stop)
        print("generated:", generate(engine, ["中国的首都是"], greedy)[0][0].text)
        print("chosen:", choose(engine, "法国的首都是", list(CAPITALS.values())).best)

        task = FewShot(engine, TEMPLATE, [], list(CAPITALS.values()))
        print("right:", sum(task.choose(country).best == city for country, city in CAPITALS.items()), "of 6")

        small = convert(model, folder / "int8", to="int8")
        print("int8:", generate(load(small.output), ["埃及的首都是"], greedy)[0][0].text)


if __name__ == "__main__":
    main()

# Expected output:
#
# generated: 北京
# chosen: 巴黎
# right: 6 of 6
# int8: 开罗
