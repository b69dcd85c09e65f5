"""What each part of a training is worth: the same short training with one thing changed at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
from common import Row
from trainings import Trained, Workshop

from edgead.models.inspection import InspectionModel
from edgead.synthesis import DEFAULT_MIX
from edgead.training.settings import TrainSettings

_LENGTHS = (0.5, 2.0)  # of the ablation's own training
# name, weights of logits, residuals and distances in the score, and in the map
_SCORES = (
    ("RealNet's discriminator alone", (1.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
    ("plain residuals alone", (0.0, 1.0, 0.0), (0.0, 1.0, 0.0)),
    ("bank of good features alone", (0.0, 0.0, 1.0), (0.0, 0.0, 1.0)),
    ("without the bank of good features", (1.0, 1.0, 0.0), (1.0, 1.0, 0.0)),
    ("without plain residuals", (1.0, 0.0, 1.0), (1.0, 0.0, 1.0)),
)
_METRICS = ("image_auroc", "pixel_auroc", "au_pro")


@dataclass(frozen=True)
class Variation:
    """One change of the settings; `about` groups what is compared with each other."""

    about: str
    name: str
    settings: TrainSettings


def variations(base: TrainSettings) -> Iterator[Variation]:
    """All that is trained besides the base."""
    yield from _sources(base)
    yield from _shapes(base)
    for length in _LENGTHS:
        longer = replace(base, steps=max(1, round(length * base.steps)))
        yield Variation("training length", f"{length:g} x the steps", longer)


def _sources(base: TrainSettings) -> Iterator[Variation]:
    mix = dict(base.synthesis or DEFAULT_MIX)
    for name in mix:
        rest = {other: weight for other, weight in mix.items() if other != name}
        if rest:
            yield Variation("synthesis", f"without {name}", replace(base, synthesis=rest))
            yield Variation("synthesis", f"{name} alone", replace(base, synthesis={name: 1.0}))


def _shapes(base: TrainSettings) -> Iterator[Variation]:
    model = base.model
    unranked = replace(base, model=replace(model, residuals=0))
    yield Variation("residual selection", "none: all residuals, in fixed order", unranked)
    # The default keeps all channels of the first two stages; half as many leave something to choose.
    halves = tuple(max(1, budget // 2) for budget in model.budgets)
    narrow = replace(
        base, model=replace(model, budgets=halves, residuals=min(model.residuals, 2 * sum(halves)))
    )
    for selection in ("anomaly-aware", "random"):
        changed = replace(narrow, selection=selection)
        yield Variation("feature selection", f"half the channels, {selection}", changed)


def ablate(
    workshop: Workshop, data: Path, settings: TrainSettings, *, minutes: float | None
) -> tuple[list[Row], list[dict[str, object]]]:
    """Rows, the base first, and everything measured. All have the base's number of steps."""
    reference = workshop.trained(data, settings, label="ablation-base", minutes=minutes)
    base = reference.run.settings
    click.echo(f"Ablation on {data.name}: {base.steps} steps each", err=True)
    found = [("", "base", reference), *_scores(workshop, data, reference)]
    for change in variations(base):
        label = "ablation-" + change.name.replace(" ", "-").replace(",", "")
        found.append((change.about, change.name, workshop.trained(data, change.settings, label=label)))
    click.echo(_table(found))
    rows = [_row(about, name, trained, reference) for about, name, trained in found]
    return rows, [{"about": about, "name": name, **trained.to_json()} for about, name, trained in found]


def _scores(workshop: Workshop, data: Path, reference: Trained) -> Iterator[tuple[str, str, Trained]]:
    """The base's views alone and left out. They have no part in the gradients: nothing is trained again."""
    model = reference.run.model()
    for name, score_weights, map_weights in _SCORES:
        if score_weights[2] and model.network.bank is None:
            continue
        rule = replace(model.rule, score_weights=score_weights, map_weights=map_weights)
        yield "score", name, workshop.evaluated(reference.run, data, InspectionModel(model.network, rule))


def _row(about: str, name: str, trained: Trained, reference: Trained) -> Row:
    value, base = trained.figures["image_auroc"], reference.figures["image_auroc"]
    parts = [f"{key} {_or_dash(trained.figures[key])}" for key in ("pixel_auroc", "au_pro")]
    if value is not None and base is not None and trained is not reference:
        parts.insert(0, f"{value - base:+.4f} to the base")
    claim = f"ablation, {about}: {name}" if about else "ablation: base"
    settings = trained.run.settings
    how = f"{settings.steps} steps, seed {settings.seed}, float run; {', '.join(parts)}"
    return Row(claim, value, "image AUROC", higher_is_better=True, how=how)


def _table(found: list[tuple[str, str, Trained]]) -> str:
    lines = [f"{'':<52}" + "".join(f"{metric:>13}" for metric in _METRICS)]
    for about, name, trained in found:
        cells = "".join(f"{_or_dash(trained.figures[metric]):>13}" for metric in _METRICS)
        lines.append(f"{f'{about}: {name}' if about else name:<52}{cells}")
    return "\n".join(lines) + "\n"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
