"""The whole compile: a torch model to one verified .edgead file, or an error and nothing written."""

from __future__ import annotations

import copy
import hashlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgead.bundle import (
    InputSpec,
    Manifest,
    MetricsSpec,
    OutputSpec,
    ThresholdSpec,
    draft_manifest,
    write_bundle,
)
from edgead.compiler.answers import answers_of_engine, answers_of_onnx
from edgead.compiler.calibration import PreparedImage, calibration_list, check_apart, image_sizes
from edgead.compiler.export import check_parity, onnx_from_model, torch_answers
from edgead.compiler.gate import GateResult, drops, drops_text, map_correlation, measure, pass_gate
from edgead.compiler.graph import describe_graph
from edgead.compiler.half import half_onnx_from_onnx
from edgead.compiler.preparation import Preparation, preparation_for
from edgead.compiler.quantize import int8_onnx_from_onnx, matching_operations
from edgead.compiler.recipe import Recipe
from edgead.compiler.reference import reference_from_answers, reference_images
from edgead.compiler.stages import CompileReport, StageLog, StageReport
from edgead.errors import CompileError, UnknownNameError, UsageError
from edgead.map_and_score import MapAndScore
from edgead.profiles.target import Target
from edgead.runtime.engines.base import HALF_MODEL
from edgead.version import __version__

MODEL_FILE = "model.onnx"
_HALF_CORRELATION = 0.99  # of its maps with float's; ten bits of mantissa are far above it
CALIBRATION_FILE = "calibration.json"
PRECISIONS = ("int8", "f32")
# Largest relative difference of torch and ONNX Runtime. They sum in different orders: up to 6e-6 was
# seen with 81 convolutions. The room is for near ties in the selection of channels.
PARITY = 1e-3
_PARITY_IMAGES = 4
SetThreshold: TypeAlias = (
    "Callable[[Callable[[Sequence[NDArray[np.uint8]]], list[MapAndScore]]], ThresholdSpec]"
)
_PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "nncf", "numpy")


@dataclass(frozen=True)
class Provenance:
    """What a compile does not make but the bundle states: identity, threshold, hashes and licences."""

    name: str
    family: str
    threshold: ThresholdSpec
    split_sha256: str
    weights_sha256: str
    score_rule: str
    config: dict[str, Any] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    resize: str = "stretch-area"


@dataclass(frozen=True)
class ImageSets:
    """The images of a compile, all at the model's size: those that calibrate, and those that judge.

    `withheld` maps the pixel hash (`image_sha256`) of images that must not calibrate to their names.
    """

    calibration: Sequence[PreparedImage]
    gate: Sequence[PreparedImage]
    withheld: Mapping[str, str] = field(default_factory=dict)
    measured_on: str = "held-out good images and anomalies synthesised on them"


def compile_model(
    model: nn.Module,
    images: ImageSets,
    *,
    provenance: Provenance,
    target: Target,
    recipe: Recipe,
    out: str | Path,
    precision: str | None = None,
    threads: int | None = None,
    prepare: Callable[[nn.Module], nn.Module] | None = None,
    keep_in_float: Sequence[str] = (),
    set_threshold: SetThreshold | None = None,
    with_half: bool = False,
    on_stage: Callable[[StageReport], None] | None = None,
) -> CompileReport:
    """Export, quantize, judge and pack a model (uint8 B H W 3 -> map B h w, score B) for a target.

    `prepare` makes what is exported of a copy of the model (batch norms folded, say); its graph is held to
    the model as it came. `keep_in_float` names operations, or patterns of names, that stay in float whatever
    the recipe says. `set_threshold` sets the threshold again with the compiled model, whose scores INT8
    has moved a little: it is given a function from images to that model's answers. `with_half` packs the
    model in half precision beside the one in INT8, for a device that finds it faster. Raises
    AccuracyGateError when INT8 costs more than the recipe allows, CompileError and BundleError otherwise; the
    file at `out` is then as it was.
    """
    started, log, out = time.perf_counter(), StageLog(on_stage), Path(out)
    preparation = preparation_for(target)
    if with_half and not preparation.packs_half:
        raise UsageError(
            f"{target.name} runs on {target.engine}, which takes no model in half precision beside that in "
            "INT8. Leave --with-half out."
        )
    precision = _precision(target, precision)
    height, width = _size(images, out)
    job = _Job(model, images, recipe, target, preparation, precision, threads, log, tuple(keep_in_float))
    original = job.export(height, width, prepare)
    float_answers = answers_of_onnx(original, [item.image for item in images.gate], threads=threads)
    manifest = _manifest(provenance, target, precision, (height, width), float_answers[0][0].shape)
    result = job.quantize(original, manifest, float_answers)
    if result.model != original:
        job.check_rules(result.model)
    half = job.half(original, float_answers) if with_half and precision == "int8" else None
    return job.pack(result, manifest, out=out, half=half, set_threshold=set_threshold, started=started)


