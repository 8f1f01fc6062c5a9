"""Talking heads switched on in the real decoder: the same words at first, then a few steps of training."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from shoestring import files
from shoestring.tour.growing import PROMPT, WORDS, says
from shoestring.tour.stage import Outcome, Settings

STEPS, ROWS, LENGTH, RATE = 5, 4, 96, 1e-4


def talking(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Converts the decoder to our family, with mixes at identity, and trains it on for a moment."""
    import torch

    from shoestring import hub
    from shoestring.transformer import ShoestringForCausalLM, convert

    source, target = Path(before["decoder"].facts["folder"]), settings.folder / "smollm2-talking"
    said, _ = says(source)
    convert(source, target, settings={"talking_heads": "both"}, overwrite=True)
    with hub.silenced():
        model, tokenizer = (
            ShoestringForCausalLM.from_pretrained(target).float().eval(),
            hub.load_tokenizer(target),
        )
        ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
        out = model.generate(ids, do_sample=False, max_new_tokens=WORDS, pad_token_id=0)
    words = tokenizer.decode(out[0, ids.shape[1] :]).strip()
    text = "\n".join(islice(files.documents(before["text"].facts["files"]), 400))
    tokens = torch.tensor(tokenizer(text)["input_ids"][: STEPS * ROWS * LENGTH]).view(-1, ROWS, LENGTH)
    optimizer = torch.optim.AdamW(model.train().parameters(), RATE)
    losses = []
    for batch in settings.ui.track(tokens, "talking", unit="step"):
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    same = "the same" if words == said else "OTHER"
    return Outcome(
        f"{same} {WORDS} tokens with talking heads at identity; {STEPS} steps on Chinese text: "
        f"{losses[0]:.2f} to {losses[-1]:.2f} nats a token",
        {"same": words == said, "losses": losses},
        tables=[("Loss", ("step", "nats"), [(step, f"{loss:.3f}") for step, loss in enumerate(losses, 1)])],
        command="shoestring convert YOUR-MODEL -o talking --set talking_heads=both",
    )
