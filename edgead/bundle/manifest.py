"""What a bundle says about itself: every field is required, none unknown is accepted."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edgead.bundle.archive import check_name
from edgead.bundle.signature import SIGNATURES_NAME
from edgead.errors import BundleError
from edgead.records import json_from, parse_json, record_from

SCHEMA_VERSION = 2
MANIFEST_NAME = "manifest.json"
REFERENCE_NAME = "reference.npz"
_OTHERS = {MANIFEST_NAME, REFERENCE_NAME, SIGNATURES_NAME}
MAX_MANIFEST_BYTES = 2**20
MAX_SIDE = 16_384  # pixels; an input beyond it is a mistake or an attack, and its buffer would not fit

Figures: TypeAlias = dict[str, float | None]
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class InputSpec:
    """What the graph takes: uint8 height x width x channels, made from the camera's by `resize`."""

    height: int
    width: int
    channels: int = 3
    colour_order: str = "rgb"
    resize: str = "stretch-area"

    def __post_init__(self) -> None:
        _check_range("input.height", self.height, 1, MAX_SIDE)
        _check_range("input.width", self.width, 1, MAX_SIDE)
        _check_range("input.channels", self.channels, 3, 3)
        _check_choice("input.colour_order", self.colour_order, ("rgb",))


@dataclass(frozen=True)
class OutputSpec:
    """The answer of the graph: float32 map_height x map_width, larger is more anomalous, and one score."""

    map_height: int
    map_width: int
    score_rule: str

    def __post_init__(self) -> None:
        _check_range("output.map_height", self.map_height, 1, MAX_SIDE)
        _check_range("output.map_width", self.map_width, 1, MAX_SIDE)


@dataclass(frozen=True)
class ThresholdSpec:
    """Where the verdict turns, and how that was set from `good_images` held out of training.

    `false_alarm_rate` is the share of good parts expected at or above `score`; its confidence interval is
    [`interval_low`, `interval_high`] at level `confidence`. `pixel` cuts regions out of the map. The images
    are of `good_groups` parts, tiles or lots (0: not known): it is on as many that the rate rests.
    """

    score: float
    pixel: float
    false_alarm_rate: float
    interval_low: float
    interval_high: float
    confidence: float
    good_images: int
    method: str
    good_groups: int = 0

    def __post_init__(self) -> None:
        for name in ("score", "pixel"):
            _check_range(f"threshold.{name}", getattr(self, name), -math.inf, math.inf)
        for name in ("false_alarm_rate", "interval_low", "interval_high", "confidence"):
            _check_range(f"threshold.{name}", getattr(self, name), 0, 1)
        for name in ("good_images", "good_groups"):
            _check_range(f"threshold.{name}", getattr(self, name), 0, 2**31)


@dataclass(frozen=True)
class MetricsSpec:
    """Quality before and after compiling, on `measured_on`; None where a figure is not defined."""

    measured_on: str
    float: Figures
    compiled: Figures


@dataclass(frozen=True)
class HashSpec:
    """SHA-256 of each file of the bundle, and of its sources: data split, weights, calibration list."""

    files: dict[str, str]
    split: str
    weights: str
    calibration: str

    def __post_init__(self) -> None:
        for name, digest in self.files.items():
            if not _SHA256.fullmatch(digest):
                raise BundleError(
                    f"manifest: hashes.files.{name}: expected 64 hexadecimal digits, found {digest[:80]!r}. "
                    "Compile the bundle again."
                )


@dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json."""

    schema_version: int
    name: str
    created: str
    family: str
    config: dict[str, Any]
    input: InputSpec
    output: OutputSpec
    threshold: ThresholdSpec
    target: str
    engine: str
    precision: str
    model_files: list[str]
    metrics: MetricsSpec
    hashes: HashSpec
    versions: dict[str, str]
    licences: dict[str, str]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise BundleError(
                f"manifest: expected schema version {SCHEMA_VERSION}, found {self.schema_version}. "
                "Install the version of edgead that wrote the bundle, or compile it again."
            )
        for field in ("name", "target", "engine", "precision"):
            if not getattr(self, field):
                raise BundleError(f"manifest: {field} is empty. Compile the bundle again.")
        self._check_model_files()

    def _check_model_files(self) -> None:
        files = self.model_files
        for name in files:
            check_name(name, "manifest")
        if not files or len(set(files)) != len(files) or _OTHERS & set(files):
            raise BundleError(
                f"manifest: model_files: expected distinct names of model files, found {files}. "
                "Compile the bundle again."
            )

    def to_json(self) -> bytes:
        """The text of manifest.json; raises BundleError for a value that JSON does not know, such as NaN."""
        return json_from(self, origin="manifest", error=BundleError)


def draft_manifest(
    *,
    name: str,
    target: str,
    engine: str,
    precision: str,
    input: InputSpec,
    output: OutputSpec,
    threshold: ThresholdSpec | None = None,
    family: str = "",
    config: Mapping[str, Any] | None = None,
    split_sha256: str = "",
    weights_sha256: str = "",
    model_files: Sequence[str] = ("model.onnx",),
    versions: Mapping[str, str] | None = None,
    licences: Mapping[str, str] | None = None,
) -> Manifest:
    """The one place where manifests are made: all that is known before a model is judged and packed.

    An engine can load a model by it; what comes later (figures, hashes of files, the final threshold)
    replaces the empty fields. Without a threshold nothing is judged: latency alone is to be measured.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        created=now.isoformat(timespec="seconds"),
        family=family,
        config=dict(config or {}),
        input=input,
        output=output,
        threshold=threshold or ThresholdSpec(0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0, "none"),
        target=target,
        engine=engine,
        precision=precision,
        model_files=list(model_files),
        metrics=MetricsSpec("", {}, {}),
        hashes=HashSpec({}, split_sha256, weights_sha256, ""),
        versions=dict(versions or {}),
        licences=dict(licences or {}),
    )


def manifest_from_json(text: bytes, *, origin: str) -> Manifest:
    """Parse and check manifest.json; raises BundleError naming `origin` and the field at fault."""
    if len(text) > MAX_MANIFEST_BYTES:
        raise BundleError(
            f"{origin}: {len(text)} bytes, expected at most {MAX_MANIFEST_BYTES}. Compile it again."
        )
    value = migrated(parse_json(text, origin=origin, error=BundleError), origin=origin)
    try:
        return record_from(Manifest, value, origin=origin, error=BundleError, complete=True)
    except BundleError as error:
        message = str(error)
        raise BundleError(message if message.startswith(origin) else f"{origin}: {message}") from error


def migrated(value: Any, *, origin: str) -> Any:
    """Parsed JSON of an earlier schema as one of this schema; raises BundleError for a later schema.

    Looked at before the fields, which another schema has changed.
    """
    version = value.get("schema_version") if isinstance(value, dict) else None
    if type(version) is not int:
        return value
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{origin}: written by a later edgead (schema {version}, this one reads {SCHEMA_VERSION}). "
            "Upgrade edgead on this device."
        )
    while version in MIGRATIONS:
        value = {**MIGRATIONS[version](value), "schema_version": version + 1}
        version += 1
    return value


def _version_2(value: dict[str, Any]) -> dict[str, Any]:
    """1 -> 2: fields of a model's configuration were renamed; each good image was a group of its own."""
    config, threshold = value.get("config"), value.get("threshold")
    if isinstance(config, dict):
        config = {_RENAMED_IN_2.get(name, name): item for name, item in config.items()}
    if isinstance(threshold, dict):
        threshold = {**threshold, "good_groups": threshold.get("good_images")}
    return {**value, "config": config, "threshold": threshold}


_RENAMED_IN_2 = {"budgets": "channels", "residual": "residual_kind", "residuals": "residual_count"}
# Schema version -> what brings it to the next one.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _version_2}


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high or not math.isfinite(value):
        raise BundleError(
            f"manifest: {name}: expected a finite value from {low} to {high}, found {value}. "
            "Compile the bundle again."
        )


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    known = tuple(choices)
    if value not in known:
        raise BundleError(f"manifest: {name}: expected one of {', '.join(known)}, found '{value[:80]}'.")