@dataclass(frozen=True)
class _Job:
    """The inputs that every step of one compile shares."""

    model: nn.Module
    images: ImageSets
    recipe: Recipe
    target: Target
    preparation: Preparation
    precision: str
    threads: int | None
    log: StageLog
    keep_in_float: tuple[str, ...]

    def export(self, height: int, width: int, prepare: Callable[[nn.Module], nn.Module] | None) -> bytes:
        with self.log.stage("onnx_from_model", MODEL_FILE) as notes:
            exported = self.model if prepare is None else prepare(copy.deepcopy(self.model))
            content = self.preparation.rewrite(onnx_from_model(exported, height=height, width=width))
            generator = np.random.default_rng(0)
            shape = (_PARITY_IMAGES, height, width, 3)
            probes = [*generator.integers(0, 256, shape, np.uint8)]
            probes += [item.image for item in self.images.gate[:_PARITY_IMAGES]]
            expected = torch_answers(self.model, probes)
            found = answers_of_onnx(content, probes, threads=self.threads)
            parity = check_parity(expected, found, stage="the ONNX graph", tolerance=PARITY)
            notes.content, notes.comparison = content, f"{describe_graph(content)}; {parity}"
        self.check_rules(content)
        return content

    def check_rules(self, content: bytes) -> None:
        """Refuse what the device could not build: of the float graph before the minutes of quantizing."""
        if self.preparation.check_graph is None:
            return
        with self.log.stage(f"{self.target.engine}_rules", MODEL_FILE) as notes:
            notes.content, notes.comparison = content, self.preparation.check_graph(content, self.target)

    def quantize(self, original: bytes, manifest: Manifest, float_answers: list[MapAndScore]) -> GateResult:
        judges = self.images.gate
        if self.precision != "int8":
            answers = self._answers(original, manifest, judges)
            figures = measure(answers, judges)
            figures |= {"map_correlation": map_correlation(float_answers, answers)}
            return GateResult(original, measure(float_answers, judges), figures)
        check_apart(self.images.calibration, judges, withheld=self.images.withheld)
        with self.log.stage("int8_onnx_from_onnx", MODEL_FILE) as notes:
            calibrating = [item.image for item in self.images.calibration]
            content = int8_onnx_from_onnx(
                original,
                calibrating,
                spec=self.recipe.quantization,
                kept=matching_operations(original, self.keep_in_float),
            )
            share = len(content) / len(original)
            notes.content = content
            notes.comparison = f"{share:.0%} of the float graph's size, from {len(calibrating)} images"
        with self.log.stage("accuracy_gate", MODEL_FILE) as notes:
            result = pass_gate(
                content,
                original,
                images=judges,
                float_answers=float_answers,
                answer=lambda model, items: self._answers(model, manifest, items),
                spec=self.recipe.gate,
            )
            notes.content, notes.comparison = result.model, _gate_comparison(result)
        return result

    def half(self, original: bytes, float_answers: list[MapAndScore]) -> bytes:
        with self.log.stage("half_onnx_from_onnx", HALF_MODEL) as notes:
            content = half_onnx_from_onnx(original)
            images = [item.image for item in self.images.gate]
            answers = answers_of_onnx(content, images, threads=self.threads)
            correlation = map_correlation(float_answers, answers)
            if not correlation >= _HALF_CORRELATION:  # also when it is not a number: a map that overflows
                raise CompileError(
                    f"In half precision the maps' correlation with float is {correlation:.4f}, expected at "
                    f"least {_HALF_CORRELATION}: values leave its range. Compile without --with-half."
                )
            notes.content, notes.comparison = content, f"maps correlate with float by {correlation:.5f}"
        return content

    def _answers(self, model: bytes, manifest: Manifest, items: Sequence[PreparedImage]) -> list[MapAndScore]:
        return answers_of_engine(model, manifest, [item.image for item in items], threads=self.threads)

    def pack(
        self,
        result: GateResult,
        manifest: Manifest,
        *,
        out: Path,
        half: bytes | None,
        set_threshold: SetThreshold | None,
        started: float,
    ) -> CompileReport:
        files = {MODEL_FILE: result.model} | ({HALF_MODEL: half} if half is not None else {})
        digest = ""
        if self.precision == "int8":
            files[CALIBRATION_FILE] = calibration_list(self.images.calibration)
            digest = hashlib.sha256(files[CALIBRATION_FILE]).hexdigest()
        threshold = manifest.threshold
        if set_threshold is not None:
            threshold = set_threshold(
                lambda images: answers_of_engine(result.model, manifest, images, threads=self.threads)
            )
        with self.log.stage("bundle_from_onnx", out.name) as notes:
            inputs = reference_images(self.images.gate)
            answers = answers_of_engine(result.model, manifest, list(inputs), threads=self.threads)
            reference = reference_from_answers(
                inputs, answers, second=answers_of_onnx(result.model, list(inputs), threads=self.threads)
            )
            complete = _completed(manifest, self.images.measured_on, result, files, digest, threshold)
            write_bundle(out, complete, files=files, reference=reference)
            notes.content = out.read_bytes()
            notes.comparison = (
                f"{len(inputs)} reference answers, maps within {reference.map_tolerance:.3g} RMS, "
                f"scores within {reference.score_tolerance:.3g}"
            )
        return CompileReport(
            path=out,
            target=self.target.name,
            engine=self.target.engine,
            precision=self.precision,
            recipe=self.recipe.name,
            megabytes=out.stat().st_size / 1e6,
            seconds=time.perf_counter() - started,
            stages=tuple(self.log.stages),
            float_figures=result.float_figures,
            compiled_figures=result.figures,
            drops=drops(result.float_figures, result.figures),
            measured_on=self.images.measured_on,
            calibration_images=len(self.images.calibration) if self.precision == "int8" else 0,
            calibration_sha256=digest,
            reverted=result.reverted,
        )


