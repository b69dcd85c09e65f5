"""How well latencies that others published are predicted from a device's figures alone, without measuring it.

    python benchmarks/budget_published.py            # a minute
    python benchmarks/budget_published.py --json -

Each point is predicted by a model that was fitted without any point of its device. Nothing is timed here, so
the figures are the same on every machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import click
from common import Row, json_option, quick_option, report

from benchmarks.published_latencies import (
    LeftOut,
    PublishedPoint,
    observations,
    predict_left_out,
    read_published_points,
    same_device,
    same_device_or_family,
)
from edgead.cost.analytic import AnalyticModel
from edgead.cost.layers import layers_of
from edgead.models.realnet.config import RealNetConfig
from edgead.profiles.target import Target, list_targets

# The devices and networks that the bar is stated for.
_DEVICES = ("jetson-orin", "jetson-orin-nx", "jetson-orin-nano-super")
_FAMILIES = ("resnet", "yolo11", "yolov8")
_ROOFLINE = AnalyticModel(launch_cycles=0.0, compute_share=1.0, memory_share=1.0)


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@quick_option
@json_option
def main(quick: bool, json_path: str | None) -> None:
    points = read_published_points()
    model = AnalyticModel.fit(observations(points))
    rows = left_out_rows(points, quick=quick)
    rows += prediction_rows(model)
    settings = {
        "points": len(points),
        "launch_cycles": model.launch_cycles,
        "compute_share": model.compute_share,
        "memory_share": model.memory_share,
    }
    report("budget_published", rows, json_path=json_path, quick=quick, settings=settings)


def left_out_rows(points: Sequence[PublishedPoint], *, quick: bool) -> list[Row]:
    """Errors on points left out of the fit, beside those of a plain roofline."""
    by_device = predict_left_out(points, same_device)
    asked = [answer for answer in by_device if _asked(answer.point)]
    rows = [
        _median(
            "published points of devices left out of the fit: median error",
            asked,
            how="AGX Orin, Orin NX, Orin Nano Super; ResNet-50, YOLO11 n to x, YOLOv8n; each device left out",
            bar=0.25,
            goal=0.12,
        ),
        Row("the same: 90th percentile", _quantile(asked, 0.9), "of the latency"),
    ]
    rows += [_median(f"left out: {name}", _of(asked, _target, name)) for name in _DEVICES]
    rows.append(
        _median("all points, older Jetsons and the T4 too, each device left out: median error", by_device)
    )
    roofline = [
        LeftOut(point, _ROOFLINE.milliseconds(seen))
        for point, seen in zip(points, observations(points), strict=True)
    ]
    rows.append(_median("a plain roofline on the same points", [r for r in roofline if _asked(r.point)]))
    if not quick:
        rows += _both_left_out(points)
    return rows


def _both_left_out(points: Sequence[PublishedPoint]) -> list[Row]:
    answers = predict_left_out(points, same_device_or_family)
    families = [
        _median(f"device and family left out: {family}", _of(answers, _family, family))
        for family in dict.fromkeys(point.family for point in points)
    ]
    middle = statistics.median(row.value for row in families if row.value is not None)
    claim = "device and family left out: median of the families, the error that predictions state"
    return [*families, Row(claim, middle, "of the latency")]


def prediction_rows(model: AnalyticModel) -> list[Row]:
    """The default RealNet on every Jetson and power mode, in the target's first precision: predictions."""
    layers = layers_of(RealNetConfig())
    rows = []
    for target in _jetsons():
        for mode in target.modes:
            precision = target.precisions[0]
            found = model.predict(layers, target, mode=mode, precision=precision)
            claim = f"PREDICTED, not measured: default model, {target.name} {mode}, {precision}"
            details = {"memory_mb": found.peak_memory_mb, "parts_ms": dict(found.parts_ms)}
            rows.append(Row(claim, found.total_ms, "ms", details=details))
    return rows


def _jetsons() -> list[Target]:
    return [target for target in list_targets() if target.name.startswith("jetson-")]


def _median(
    claim: str,
    answers: Sequence[LeftOut],
    *,
    how: str = "",
    bar: float | None = None,
    goal: float | None = None,
) -> Row:
    errors = [abs(answer.relative_error) for answer in answers]
    bias = statistics.median(answer.relative_error for answer in answers)
    details = {
        "points": [
            f"{a.point.target} {a.point.network} b{a.point.batch} {a.point.precision}: "
            f"{a.point.ms:g} ms, predicted {a.predicted_ms:.3g}"
            for a in answers
        ],
        "bias": bias,
    }
    middle = statistics.median(errors)
    return Row(claim, middle, "of the latency", bar=bar, goal=goal, how=how, details=details)


def _quantile(answers: Sequence[LeftOut], share: float) -> float:
    errors = sorted(abs(answer.relative_error) for answer in answers)
    return statistics.quantiles(errors, n=100, method="inclusive")[round(100 * share) - 1]


def _of(answers: Sequence[LeftOut], key: Callable[[PublishedPoint], str], value: str) -> list[LeftOut]:
    return [answer for answer in answers if key(answer.point) == value]


def _target(point: PublishedPoint) -> str:
    return point.target


def _family(point: PublishedPoint) -> str:
    return point.family


def _asked(point: PublishedPoint) -> bool:
    return point.target in _DEVICES and point.family in _FAMILIES


if __name__ == "__main__":
    main()
