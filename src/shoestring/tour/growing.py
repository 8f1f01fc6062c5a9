"""The real decoder enlarged: sizes, time, the largest difference, and what the models say, word for word."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from shoestring.tour.stage import Headline, Outcome, Settings

WIDER: dict[str, dict[str, Any]] = {
    "2x": {"hidden": "2x", "heads": "2x", "ffn": "2x"},
    "1.5x": {"hidden": "1.5x"},
}
PROMPT = "The most important thing about a good book is"
WORDS = 24  # tokens


def grow(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Grows the decoder twice and compares."""
    from shoestring.grow import Request
    from shoestring.grow import grow as enlarge

    source = Path(before["decoder"].facts["folder"])
    said, logits = says(source)
    rows, texts = [], [("as it was", said)]
    for name, wish in WIDER.items():
        target, begun = settings.folder / f"smollm2-{name}", time.perf_counter()
        report = enlarge(source, target, Request(**wish, seed=settings.seed), overwrite=True, ui=settings.ui)
        seconds = time.perf_counter() - begun
        words, grown = says(target)
        apart = float((grown - logits).abs().max() / logits.abs().max())
        rows.append(
            (f"{name} hidden", f"{report.plan.parameters / 1e6:,.0f} M", f"{seconds:.1f} s", f"{apart:.1e}")
        )
        texts.append((name, words))
        shutil.rmtree(target)
    same = sum(words == said for _, words in texts[1:])
    return Outcome(
        f"{rows[0][1]} and {rows[1][1]} weights from 135 M, {same} of {len(WIDER)} say the same {WORDS} tokens: "
        f"{said!r}",
        {"rows": rows, "said": texts},
        tables=[
            ("Logits in fp32 beside the old ones", ("model", "weights", "time", "largest difference"), rows),
            (f"What each says after {PROMPT!r}", ("model", "text"), texts),
        ],
        command="shoestring grow YOUR-MODEL bigger --hidden 2x",
        headline=Headline(
            "a real model twice as wide",
            f"{rows[0][1]} weights, {'the same' if texts[1][1] == said else 'OTHER'} {WORDS} tokens",
            f"before: 135 M; logits differ by {rows[0][3]} of the largest",
        ),
    )  # fmt: skip


def says(folder: Path) -> tuple[str, Any]:
    """Returns what a model says greedily, and its logits of the prompt in fp32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from shoestring import hub

    with hub.silenced():
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits
        out = model.generate(ids, do_sample=False, max_new_tokens=WORDS, pad_token_id=0)
    return tokenizer.decode(out[0, ids.shape[1] :]).strip(), logits