def _precision(target: Target, precision: str | None) -> str:
    known = [name for name in target.precisions if name in PRECISIONS]
    if precision is None and known:
        return known[0]
    if precision is None or precision not in known:
        raise UnknownNameError(f"precision for target {target.name}", precision or "default", known)
    return precision


def _size(images: ImageSets, out: Path) -> tuple[int, int]:
    sizes = image_sizes([*images.calibration, *images.gate])
    if len(sizes) != 1 or not images.gate:
        found = ", ".join(f"{w} x {h}" for h, w in sorted(sizes)) or "none"
        raise CompileError(
            f"{out}: images must all have the model's size; found {found}. Resize them as training did."
        )
    return sizes.pop()


def _manifest(
    provenance: Provenance,
    target: Target,
    precision: str,
    size_hw: tuple[int, int],
    map_hw: tuple[int, ...],
) -> Manifest:
    """All that is known before a step is done: enough for an engine to load a candidate."""
    return draft_manifest(
        name=provenance.name,
        target=target.name,
        engine=target.engine,
        precision=precision,
        input=InputSpec(*size_hw, resize=provenance.resize),
        output=OutputSpec(map_hw[0], map_hw[1], provenance.score_rule),
        threshold=provenance.threshold,
        family=provenance.family,
        config=provenance.config,
        split_sha256=provenance.split_sha256,
        weights_sha256=provenance.weights_sha256,
        model_files=[MODEL_FILE],
        versions=_versions(),
        licences=provenance.licences,
    )


def _completed(
    manifest: Manifest,
    measured_on: str,
    result: GateResult,
    files: Mapping[str, bytes],
    calibration: str,
    threshold: ThresholdSpec,
) -> Manifest:
    return replace(
        manifest,
        model_files=sorted(files),
        metrics=MetricsSpec(measured_on, result.float_figures, result.figures),
        hashes=replace(manifest.hashes, calibration=calibration),
        threshold=threshold,
    )


def _versions() -> dict[str, str]:
    found = {"edgead": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an engine that this target does not need
            continue
    return found


def _gate_comparison(result: GateResult) -> str:
    correlation = result.figures["map_correlation"]
    back = f", {len(result.reverted)} operations back in float" if result.reverted else ""
    return f"drop {drops_text(result)}; maps correlate {correlation:.4f} with the float model's{back}"
