"""The demo: products drawn, each trained, compiled, evaluated and timed, within a few minutes."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import edgead
from edgead.bench.latency import ClosedLoop, LatencyRun, measure_closed_loop, summarise_latency
from edgead.compiler.from_run import compile_run
from edgead.compiler.recipe import load_recipe
from edgead.compiler.stages import CompileReport, StageReport
from edgead.datasets import draw_demo, open_dataset
from edgead.device.machine import describe_machine
from edgead.errors import AccuracyGateError, TrainingError
from edgead.evaluation.evaluator import (
    Evaluation,
    evaluate_samples,
    predictor_from_inspector,
    predictor_from_module,
)
from edgead.files import write_bytes, write_json
from edgead.images import read_image
from edgead.learning.progress import OnProgress
from edgead.metrics import GATED, PIXEL_AUROC
from edgead.profiles.target import Target, read_target
from edgead.report import ReportData, latency_from_samples, write_report
from edgead.report.index import IndexEntry, index_page
from edgead.runtime.inspector import Inspector
from edgead.training.run import CHECKPOINT_FILE, HISTORY_FILE, RUN_FILE, SPLIT_FILE, WEIGHTS_FILE, Run
from edgead.training.settings import TrainSettings
from edgead.training.train import train

PRODUCTS = ("metal", "fabric", "board")
REPORT_FILE, SUMMARY_FILE = "report.html", "summary.json"
_TRAIN_IMAGES = 80
_VALIDATION_FRACTION = 0.3  # 24 images: fewer tell too little of threshold and gate
_SELECTION_BATCHES = 12
_OTHER_SECONDS = 45.0  # of a product beside its training, until a first one has shown it
_LEAST_TRAINING_SECONDS = 20.0
# A minute of training leaves scores so close that the recipes' 0.003 is a matter of luck, and each further
# try takes as long as the whole training.
_MAX_DROP, _GATE_TRIES = 0.02, 2
_SCENARIO = ClosedLoop(min_seconds=3.0, min_count=200, warm_up_seconds=0.5)


@dataclass(frozen=True)
class Listener:
    """Where the progress of the demo goes: `say` gets lines, `training` gives a function for each product."""

    say: Callable[[str], None]
    training: Callable[[str], AbstractContextManager[OnProgress]]


@dataclass(frozen=True, eq=False)
class ProductResult:
    """What one product came to."""

    product: str
    run: Run
    compiled: CompileReport
    float_evaluation: Evaluation
    evaluation: Evaluation  # of the bundle
    latency: LatencyRun
    seconds: float
    training_seconds: float

    @property
    def figures(self) -> dict[str, float | None]:
        """The figures of the summary."""
        before, after = self.float_evaluation.summary(), self.evaluation.summary()
        is_int8 = self.compiled.precision == "int8"
        drops = {f"int8_drop_{m.key}": _drop(before, after, m.key) if is_int8 else None for m in GATED}
        return {
            **{metric.key: after[metric.key] for metric in (*GATED, PIXEL_AUROC)},
            **{f"float_{metric.key}": before[metric.key] for metric in GATED},
            **drops,
            "latency_p50_ms": summarise_latency(self.latency.samples["total"])["p50"] / 1e6,
            "bundle_mb": self.compiled.megabytes,
            "seconds": self.seconds,
        }


def run_demo(
    out: str | Path,
    *,
    products: Sequence[str] = PRODUCTS,
    minutes: float = 5.0,
    steps: int | None = None,
    seed: int = 0,
    listener: Listener,
) -> dict[str, Any]:
    """Run the demo into the folder `out` and return its summary, which is also written there.

    `minutes` is for the whole: what drawing, compiling and measuring leave of it is spent on training. With
    `steps` each product trains for that many instead. Raises what the single steps raise.
    """
    started, folder = time.monotonic(), Path(out)
    target = _target_here()
    results: list[ProductResult] = []
    for number, product in enumerate(products):
        budget = None
        if steps is None:
            left = minutes * 60 - (time.monotonic() - started)
            budget = _training_minutes(left, len(products) - number, results)
        job = _Job(folder, product, target, seed, steps, budget, listener)
        results.append(job.run())
    summary = _summary(results, target, seed, time.monotonic() - started)
    _write_index(folder, summary, results)
    write_json(folder / SUMMARY_FILE, summary)
    return summary


def _training_minutes(left: float, products: int, results: Sequence[ProductResult]) -> float:
    """Minutes of training for the next of `products` that are left, in `left` seconds."""
    others = [result.seconds - result.training_seconds for result in results] or [_OTHER_SECONDS]
    return max(_LEAST_TRAINING_SECONDS, left / products - max(others)) / 60


@dataclass(frozen=True)
class _Job:
    """One product, from its drawing to its report."""

    folder: Path
    product: str
    target: Target
    seed: int
    steps: int | None
    minutes: float | None
    listener: Listener

    def run(self) -> ProductResult:
        started = time.monotonic()
        self._say("drawing its images")
        data = self._draw()
        training = time.monotonic()
        trained = self._train(data)
        training_seconds = time.monotonic() - training
        compiled = self._compile(trained)
        self._say("evaluating float and compiled on the drawn test images, timing")
        samples = open_dataset(data).test
        predict = predictor_from_module(trained.model(), height=trained.height, width=trained.width)
        before = evaluate_samples(predict, samples)
        with edgead.open(compiled.path) as inspector:
            after = evaluate_samples(predictor_from_inspector(inspector), samples, keep_maps=True)
            latency = _measure(inspector, [read_image(sample.path) for sample in samples])
        seconds = time.monotonic() - started
        result = ProductResult(
            self.product, trained, compiled, before, after, latency, seconds, training_seconds
        )
        write_report(self._at(REPORT_FILE), _report_data(result))
        return result

    def _say(self, what: str) -> None:
        self.listener.say(f"{self.product}: {what}")

    def _at(self, name: str) -> Path:
        return self.folder / self.product / name

    def _draw(self) -> Path:
        return draw_demo(
            self.folder / "data", products=(self.product,), seed=self.seed, train_images=_TRAIN_IMAGES
        )[0]

    def _train(self, data: Path) -> Run:
        settings = TrainSettings(
            seed=self.seed,
            validation_fraction=_VALIDATION_FRACTION,
            selection_batches=_SELECTION_BATCHES,
            steps=self.steps or TrainSettings.steps,
        )
        _clear(self._at("run"))
        with self.listener.training(self.product) as on_progress:
            run = train(
                data, self._at("run"), settings=settings, minutes=self.minutes, on_progress=on_progress
            )
        if run is None:
            raise TrainingError("The demo runs in one process: start it without torchrun.")
        return run

    def _compile(self, run: Run) -> CompileReport:
        """Compile to INT8; a refusal of the gate leaves a float bundle, and the summary without a drop."""
        out = self._at(f"{self.product}.edgead")
        recipe = load_recipe(self.target.options.get("calibration", "default")).with_max_drop(_MAX_DROP)
        recipe = replace(recipe, gate=replace(recipe.gate, tries=_GATE_TRIES))
        try:
            return compile_run(
                run.path, target=self.target, out=out, recipe=recipe, on_stage=self._tell_stage
            )
        except AccuracyGateError as error:
            self._say(f"INT8 was refused, going on in float: {error}")
            return compile_run(
                run.path, target=self.target, out=out, precision="f32", on_stage=self._tell_stage
            )

    def _tell_stage(self, stage: StageReport) -> None:
        self._say(str(stage))


def _target_here() -> Target:
    """The fastest target that this installation can run."""
    return read_target("intel-cpu" if importlib.util.find_spec("openvino") else "cpu")


def _clear(folder: Path) -> None:
    """Remove the run of an earlier demo, and nothing else that is there."""
    for name in (RUN_FILE, SPLIT_FILE, WEIGHTS_FILE, HISTORY_FILE, CHECKPOINT_FILE):
        (folder / name).unlink(missing_ok=True)


def _measure(inspector: Inspector, images: Sequence[np.ndarray]) -> LatencyRun:
    clock = time.perf_counter_ns

    def call(index: int) -> dict[str, int]:
        started = clock()
        result = inspector.inspect(images[index % len(images)])
        return {"total": clock() - started, **result.timings_ns}

    return measure_closed_loop(call, scenario=_SCENARIO)


def _drop(before: Mapping[str, float | None], after: Mapping[str, float | None], name: str) -> float | None:
    first, second = before[name], after[name]
    return None if first is None or second is None else first - second


def _report_data(result: ProductResult) -> ReportData:
    run, compiled = result.run, result.compiled
    found = describe_machine()
    with_float = {
        "float": result.float_evaluation.summary(),
        compiled.precision: result.evaluation.summary(),
    }
    return ReportData(
        title=f"Demo: {result.product}",
        dataset=f"the drawn test images of {result.product}",
        model=f"{run.config.title} on {run.config.backbone}, {compiled.precision} on {compiled.engine}",
        evaluation=result.evaluation,
        threshold=_bundle_threshold(compiled.path),
        stages=with_float,
        stages_measured_on="the drawn test images",
        latency=latency_from_samples(
            result.latency.samples, scenario="closed loop, batch 1, images of 320 x 320"
        ),
        trained=run.trained_facts(),
        chosen_by={**run.chosen_by_facts(), "these test images": "chose nothing"},
        versions=found["versions"],
        machine=_machine_facts(found),
        notes=[
            "A short training on drawn images: a look at the whole path, not at what is in reach. INT8 may "
            f"cost up to {_MAX_DROP:g} of AUROC and AU-PRO here; a real compile allows what its recipe says."
        ],
    )


def _bundle_threshold(path: Path) -> Any:
    from edgead.bundle import read_bundle

    return read_bundle(path).manifest.threshold


def _machine_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"processor": found["cpu"], "usable cores": found["usable_cores"], "system": found["system"]}


def _summary(results: Sequence[ProductResult], target: Target, seed: int, seconds: float) -> dict[str, Any]:
    """Means over the products, the figures of each, and what they were measured on."""
    by_product = {result.product: result.figures for result in results}
    means = {name: _mean([figures[name] for figures in by_product.values()]) for name in results[0].figures}
    details = {
        result.product: {
            **result.figures,
            "steps": result.run.settings.steps,
            "precision": result.compiled.precision,
            "bundle": str(result.compiled.path),
        }
        for result in results
    }
    return {
        **means,
        "seconds": seconds,
        "target": target.name,
        "seed": seed,
        "products": details,
        "measured_on": "drawn test images; means over the products",
        "machine": describe_machine(),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _write_index(folder: Path, summary: Mapping[str, Any], results: Sequence[ProductResult]) -> None:
    entries = [
        IndexEntry(r.product, r.figures, (folder / r.product / REPORT_FILE).read_text(encoding="utf-8"))
        for r in results
    ]
    page = index_page("edgead demo", entries, means=summary, machine=_machine_facts(summary["machine"]))
    write_bytes(folder / REPORT_FILE, page.encode())


__all__ = ["PRODUCTS", "REPORT_FILE", "SUMMARY_FILE", "Listener", "ProductResult", "run_demo"]
