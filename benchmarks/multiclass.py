"""One model for many products: InvAD against RealNet on real and drawn products, in float and in INT8.

    python benchmarks/multiclass.py                        # keeps its runs in runs/multiclass
    python benchmarks/multiclass.py --model invad-compact --model realnet --model invad-lite --steps 600
    python benchmarks/multiclass.py --data screw=parts/screw --data nut=parts/nut
    python benchmarks/multiclass.py --quick

Every model is trained once, on the good images of all products together, each product drawn equally often.
Figures are those of each product's own test images and their mean over products; "in one list" takes the
scores of all products together, as a line with one threshold for all of them does. Test images choose
nothing.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import subjects
from common import ROOT, Row, json_option, median_ms, quick_option, report, time_in_turns
from trainings import Workshop, subset

import edgead
from edgead.bundle import read_bundle
from edgead.compiler.recipe import Recipe, load_recipe
from edgead.datasets import draw_demo, open_dataset
from edgead.evaluation.evaluator import (
    Evaluation,
    Predict,
    evaluate_samples,
    predictor_from_inspector,
    predictor_from_module,
)
from edgead.metrics import image_metrics
from edgead.models.families import model_family
from edgead.training.run import Run
from edgead.training.settings import TrainSettings

REAL = {name: ROOT.parent / "shared" / "data" / name for name in ("mtd", "pcb")}
DRAWN = ("metal", "fabric", "board")
DRAWN_IMAGES = {"train_images": 160, "test_images": 40, "defects_per_kind": 12}
# name -> (family, preset, backbone or the preset's own). "realnet" has our mix of anomalies,
# "realnet-multi-class" what its authors advise. "invad-lite" needs ResNet-34's weights from the network;
# "invad-lite0" has the same published fuser and decoder on EfficientNet-Lite0.
MODELS: Mapping[str, tuple[str, str, str | None]] = {
    "invad-compact": ("invad", "compact", None),
    "invad-lite": ("invad", "lite", None),
    "invad-lite0": ("invad", "lite", "efficientnet_lite0"),
    "realnet-multi-class": ("realnet", "multi-class", None),
    "realnet": ("realnet", "compact", None),
}
DEFAULT_MODELS = ("invad-compact", "realnet-multi-class", "realnet")
STEPS = {"invad-lite": 1000, "invad-lite0": 1000}
USUAL_STEPS = 3000
LATENCY_BAR = 1.5


@dataclass(frozen=True)
class Result:
    """One model on all products: figures by product, in float and as INT8 bundle."""

    name: str
    run: Run
    bundle: Path
    gate: str
    figures: Mapping[str, Mapping[str, Mapping[str, float | None]]]  # "float" or "int8" -> product -> metric
    in_one_list: Mapping[str, float]  # image AUROC of all products' scores together

    def mean(self, metric: str, precision: str) -> float | None:
        """Mean over the products that have this figure."""
        values = [found[metric] for found in self.figures[precision].values() if found[metric] is not None]
        return statistics.fmean(values) if values else None

    def to_json(self) -> dict[str, Any]:
        metrics = list(next(iter(self.figures["float"].values())))
        return {
            "model": self.name,
            "facts": self.run.trained_facts(),
            "steps": self.run.settings.steps,
            "minutes": round(self.run.seconds / 60, 1),
            "gate": self.gate,
            "bundle_megabytes": round(self.bundle.stat().st_size / 1e6, 2),
            "products": self.figures,
            "mean": {p: {m: self.mean(m, p) for m in metrics} for p in self.figures},
            "image_auroc_in_one_list": self.in_one_list,
        }


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option(
    "--data", "pairs", multiple=True, metavar="NAME=PATH", help="Products.  [default: mtd, pcb, drawn]"
)
@click.option("--model", "models", multiple=True, type=click.Choice(list(MODELS)), help="Only these.")
@click.option("--work", default="runs/multiclass", show_default=True, metavar="DIR", help="Keeps the runs.")
@click.option("--steps", type=click.IntRange(min=1), help="Of each training, instead of the table's.")
@click.option("--minutes", type=click.FloatRange(min=0.1), help="Of each training, instead of steps.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True, help="Of the latency measurement.")
@quick_option
@json_option
def main(
    pairs: tuple[str, ...],
    models: tuple[str, ...],
    work: str,
    steps: int | None,
    minutes: float | None,
    seed: int,
    threads: int,
    quick: bool,
    json_path: str | None,
) -> None:
    with tempfile.TemporaryDirectory(prefix="edgead-multiclass-") as temporary:
        if quick:
            steps, work = steps or 2, f"{temporary}/runs"
        data = _data(pairs, Path(work), quick=quick)
        if quick:
            data = {name: _few_images(name, path, Path(temporary)) for name, path in data.items()}
        workshop = Workshop(Path(work), recipe=_recipe(quick=quick))
        results = []
        for name in models or DEFAULT_MODELS:
            settings = _settings(name, steps=steps, seed=seed)
            results.append(_result(workshop, name, data, settings, minutes=minutes))
            click.echo(_table(results[-1]))
        rows = accuracy_rows(results) + latency_rows(results, threads=threads, quick=quick)
        details = [result.to_json() for result in results]
    settings_used = {"products": {name: str(path) for name, path in data.items()}, "models": details}
    report("multiclass", rows, json_path=json_path, quick=quick, settings=settings_used)


def _settings(name: str, *, steps: int | None, seed: int) -> TrainSettings:
    family, preset, backbone = MODELS[name]
    model = model_family(family).configure(preset, backbone=backbone)
    usual = TrainSettings.of_preset(family, preset, model=model)
    return replace(usual, steps=steps or STEPS.get(name, USUAL_STEPS), seed=seed)


def _result(
    workshop: Workshop, name: str, data: Mapping[str, Path], settings: TrainSettings, *, minutes: float | None
) -> Result:
    run = workshop.run(list(data.values()), settings, label=name, minutes=minutes)
    in_float = predictor_from_module(run.model(), height=run.height, width=run.width, rule=run.resize)
    found = {"float": _evaluated(in_float, data)}
    bundle, gate = workshop.bundle(run)
    with edgead.open(bundle) as inspector:
        found["int8"] = _evaluated(predictor_from_inspector(inspector), data)
    return Result(
        name=name,
        run=run,
        bundle=bundle,
        gate=gate,
        figures={
            precision: {product: _with_mad(one.summary()) for product, one in evaluations.items()}
            for precision, evaluations in found.items()
        },
        in_one_list={precision: _in_one_list(evaluations) for precision, evaluations in found.items()},
    )


def _evaluated(predict: Predict, data: Mapping[str, Path]) -> dict[str, Evaluation]:
    return {name: evaluate_samples(predict, open_dataset(path).test) for name, path in data.items()}


def _with_mad(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """The figures and mAD, the mean of all seven; None where one of them is not defined."""
    values = [value for value in figures.values() if value is not None]
    return {**figures, "mad": statistics.fmean(values) if len(values) == len(figures) else None}


def _in_one_list(evaluations: Mapping[str, Evaluation]) -> float:
    records = [record for found in evaluations.values() for record in found.records]
    return image_metrics([r.score for r in records], [r.is_anomalous for r in records]).auroc


def accuracy_rows(results: Sequence[Result]) -> list[Row]:
    """Mean figures of every model; InvAD's image AUROC is held to the best RealNet's."""
    best = max(
        (result.mean("image_auroc", "float") or 0.0 for result in results if "realnet" in result.name),
        default=None,
    )
    rows = []
    for result in results:
        bar = best if result.name == "invad-compact" else None
        how = (
            f"{result.run.settings.steps} steps, seed {result.run.settings.seed}, "
            f"{len(result.run.data_roots)} products"
        )
        for precision in result.figures:
            for metric in ("image_auroc", "pixel_auroc", "au_pro", "mad"):
                held = bar if (metric, precision) == ("image_auroc", "float") else None
                claim = f"{result.name}, {precision}: {metric}, mean over products"
                value = result.mean(metric, precision)
                rows.append(Row(claim, value, "share", held, higher_is_better=True, how=how))
            claim = f"{result.name}, {precision}: image_auroc, all products in one list"
            rows.append(Row(claim, result.in_one_list[precision], "share", higher_is_better=True, how=how))
    return rows


def latency_rows(results: Sequence[Result], *, threads: int, quick: bool) -> list[Row]:
    """INT8 requests of OpenVINO that copy nothing, in turns, over compact RealNet's."""
    bundles = {result.name: read_bundle(result.bundle) for result in results}
    calls = {
        name: subjects.openvino_request(
            subjects.bundle_model(bundle), bundle.reference.inputs[0], threads=threads
        ).call
        for name, bundle in bundles.items()
    }
    timed = time_in_turns(calls, rounds=6 if quick else 120)
    medians = {name: median_ms(samples) for name, samples in timed.items()}
    base = next((name for name in ("realnet", "realnet-multi-class") if name in medians), None)
    rows = [
        Row(f"{name}: INT8 engine call", ms, "ms p50", how=f"OpenVINO, batch 1, {threads} threads")
        for name, ms in medians.items()
    ]
    if base is None:
        return rows
    return rows + [
        Row(
            f"{name} over {base}, INT8", ms / medians[base], "x p50",
            LATENCY_BAR if name == "invad-compact" else None, how="measured in turns", details=medians,
        )
        for name, ms in medians.items()
        if name != base
    ]  # fmt: skip


