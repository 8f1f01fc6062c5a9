"""What a growth did, as text, as JSON and as a model card; and what a plan says before anything is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shoestring import __version__, hub
from shoestring.grow.plan.planning import Plan
from shoestring.grow.plan.request import RECIPE, option
from shoestring.grow.prove.trial import NOISE, Proof, Trial
from shoestring.grow.writing import Written

JSON, TEXT = "growth.json", "growth.txt"


@dataclass(frozen=True)
class Report:
    """A growth that was done.

    Args:
        plan: what it was.
        written: what was written.
        proof: the comparison of small copies, None if it was not asked for.
        whole: the comparison of the whole models, None if it was not asked for.
        seconds: for writing the tensors.
    """

    plan: Plan
    written: Written
    proof: Proof | None
    whole: Trial | None
    seconds: float

    def facts(self) -> dict[str, Any]:
        """Returns all of it as JSON will have it."""
        trials = [*(self.proof.trials if self.proof else ()), *([self.whole] if self.whole else ())]
        return {
            **planned_facts(self.plan),
            "shoestring": __version__,
            "seconds": self.seconds,
            "tensors written": len(self.plan.growths),
            "tensors projected back": self.written.checked,
            "worst distance (roundings)": self.written.distance,
            "rounded numbers": self.written.rounded,
            "resumed tensors": self.written.resumed,
            "compared": self.proof.subject if self.proof else None,
            "trials": [asdict(trial) for trial in trials],
        }

    def lines(self) -> list[str]:
        """Returns all of it as text."""
        lines = planned_lines(self.plan)
        lines += [
            "",
            f"Written: {len(self.plan.growths)} tensors, {self.plan.bytes / 1e9:.3f} GB in {self.seconds:.1f} s",
        ]
        if self.written.checked:
            lines.append(
                f"Projected back: {self.written.checked} tensors; worst distance from the old numbers "
                f"{self.written.distance:.2g} roundings (0: every number equal)"
            )
        if self.written.rounded:
            lines.append(
                f"Rounded: {self.written.rounded:,} of {self.plan.checkpoint.parameters:,} stored numbers, which "
                f"{self.plan.request.dtype} does not hold exactly"
            )
        if self.proof is not None:
            lines += ["", f"Outputs compared on {self.proof.subject}:"]
            lines += [trial_line(trial) for trial in self.proof.trials]
        if self.whole is not None:
            lines += ["", "Outputs of the whole models compared:", trial_line(self.whole)]
        return lines


def trial_line(trial: Trial) -> str:
    """Returns one comparison as a line."""
    beside = ""
    if trial.noise:
        times = trial.error / trial.noise
        beside = f"; the old model's own rounding {trial.noise:.1e}, so {times:.2g} x"
        beside += "" if times <= NOISE else f" (more than {NOISE:g})"
    return f"  {trial.name:32} max difference {trial.error:.1e} of outputs up to {trial.scale:.3g}{beside}"


def planned_facts(planned: Plan) -> dict[str, Any]:
    """Returns a plan as JSON will have it."""
    request = {key: value for key, value in asdict(planned.request).items() if value is not None}
    return {
        "family": planned.family,
        "rule": "inferred and checked" if planned.inferred else "explicit",
        "request": request,
        "sizes": {name: list(pair) for name, pair in planned.changes.items()},
        "parameters": [planned.checkpoint.parameters, planned.parameters],
        "bytes": [planned.checkpoint.bytes, planned.bytes],
        "tied head": planned.tied,
        "exact": list(planned.exact),
        "not exact": list(planned.lossy),
        "rounded tensors": len(planned.rounded),
        "left out": planned.left_out,
    }


def planned_lines(planned: Plan) -> list[str]:
    """Returns a plan as text."""
    old, new = planned.checkpoint, planned
    rule = "rule inferred and checked" if planned.inferred else "explicit rule"
    lines = [
        f"{planned.family} ({rule}, head {'tied' if planned.tied else 'not tied'})",
        f"{old.parameters / 1e6:,.2f} M -> {new.parameters / 1e6:,.2f} M parameters, "
        f"{old.bytes / 1e9:,.3f} GB -> {new.bytes / 1e9:,.3f} GB",
    ]
    if unread := planned.left_out:
        more = f" and {len(unread) - 1} more" if unread[1:] else ""
        lines.append(f"left out {unread[0]}{more}, which transformers does not read")
    lines += [f"exact    {line}" for line in planned.exact]
    lines += [f"NOT exact  {line}" for line in planned.lossy]
    if planned.request.freeze_old:
        new = sum(growth.inserted for growth in planned.growths)
        lines.append(f"recipe   {RECIPE}: {new} tensors of new blocks learn, the others are frozen")
    if planned.rounded:
        dtypes = sorted({each.dtype for each in planned.growths if each.rounded})
        lines.append(
            f"rounded  {len(planned.rounded)} of {len(planned.growths)} tensors are multiplied by numbers that "
            f"{' and '.join(dtypes)} cannot hold exactly"
            + ("; --dtype float32 makes that small" * (dtypes != ["F32"]))
        )
    if planned.request.split == "equal" and planned.changes:
        lines.append(
            "warning  --split equal: copies get equal gradients and never diverge; the capacity is not gained"
        )
    return lines


def table(planned: Plan) -> list[tuple[str, str, str, str]]:
    """Returns (tensors, old shape, new shape, how many) for every kind of tensor, blocks and experts together."""
    kinds: dict[tuple[str, str, str], int] = {}
    for growth in planned.growths:
        name = ".".join("*" if part.isdigit() else part for part in growth.name.split("."))
        shapes = (" x ".join(map(str, growth.source_shape)), " x ".join(map(str, growth.shape)))
        key = (name, *shapes)
        kinds[key] = kinds.get(key, 0) + 1
    return [(name, old, new, str(count)) for (name, old, new), count in kinds.items()]


def card(report: Report, name: str) -> str:
    """Returns the README.md of the new model."""
    planned = report.plan
    facts: dict[str, object] = {
        "grown from": planned.checkpoint.folder.name,
        **{
            option(key).removeprefix("--"): f"{old:,} -> {new:,}"
            for key, (old, new) in planned.changes.items()
        },
        "parameters": f"{planned.checkpoint.parameters:,} -> {planned.parameters:,}",
        "copies share weights by": planned.request.split,
        "seed": planned.request.seed,
    }
    if report.proof is not None:
        rules = report.proof.trials[0]
        facts[f"max difference of outputs in fp64, {report.proof.subject}"] = (
            f"{rules.error:.1e} (of {rules.scale:.3g})"
        )
    what = "computes something else than the old one" if planned.lossy else "computes what the old one does"
    return hub.model_card(
        name,
        f"A {planned.family} enlarged by `shoestring grow`; before any training it {what}. `{TEXT}` has the proof.",
        tags=["grown"],
        facts=facts,
    )


def save(report: Report, folder: Path) -> None:
    """Writes the report and the card into the model's folder."""
    (folder / JSON).write_text(json.dumps(report.facts(), indent=1, ensure_ascii=False) + "\n", "utf-8")
    (folder / TEXT).write_text("\n".join(report.lines()) + "\n", "utf-8")
    (folder / "README.md").write_text(card(report, folder.name.strip(".").removesuffix(".growing")), "utf-8")
