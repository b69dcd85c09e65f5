"""Latencies that others published, and what the analytic model says of those that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.published_networks import layers_of_network
from edgead.cost.analytic import AnalyticModel, Observation
from edgead.profiles import read_toml
from edgead.profiles.target import Target, read_target

POINTS_FILE = Path(__file__).with_name("published_latencies.toml")


@dataclass(frozen=True)
class PublishedPoint:
    """One published latency: the mean over many calls, `ms` for a batch of square images."""

    target: str
    mode: str
    network: str
    size: int
    batch: int
    precision: str
    ms: float
    source: str

    @property
    def family(self) -> str:
        """ "yolo11" for "yolo11n" to "yolo11x", "resnet" for any depth."""
        for family in ("yolo11", "yolov8", "resnet"):
            if self.network.startswith(family):
                return family
        return self.network


@dataclass(frozen=True)
class LeftOut:
    """A point, and what a model says of it that was fitted without any point of its group."""

    point: PublishedPoint
    predicted_ms: float

    @property
    def relative_error(self) -> float:
        """Signed: positive where the prediction is too slow."""
        return self.predicted_ms / self.point.ms - 1


def read_published_points() -> tuple[PublishedPoint, ...]:
    """Every published point."""
    content = read_toml(POINTS_FILE)
    return tuple(
        PublishedPoint(
            target=device["target"],
            mode=device["mode"],
            **{**point, "source": content["sources"][point["source"]]},
        )
        for device in content["devices"]
        for point in device["points"]
    )


def observations(points: Sequence[PublishedPoint]) -> list[Observation]:
    """The points as the fit wants them: with the layers of their network and the figures of their device."""
    targets: dict[str, Target] = {}
    found = []
    for point in points:
        target = targets.setdefault(point.target, read_target(point.target))
        layers = layers_of_network(point.network, size=point.size, batch=point.batch)
        found.append(Observation(layers, target.mode(point.mode), point.precision, point.ms))
    return found


def predict_left_out(
    points: Sequence[PublishedPoint], together: Callable[[PublishedPoint, PublishedPoint], bool]
) -> list[LeftOut]:
    """Predict every point by a model fitted without it and without all points that are `together` with it."""
    seen = observations(points)
    models: dict[tuple[bool, ...], AnalyticModel] = {}
    answers = []
    for point, observed in zip(points, seen, strict=True):
        kept = tuple(not together(point, other) for other in points)
        if kept not in models:
            models[kept] = AnalyticModel.fit([s for s, is_kept in zip(seen, kept, strict=True) if is_kept])
        answers.append(LeftOut(point, models[kept].milliseconds(observed)))
    return answers


def same_device(point: PublishedPoint, other: PublishedPoint) -> bool:
    return point.target == other.target


def same_device_or_family(point: PublishedPoint, other: PublishedPoint) -> bool:
    return point.target == other.target or point.family == other.family