def _table(result: Result) -> str:
    """Figures by product, one line each."""
    metrics = list(next(iter(result.figures["float"].values())))
    lines = [f"{result.name:<28}" + "".join(f"{metric:>14}" for metric in metrics)]
    for precision, products in result.figures.items():
        for product, found in products.items():
            cells = "".join(f"{'-' if found[m] is None else format(found[m], '.4f'):>14}" for m in metrics)
            lines.append(f"  {precision:<6}{product:<20}{cells}")
    return "\n".join(lines)


def _data(pairs: Sequence[str], work: Path, *, quick: bool) -> dict[str, Path]:
    """The products by name; the drawn ones are drawn once and kept."""
    given = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not separator or not name or not path:
            raise click.UsageError(f"--data is written NAME=PATH; '{pair}' is not.")
        given[name] = Path(path)
    if given:
        return given
    drawn = work / "drawn"
    if not all((drawn / name).is_dir() for name in DRAWN):
        images = {"train_images": 8, "test_images": 4, "defects_per_kind": 2} if quick else DRAWN_IMAGES
        draw_demo(drawn, products=DRAWN, **images)
    real = {name: path for name, path in REAL.items() if path.is_dir()}
    if missing := sorted(REAL.keys() - real.keys()):
        click.echo(f"Not there and left out: {', '.join(missing)}.", err=True)
    return {**real, **{name: drawn / name for name in DRAWN}}


def _few_images(name: str, path: Path, folder: Path) -> Path:
    dataset = open_dataset(path)
    names = {sample.path.name for sample in dataset.train[:: max(1, len(dataset.train) // 8)]}
    return subset(folder / "few" / name, path, train_names=names, test_every=max(1, len(dataset.test) // 12))


def _recipe(*, quick: bool) -> Recipe:
    recipe = load_recipe("default")
    if not quick:
        return recipe
    recipe = recipe.with_max_drop(1.0)  # hardly trained: there is nothing to gate
    few, judges = (
        replace(recipe.calibration, images=10),
        replace(recipe.gate, images=5, anomalies=5),
    )
    return replace(recipe, calibration=few, gate=judges)


if __name__ == "__main__":
    main()
