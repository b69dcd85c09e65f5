"""Pixel metrics of 10,000 maps of 256 x 256: memory, and seconds against torchmetrics and scikit-learn.

All metrics (AUROC, average precision, F1-max, AU-PRO) are computed here in one pass, the others compute
AUROC and average precision, on the same maps in the same run. They hold all pixels in memory, many times
over: beyond `--reference-maps` the ratio is not measured. Seconds are of the processor, on one core: another
program beside this one does not change them much. The wall clock's, with the waits for the disk, are in the
details.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import click
import cv2
import numpy as np
from common import Row, json_option, quick_option, report

from edgead.metrics import PixelAccumulator, threshold_metrics

SIDE, GRID = 256, 32
MAPS, REFERENCE_MAPS = 10_000, 400
QUICK_MAPS, QUICK_REFERENCE_MAPS = 300, 60
LARGEST_GB, AGREEMENT = 2.0, 1e-6


def maps(count: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Maps as a model gives them, enlarged from a coarse grid: nearly every pixel has a value of its own.

    Every fourth part has a defect: an ellipse, whose pixels are higher on average.
    """
    rng = np.random.default_rng(seed)
    for number in range(count):
        coarse = rng.gamma(2.0, 0.1, (GRID, GRID)).astype(np.float32)
        mask = None
        if number % 4 == 0:
            small = np.zeros((SIDE, SIDE), np.uint8)
            centre = [int(value) for value in rng.integers(40, SIDE - 40, 2)]
            axes = [int(value) for value in rng.integers(4, 30, 2)]
            cv2.ellipse(small, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
            mask = small.astype(bool)
            coarse += 0.4 * cv2.resize(small.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        yield cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), mask


@click.command()
@click.option("--maps", "count", default=MAPS, show_default=True, type=click.IntRange(min=8))
@click.option("--reference-maps", default=REFERENCE_MAPS, show_default=True, type=click.IntRange(min=8))
@json_option
@quick_option
def main(count: int, reference_maps: int, json_path: str | None, quick: bool) -> None:
    """Measure on COUNT maps alone, then on --reference-maps against the others."""
    if quick:
        count, reference_maps = min(count, QUICK_MAPS), min(reference_maps, QUICK_REFERENCE_MAPS)
    rows = [*alone(count), *against_others(min(reference_maps, count))]
    settings = {"maps": count, "reference_maps": reference_maps, "side": SIDE}
    report("metrics", rows, json_path=json_path, quick=quick, settings=settings)


def alone(count: int) -> list[Row]:
    """Seconds and peak memory of all metrics; making the maps is not counted in the seconds."""
    before = _peak_gb()
    with PixelAccumulator() as accumulator:
        adding = wall = 0.0
        for anomaly_map, mask in maps(count):
            started, began = time.process_time(), time.perf_counter()
            accumulator.add(anomaly_map, mask)
            adding, wall = adding + time.process_time() - started, wall + time.perf_counter() - began
        began = time.perf_counter()
        found, computing = _timed(accumulator.compute)
        wall += time.perf_counter() - began
        _, grid = _timed(lambda: threshold_metrics([accumulator], exact=False))
        _, exact = _timed(lambda: threshold_metrics([accumulator]))
    how = f"{count} maps of {SIDE} x {SIDE}, {found.anomalous_pixels} anomalous pixels, one process"
    details = {"peak before, GB": before, "adding, s": adding, "computing, s": computing, "wall, s": wall}
    return [
        Row("Peak memory of the process", _peak_gb(), "GB", bar=LARGEST_GB, how=how, details=details),
        Row("AUROC, AP, F1-max, AU-PRO", adding + computing, "s of one core", how=how, details=details),
        Row("Threshold metrics on ADer's grid, beside these", grid, "s of one core", how=how),
        Row("The same without a grid, in addition", max(exact - grid, 0.0), "s of one core", how=how),
    ]


def against_others(count: int) -> list[Row]:
    """The ratio of seconds, and the largest difference of what all compute exactly."""
    made = list(maps(count))
    values = np.stack([anomaly_map for anomaly_map, _ in made])
    empty = np.zeros((SIDE, SIDE), bool)
    masks = np.stack([empty if mask is None else mask for _, mask in made])
    del made
    ours, our_seconds = _timed(lambda: _ours(values, masks))
    rows = []
    for name, reference in (("scikit-learn", _scikit_learn), ("torchmetrics", _torchmetrics)):
        gc.collect()
        reference(values[:8], masks[:8])  # imports, and whatever else the first call does
        theirs, seconds = _timed(lambda reference=reference: reference(values, masks))  # type: ignore[misc]
        how = f"the same {count} maps, one process; AUROC and AP there, all four metrics and their areas here"
        seconds_of = {"here, s": our_seconds, f"{name}, s": seconds}
        ratio = seconds / our_seconds
        rows.append(
            Row(
                f"{name}'s seconds over ours",
                ratio,
                "x",
                bar=1.0,
                higher_is_better=True,
                how=how,
                details=seconds_of,
            )
        )
        difference = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        compared = {"here": ours, name: theirs}
        rows.append(
            Row(f"Largest difference to {name}", difference, "", bar=AGREEMENT, how=how, details=compared)
        )
    return rows


def _ours(values: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    with PixelAccumulator() as accumulator:
        for anomaly_map, mask in zip(values, masks, strict=True):
            accumulator.add(anomaly_map, mask)
        found = accumulator.compute()
    return found.auroc, found.ap


def _scikit_learn(values: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    from sklearn import metrics

    labels, scores = masks.ravel(), values.ravel()
    return float(metrics.roc_auc_score(labels, scores)), float(
        metrics.average_precision_score(labels, scores)
    )


def _torchmetrics(values: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Exact, with thresholds=None; scores above 1 would be put through a sigmoid, so they are scaled "
    "below it."""
    import torch

    torch.set_num_threads(1)
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    scores = torch.from_numpy(values / (2 * values.max())).double().ravel()
    labels = torch.from_numpy(masks).long().ravel()
    return float(binary_auroc(scores, labels)), float(binary_average_precision(scores, labels))


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the processor's seconds that it took."""
    started = time.process_time()
    found = call()
    return found, time.process_time() - started


def _peak_gb() -> float:
    """The most memory that this process had so far; Linux counts it in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
