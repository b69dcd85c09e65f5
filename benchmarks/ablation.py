"""What each part of a training is worth: the same short training with one thing changed at a time.

    python benchmarks/ablation.py                            # the development sets mtd and pcb
    python benchmarks/ablation.py --data part=parts/ --steps 600
    python benchmarks/ablation.py --components               # one training each: what each component adds
    python benchmarks/ablation.py --every-set --about "feature selection" --steps 400
    python benchmarks/ablation.py --quick

What is chosen by these figures has seen the test images: on other than the development sets they choose
nothing. Over several sets, the mean difference to the base has a 95 % interval by Student's t over the sets,
of which several draws count as one.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from accuracy import few_images, recipe_of, subjects_of
from common import Row, json_option, quick_option, report
from scipy import stats
from trainings import WITHOUT_BANK, Trained, Workshop

from edgead.synthesis import DEFAULT_MIX
from edgead.training.settings import TrainSettings

_DEVELOPMENT = ("mtd", "pcb")
_LENGTHS = (0.5, 2.0)  # of the ablation's own training
# name, weights of logits, residuals and distances in the score, and in the map
_SCORES = (
    ("RealNet's discriminator alone", (1.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
    ("plain residuals alone", (0.0, 1.0, 0.0), (0.0, 1.0, 0.0)),
    ("bank of good features alone", (0.0, 0.0, 1.0), (0.0, 0.0, 1.0)),
    ("without the bank of good features", WITHOUT_BANK, WITHOUT_BANK),
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
    cells_alone = replace(base, model=replace(base.model, image_weight=0.0))
    yield Variation("losses", "without that of whole images", cells_alone)
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
    unranked = replace(base, model=replace(model, residual_count=0))
    yield Variation("residual selection", "none: all residuals, in fixed order", unranked)
    # The default keeps all channels of the first two stages; half as many leave something to choose.
    halves = tuple(max(1, budget // 2) for budget in model.channels)
    narrow = replace(
        base, model=replace(model, channels=halves, residual_count=min(model.residual_count, 2 * sum(halves)))
    )
    for selection in ("anomaly-aware", "random"):
        changed = replace(narrow, selection=selection)
        yield Variation("feature selection", f"half the channels, {selection}", changed)


@dataclass(frozen=True)
class Measured:
    """A training with all views of the score, and with RealNet's own alone where both were asked for.

    The banks of good features are the same in every training of the ablation and hide some of what the
    others gain or lose.
    """

    about: str
    name: str
    whole: Trained
    learnt: Trained | None = None

    def to_json(self) -> dict[str, object]:
        learnt = {} if self.learnt is None else {"without_bank": self.learnt.to_json()}
        return {"about": self.about, "name": self.name, **self.whole.to_json(), **learnt}


def ablate(
    workshop: Workshop,
    name: str,
    data: Path,
    settings: TrainSettings,
    changes: Sequence[Variation],
    *,
    scores: bool,
) -> list[Measured]:
    """Everything measured, the base first. All but the lengths have the number of steps given."""
    click.echo(f"Ablation on {name}: {settings.steps} steps each", err=True)
    base = _measured(workshop, name, data, Variation("", "base", settings))
    found = [base, *(_scores(workshop, data, base.whole) if scores else ())]
    found += [_measured(workshop, name, data, change) for change in changes]
    click.echo(_table(found))
    return found


def differences(measured: Mapping[str, Mapping[str, Sequence[Measured]]]) -> Iterator[Row]:
    """The mean difference of each change to the base over the data sets, where there are several."""
    draws = [found for of_set in measured.values() for found in of_set.values()]
    if len(measured) < 2:
        return
    for position, item in enumerate(draws[0][1:], start=1):
        for words, gain in _GAINS.items():
            pairs = {
                name: [(found[position], found[0]) for found in of_set.values()]
                for name, of_set in measured.items()
            }
            own = [statistics.fmean(gain(*pair) for pair in of_set) for of_set in pairs.values()]
            half = float(stats.t.ppf(0.975, len(own) - 1)) * statistics.stdev(own) / len(own) ** 0.5
            each = zip(measured, own, strict=True)
            how = f"over {len(own)} data sets: " + ", ".join(f"{name} {value:+.3f}" for name, value in each)
            claim = f"difference to the base, {item.about}: {item.name}, {words} (95 % interval +-{half:.3f})"
            yield Row(claim, statistics.fmean(own), "", higher_is_better=True, how=how)


def _gain(item: Trained, base: Trained, metric: str) -> float:
    return (item.figures[metric] or 0.0) - (base.figures[metric] or 0.0)


def _gain_without_bank(item: Measured, base: Measured) -> float:
    if item.learnt is None or base.learnt is None:
        return 0.0
    return _gain(item.learnt, base.learnt, "image_auroc")


_GAINS: Mapping[str, Callable[[Measured, Measured], float]] = {
    "image AUROC": lambda item, base: _gain(item.whole, base.whole, "image_auroc"),
    "image AUROC without the banks": _gain_without_bank,
    "AU-PRO": lambda item, base: _gain(item.whole, base.whole, "au_pro"),
}


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--data", "pairs", multiple=True, metavar="NAME=PATH", help="Data sets.  [default: mtd, pcb]")
@click.option("--work", default="runs/ablation", show_default=True, metavar="DIR", help="Keeps the runs.")
@click.option("--steps", type=click.IntRange(min=1), default=1300, show_default=True, help="Of a training.")
@click.option("--every-set", is_flag=True, help="All six data sets, and each draw of the tiles.")
@click.option(
    "--about", multiple=True, metavar="NAME", help="Only changes of this, as in 'feature selection'."
)
@click.option("--components", is_flag=True, help="Train the base alone; leave components of it out.")
@quick_option
@json_option
def main(
    pairs: tuple[str, ...],
    work: str,
    steps: int,
    every_set: bool,
    about: tuple[str, ...],
    components: bool,
    quick: bool,
    json_path: str | None,
) -> None:
    with tempfile.TemporaryDirectory(prefix="edgead-ablation-") as temporary:
        folder = Path(temporary if quick else work)
        workshop = Workshop(folder, recipe=recipe_of(quick=quick))
        chosen = [s for s in subjects_of(pairs, folder) if pairs or every_set or s.name in _DEVELOPMENT]
        rows: list[Row] = []
        details: dict[str, object] = {}
        measured: dict[str, dict[str, list[Measured]]] = {}  # by data set and draw
        for subject in chosen[: 1 if quick else None]:
            used = few_images(subject, folder) if quick else subject
            settings = TrainSettings(
                steps=2 if quick else steps, group_by=used.group_by or TrainSettings.group_by
            )
            if quick:
                settings = replace(settings, selection_batches=1, batch=4)
            changes = [] if components or quick else list(variations(settings))
            changes = [change for change in changes if not about or change.about in about]
            scores = not about or "score" in about
            found = ablate(workshop, subject.name, used.path, settings, changes, scores=scores)
            rows += [_row(subject.name, item, found[0]) for item in found]
            details[subject.name] = [item.to_json() for item in found]
            measured.setdefault(subject.data, {})[subject.name] = found
        rows += differences(measured)
    report("ablation", rows, json_path=json_path, quick=quick, settings={"trainings": details})


def label_of(name: str, change: Variation) -> str:
    """The name of the training's folder in the workshop."""
    return f"{name}-" + change.name.replace(" ", "-").replace(",", "")


