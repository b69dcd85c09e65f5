"""`edgead inspect`: say what a bundle is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgead.cli.options import bundle_argument, json_option, write_json

if TYPE_CHECKING:
    from edgead.bundle import Bundle


@click.command()
@bundle_argument
@click.option(
    "--tensorrt",
    metavar="VERSION",
    help="Say which nodes this TensorRT (10.3, or all) refuses or runs slowly; also of an .onnx file.",
)
@json_option
def command(bundle: Path, tensorrt: str | None, json_path: str | None) -> None:
    """Say what BUNDLE holds, what it was made of and how good it is; no engine is needed.

    \b
    Examples:
      edgead inspect part.edgead
      edgead inspect part.edgead --json -
      edgead inspect model.onnx --tensorrt 8.5

    With --tensorrt the answer comes from the rules that TensorRT documents, not from a build; the exit status
    is 3 where a node is refused. It needs the training installation (edgead[train]).
    """
    from edgead.bundle import read_bundle

    if tensorrt is not None:
        from edgead.cli.tensorrt_answer import answer_for_tensorrt

        answer_for_tensorrt(bundle, tensorrt, json_path)
        return
    opened = read_bundle(bundle)
    if json_path is not None:
        write_json(json_path, dataclasses.asdict(opened.manifest))
    if json_path != "-":
        for heading, text in describe_bundle(opened).items():
            click.echo(f"{heading + ':':<12} {text}")


def describe_bundle(bundle: Bundle) -> dict[str, str]:
    """Heading -> sentence, in the order in which a reader asks."""
    stated = bundle.manifest
    size_mb = bundle.path.stat().st_size / 1e6
    threshold = stated.threshold
    return {
        "bundle": f"{bundle.path} ({size_mb:.2f} MB), '{stated.name}', made {stated.created}",
        "model": f"{stated.family}, {stated.precision} for target {stated.target}, engine {stated.engine}",
        "input": (
            f"uint8 {stated.input.height} x {stated.input.width} x {stated.input.channels} "
            f"{stated.input.colour_order.upper()}, resized by {stated.input.resize}"
        ),
        "output": (
            f"map {stated.output.map_height} x {stated.output.map_width}, score: {stated.output.score_rule}"
        ),
        "threshold": (
            f"score >= {threshold.score:.6g} is anomalous (pixels: {threshold.pixel:.6g}); expected "
            f"false alarms (false rejects) {threshold.false_alarm_rate:.2%}, {threshold.confidence:.0%} "
            f"interval {threshold.interval_low:.2%} to {threshold.interval_high:.2%}, "
            f"from {threshold.good_images} good images ({threshold.method})"
        ),
        "metrics": f"on {stated.metrics.measured_on or 'nothing: not measured'}{_metrics(bundle)}",
        "reference": f"{len(bundle.reference.scores)} images with expected answers",
        "made with": ", ".join(f"{name} {version}" for name, version in stated.versions.items()),
        "licences": ", ".join(f"{name}: {licence}" for name, licence in stated.licences.items()),
        "files": ", ".join(f"{name} ({len(content) / 1e6:.2f} MB)" for name, content in bundle.files.items()),
    }


def _metrics(bundle: Bundle) -> str:
    metrics, precision = bundle.manifest.metrics, bundle.manifest.precision
    lines = [
        f"\n{'':<12} {name}: {_figure(metrics.float.get(name))} in float, "
        f"{_figure(metrics.compiled.get(name))} in {precision}"
        for name in sorted({*metrics.float, *metrics.compiled})
    ]
    return "".join(lines)


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
