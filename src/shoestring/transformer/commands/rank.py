"""`shoestring rank`: the low-rank bottleneck in your own model, as a table and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import files, hub, ui
from shoestring._errors import OptionError
from shoestring._extras import require

if TYPE_CHECKING:
    from shoestring.transformer.rank.measure import HeadRank

# Tao Yuanming (365-427): long enough for pieces of 128 tokens.
TEXT = (
    "晋太元中，武陵人捕鱼为业。缘溪行，忘路之远近。忽逢桃花林，夹岸数百步，中无杂树，芳草鲜美，落英缤纷，渔人甚异之。复前行，"
    "欲穷其林。林尽水源，便得一山，山有小口，仿佛若有光。便舍船，从口入。初极狭，才通人。复行数十步，豁然开朗。土地平旷，屋舍"
    "俨然，有良田美池桑竹之属。阡陌交通，鸡犬相闻。其中往来种作，男女衣着，悉如外人。黄发垂髫，并怡然自乐。见渔人，乃大惊，问"
    "所从来。具答之。便要还家，设酒杀鸡作食。村中闻有此人，咸来问讯。自云先世避秦时乱，率妻子邑人来此绝境，不复出焉，遂与外人"
    "间隔。问今是何世，乃不知有汉，无论魏晋。此人一一为具言所闻，皆叹惋。余人各复延至其家，皆出酒食。停数日，辞去。此中人语云："
    "不足为外人道也。既出，得其船，便扶向路，处处志之。及郡下，诣太守，说如此。太守即遣人随其往，寻向所志，遂迷，不复得路。"
)


@ui.command("rank")
@click.argument("model")
@click.option(
    "--text", metavar="FILE", help="What the model reads. [default: a Chinese classic of 370 characters]"
)
@click.option("--lengths", default="16,32,64,128", show_default=True, help="Tokens of the pieces it reads.")
@click.option(
    "-o",
    "--output",
    default="rank.png",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The figure.",
)
def rank(ui: ui.UI, model: str, text: str | None, lengths: str, output: Path) -> None:
    """Measure the effective rank of every head's attention, against its key size and the length of the text.

    MODEL: a folder of our family or of any Hugging Face model. The effective rank is exp(entropy of the normalised
    singular values), after Roy & Vetterli 2007. The logits of a head, which are measured before the mask, cannot have
    more than key size; where they come close to it, a larger key size or talking heads would give it room.
    """
    chosen = _lengths(lengths)
    hub.located(model)  # a wrong path is told before anything heavy is loaded
    require("transformer", "torch", "transformers", "matplotlib")
    from shoestring.transformer.rank.report import draw, measured

    documents = [TEXT] if text is None else files.documents([text])
    with ui.bar("measuring", len(chosen), unit="length") as bar:
        ranks = measured(model, documents, chosen, lambda _: bar.update())
    draw(ranks, output, Path(model).name)
    longest = max(each.length for each in ranks)
    if longest < max(chosen):
        ui.say(f"the text suffices for {longest} tokens; give a longer --text for more")
    if ui.as_json:
        ui.result({"model": model, "figure": str(output), "heads": [vars(each) for each in ranks]})
        return
    ui.table(
        ["layer", "key size", "tokens", "logits", "weights"],
        _rows([each for each in ranks if each.length == longest]),
        title="Effective rank: mean (least to most) over heads",
    )
    print(f"figure: {output}")


def _lengths(text: str) -> list[int]:
    try:
        return [int(length) for length in text.split(",")]
    except ValueError:
        raise OptionError(f"--lengths {text}: write whole numbers with commas, such as 16,64,256") from None


def _rows(ranks: Sequence[HeadRank]) -> list[tuple[Any, ...]]:
    """Returns a row for each layer."""
    rows = []
    for layer in sorted({each.layer for each in ranks}):
        heads = [each for each in ranks if each.layer == layer]
        cells = [_spread([getattr(each, kind) for each in heads]) for kind in ("logits", "weights")]
        rows.append((layer, heads[0].key_size, heads[0].length, *cells))
    return rows


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.1f} ({min(known):.1f} to {max(known):.1f})"