def _measured(workshop: Workshop, name: str, data: Path, change: Variation) -> Measured:
    whole = workshop.trained(data, change.settings, label=label_of(name, change))
    return Measured(change.about, change.name, whole, workshop.without_bank(whole, data))


def _scores(workshop: Workshop, data: Path, reference: Trained) -> Iterator[Measured]:
    """The base's views alone and left out. They have no part in the gradients: nothing is trained again."""
    for name, score, map_ in _SCORES:
        yield Measured("score", name, workshop.reweighted(reference, data, score=score, map_=map_))


def _row(data: str, item: Measured, base: Measured) -> Row:
    value = item.whole.figures["image_auroc"]
    parts = [_figures("", item.whole, base.whole)]
    if item.learnt is not None:
        parts.append(_figures("without the bank ", item.learnt, base.learnt))
    claim = f"{data}, {item.about}: {item.name}" if item.about else f"{data}: base"
    settings = item.whole.run.settings
    how = f"{settings.steps} steps, seed {settings.seed}, float run; {'; '.join(parts)}"
    return Row(claim, value, "image AUROC", higher_is_better=True, how=how)


def _figures(title: str, found: Trained, base: Trained | None) -> str:
    """All metrics in words, each with its difference to the base's."""
    words = []
    for name in _METRICS:
        value, other = found.figures[name], None if base is None or base is found else base.figures[name]
        change = "" if value is None or other is None else f" ({value - other:+.4f})"
        words.append(f"{name} {_or_dash(value)}{change}")
    return title + ", ".join(words)


def _table(found: list[Measured]) -> str:
    columns = [f"{title}{metric}" for title in ("", "no bank ") for metric in _METRICS]
    lines = [f"{'':<52}" + "".join(f"{column:>20}" for column in columns)]
    for item in found:
        figures = [None if one is None else one.figures for one in (item.whole, item.learnt)]
        cells = [_or_dash(one and one[metric]) for one in figures for metric in _METRICS]
        title = f"{item.about}: {item.name}" if item.about else item.name
        lines.append(f"{title:<52}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines) + "\n"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    main()
