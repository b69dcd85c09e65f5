"""How well the models that edgead trains and compiles find real defects, in float and in INT8.

    python benchmarks/accuracy.py                          # keeps its runs in runs/accuracy
    python benchmarks/accuracy.py --ablation               # what each part is worth, and nothing else
    python benchmarks/accuracy.py --without-siblings       # what a bank of the very parts does, likewise
    python benchmarks/accuracy.py --data part=parts/ --minutes 20
    python benchmarks/accuracy.py --quick

Test images choose nothing: the last step is the one that is evaluated; the threshold and the accuracy gate
use good images held out of training, and anomalies synthesised on them.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from ablation import ablate
from common import ROOT, Row, json_option, quick_option, report
from siblings import find_siblings
from trainings import Compiled, Trained, Workshop, subset

from edgead.compiler.recipe import Recipe, load_recipe
from edgead.datasets import open_dataset
from edgead.training.settings import TrainSettings

DATA = {name: ROOT.parent / "shared" / "data" / name for name in ("mtd", "pcb")}
# What is trained by default. A data set that is not listed gets the settings and the seed of "other".
SEEDS = {"mtd": (0, 1), "pcb": (0,), "other": (0,)}
SETTINGS: Mapping[str, TrainSettings] = {
    "mtd": TrainSettings(steps=2600),
    "pcb": TrainSettings(steps=2000),
    "other": TrainSettings(steps=2600),
}
# (data, metric) -> (bar, goal)
BARS = {
    ("mtd", "image_auroc"): (0.95, 0.985),
    ("mtd", "pixel_auroc"): (0.83, 0.92),
    ("mtd", "au_pro"): (0.75, 0.88),
    ("pcb", "image_auroc"): (0.95, 1.0),
}
DROP_BAR, DROP_GOAL = 0.003, 0.001
NAMES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "au_pro": "AU-PRO"}


@dataclass(frozen=True)
class Result:
    """One training on one data set, in float and compiled."""

    data: str
    trained: Trained
    compiled: Compiled

    def drop(self, metric: str) -> float | None:
        """Float minus INT8 on the test images."""
        before, after = self.trained.figures[metric], self.compiled.figures[metric]
        return None if before is None or after is None else before - after

    def to_json(self) -> dict[str, Any]:
        compiled = {"metrics": self.compiled.figures, "by_kind": self.compiled.by_kind}
        return {
            "data": self.data,
            "float": self.trained.to_json(),
            "int8": {**compiled, "gate": self.compiled.gate},
            "drops": {metric: self.drop(metric) for metric in NAMES},
        }


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--data", "pairs", multiple=True, metavar="NAME=PATH", help="Data sets.  [default: mtd, pcb]")
@click.option("--work", default="runs/accuracy", show_default=True, metavar="DIR", help="Keeps the runs.")
@click.option("--minutes", type=click.FloatRange(min=0.1), help="Of each training, instead of steps.")
@click.option("--steps", type=click.IntRange(min=1), help="Of each training, instead of the table's.")
@click.option("--seed", "seeds", multiple=True, type=int, help="Instead of the table's; share the work so.")
@click.option("--ablation", is_flag=True, help="Measure what each part is worth, on the first data set.")
@click.option(
    "--ablation-steps",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Of each training of the ablation.",
)
@click.option("--without-siblings", is_flag=True, help="Train without images of tested parts.")
@quick_option
@json_option
def main(
    pairs: tuple[str, ...],
    work: str,
    minutes: float | None,
    steps: int | None,
    seeds: tuple[int, ...],
    ablation: bool,
    ablation_steps: int,
    without_siblings: bool,
    quick: bool,
    json_path: str | None,
) -> None:
    data = _data(pairs)
    with tempfile.TemporaryDirectory(prefix="edgead-accuracy-") as temporary:
        if quick:
            data, steps, work = _few_images(data, Path(temporary)), steps or 2, f"{temporary}/runs"
        workshop = Workshop(Path(work), recipe=_recipe(quick=quick))
        plan = _Plan(workshop, minutes=minutes, steps=steps, seeds=seeds, quick=quick)
        first = next(iter(data))
        details: Any
        if ablation:
            name, base = "ablation", replace(plan.settings(first, seed=0), steps=plan.steps or ablation_steps)
            rows, details = ablate(workshop, data[first], base)
        elif without_siblings:
            name, (rows, details) = "siblings", plan.without_siblings(first, data[first])
        else:
            name, results = "accuracy", [r for n, path in data.items() for r in plan.results(n, path)]
            rows, details = result_rows(results), [result.to_json() for result in results]
            click.echo(_kinds(results))
    report(name, rows, json_path=json_path, quick=quick, settings={"trainings": details})


def _data(pairs: Sequence[str]) -> dict[str, Path]:
    if not pairs:
        found = {name: path for name, path in DATA.items() if path.is_dir()}
        if not found:
            raise click.UsageError(f"No data at {DATA['mtd'].parent}. Give your own: --data NAME=PATH.")
        return found
    given = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not separator or not name or not path:
            raise click.UsageError(f"--data is written NAME=PATH; '{pair}' is not.")
        given[name] = Path(path)
    return given


def _recipe(*, quick: bool) -> Recipe:
    recipe = load_recipe("default")
    if not quick:
        return recipe
    few = replace(recipe.calibration, images=8)
    return replace(recipe.with_max_drop(1.0), calibration=few)  # hardly trained: there is nothing to gate


def _few_images(data: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """A few images of the first data set: enough to see that everything works."""
    name, path = next(iter(data.items()))
    dataset = open_dataset(path)
    names = {sample.path.name for sample in dataset.train[:: max(1, len(dataset.train) // 16)]}
    every = max(1, len(dataset.test) // 24)
    return {name: subset(folder / name, path, train_names=names, test_every=every)}


class _Plan:
    """Which settings a training gets."""

    def __init__(
        self,
        workshop: Workshop,
        *,
        minutes: float | None,
        steps: int | None,
        seeds: Sequence[int],
        quick: bool,
    ) -> None:
        self.workshop, self.minutes, self.steps = workshop, minutes, steps
        self.seeds, self.quick = seeds, quick

    def settings(self, name: str, *, seed: int) -> TrainSettings:
        settings = replace(SETTINGS.get(name, SETTINGS["other"]), seed=seed)
        if self.quick:
            settings = replace(settings, selection_batches=1, batch=4)
        return replace(settings, steps=self.steps) if self.steps else settings

    def results(self, name: str, path: Path) -> list[Result]:
        seeds = (self.seeds or SEEDS.get(name, SEEDS["other"]))[: 1 if self.quick else None]
        return [self.result(name, path, seed=seed) for seed in seeds]

    def result(self, name: str, path: Path, *, seed: int) -> Result:
        minutes = None if self.steps else self.minutes
        settings = self.settings(name, seed=seed)
        trained = self.workshop.trained(path, settings, label=f"{name}-seed{seed}", minutes=minutes)
        return Result(name, trained, self.workshop.compiled(trained.run, path))

    def without_siblings(self, name: str, path: Path) -> tuple[list[Row], dict[str, Any]]:
        """Train without the images that show a part of the good test images, all else as in `results`.

        And without as many drawn at random, to tell what siblings do from what fewer images do.
        """
        settings = self.settings(name, seed=(self.seeds or SEEDS.get(name, SEEDS["other"]))[0])
        kept, counts = _without_siblings(path)
        rows: list[Row] = []
        details: dict[str, Any] = {"counts": counts}
        for title, names in kept.items():
            label = f"{name}-{title.replace(' ', '-')}"
            root = subset(self.workshop.folder / f"{label}-data", path, train_names=names)
            trained = self.workshop.trained(root, settings, label=label)
            details[title] = trained.to_json()
            rows += [
                Row(f"{name} {title}, {NAMES[metric]}", trained.figures[metric], "", None, None, True, counts)
                for metric in NAMES
            ]
        return rows, details


def _without_siblings(path: Path) -> tuple[dict[str, set[str]], str]:
    """Names of the training images that are kept, by what is left out; and what was found, in words."""
    dataset = open_dataset(path)
    train = [sample.path for sample in dataset.train]
    good = [sample.path for sample in dataset.test if not sample.is_anomalous]
    found = find_siblings(good, train)
    hit = {other.name for others in found.values() for other in others}
    every = sorted(other.name for other in train)
    drawn = np.random.default_rng(0).permutation(len(every))[: len(hit)]
    counts = (
        f"{sum(map(bool, found.values()))} of {len(good)} good test images have siblings among the training "
        f"images; {len(hit)} of {len(train)} are left out"
    )
    kept = {
        "without siblings": set(every) - hit,
        "without as many at random": set(every) - {every[number] for number in drawn},
    }
    return kept, counts


def result_rows(results: Sequence[Result]) -> list[Row]:
    """The claims: means over seeds in float and INT8, and the worst drop of any training."""
    rows = []
    for name in dict.fromkeys(result.data for result in results):
        own = [result for result in results if result.data == name]
        for metric, title in NAMES.items():
            bar, goal = BARS.get((name, metric), (None, None))
            for stage in ("float", "INT8"):
                values = [_figures(result, stage)[metric] for result in own]
                how = f"{_training(own)}; each {', '.join(map(_four, values))}"
                rows.append(Row(f"{name} {title}, {stage}", _mean(values), "", bar, goal, True, how))
    for metric in ("image_auroc", "au_pro"):
        drops = {_label(result): result.drop(metric) for result in results}
        known = [drop for drop in drops.values() if drop is not None]
        how = "float minus INT8 on the test images: " + ", ".join(f"{n} {_four(d)}" for n, d in drops.items())
        claim = f"worst drop of {NAMES[metric]} to INT8"
        rows.append(Row(claim, max(known, default=None), "", DROP_BAR, DROP_GOAL, how=how))
    return rows


def _figures(result: Result, stage: str) -> dict[str, float | None]:
    return result.trained.figures if stage == "float" else result.compiled.figures


def _training(results: Sequence[Result]) -> str:
    each = [f"seed {r.trained.run.settings.seed}: {r.trained.run.settings.steps} steps in "
            f"{r.trained.run.seconds / 60:.1f} min" for r in results]  # fmt: skip
    return "last step, no checkpoint chosen; " + ", ".join(each)


def _label(result: Result) -> str:
    return f"{result.data} seed {result.trained.run.settings.seed}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _kinds(results: Sequence[Result]) -> str:
    lines = []
    for result in results:
        lines.append(f"{_label(result)}, INT8, by kind (image AUROC, pixel AUROC, AU-PRO):")
        for kind, found in result.compiled.by_kind.items():
            cells = " ".join(f"{_four(found[metric]):>8}" for metric in NAMES)
            lines.append(f"  {kind:<14} {found['count']:>4} {cells}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
