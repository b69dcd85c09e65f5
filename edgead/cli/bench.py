"""`edgead bench`: measure a bundle's latency on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import bundle_argument, engine_option, json_option, threads_option, write_json
from edgead.cli.progress import progress_share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgead.bundle import Bundle
    from edgead.runtime.inspector import Inspector
    from edgead.runtime.latency import ClosedLoop, LatencyRun

    Images = Sequence[NDArray[np.uint8]]

_TITLES = {
    "total": "inspect()",
    "resize": "  resize",
    "infer": "  infer",
    "postprocess": "  postprocess",
    "map_and_regions": "full map, regions",
    "engine": "engine call alone",
    "gpu": "GPU, by its clock",
}


@click.command()
@bundle_argument
@click.argument("images", nargs=-1)
@click.option("--seconds", default=5.0, show_default=True, help="Measure for at least this long.")
@click.option("--count", default=1000, show_default=True, help="Measure at least this many images.")
@click.option("--warm-up", default=1.0, show_default=True, help="Seconds before, which are not counted.")
@click.option(
    "--report", "report_path", type=click.Path(path_type=Path), metavar="FILE", help="Write HTML here."
)
@click.option("--target", metavar="NAME", help="Predict for this profile.  [default: the bundle's]")
@engine_option
@threads_option
@json_option
def command(
    bundle: Path,
    images: tuple[str, ...],
    seconds: float,
    count: int,
    warm_up: float,
    report_path: Path | None,
    target: str | None,
    json_path: str | None,
    **settings: Any,
) -> None:
    """Measure the latency of BUNDLE in a closed loop: one image after the other, as fast as it goes.

    \b
    Examples:
      edgead bench part.edgead
      edgead bench part.edgead photos/ --seconds 30 --json latency.json

    Without IMAGES (files, folders, patterns) the bundle's reference images are used, which need no resize.
    Files are read before the clock starts. The full-size map and the regions, which inspect() leaves until
    they are asked for, are a stage of their own. Next to each call, in turns before and after it, the engine
    is called alone with the same image: the difference is what edgead adds. Where the target's profile can
    predict, the prediction stands beside.
    """
    from edgead.bundle import read_bundle
    from edgead.runtime.inspector import Inspector
    from edgead.runtime.latency import ClosedLoop

    scenario = ClosedLoop(min_seconds=seconds, min_count=count, warm_up_seconds=warm_up)
    opened = read_bundle(bundle)
    pictures = _pictures(images, opened)
    with Inspector(opened, **settings) as inspector:
        run = measure(inspector, pictures, scenario=scenario)
        report = describe_run(run, opened, inspector, pictures)
    report["prediction"] = _predicted(opened, report, target)
    if json_path is not None:
        write_json(json_path, report)
    if report_path is not None:
        _write_report(report_path, run, report)
    if json_path != "-":
        _print(report)


def _pictures(arguments: tuple[str, ...], bundle: Bundle) -> Images:
    if not arguments:
        return list(bundle.reference.inputs)
    from edgead.cli.run import find_images
    from edgead.images import read_image

    return [read_image(path) for path in find_images(arguments)]


def measure(inspector: Inspector, images: Images, *, scenario: ClosedLoop) -> LatencyRun:
    """Samples by stage: those of the inspector, `total`, `map_and_regions`, and the `engine` alone."""
    from edgead.runtime.latency import measure_closed_loop

    clock, engine = time.perf_counter_ns, inspector.engine
    prepared = [inspector.prepare(image) for image in images]

    def engine_alone(at: int) -> int:
        started = clock()
        engine.infer(prepared[at])
        return clock() - started

    def call(index: int) -> dict[str, int]:
        turn, at = divmod(index, len(images))
        before = engine_alone(at) if turn % 2 else 0  # the second of two calls finds warm caches
        started = clock()
        result = inspector.inspect(images[at])
        inspected = clock()
        alone = before or engine_alone(at)
        gpu = engine.gpu_ns
        mapping = clock()
        _ = result.anomaly_map, result.regions
        stages = {"map_and_regions": clock() - mapping, "engine": alone}
        stages |= {"gpu": gpu} if gpu is not None else {}
        return {"total": inspected - started, **result.timings_ns, **stages}

    with progress_share("Measuring") as on_progress:
        return measure_closed_loop(call, scenario=scenario, on_progress=on_progress)


def describe_run(run: LatencyRun, bundle: Bundle, inspector: Inspector, images: Images) -> dict[str, Any]:
    """The report as plain values: what was measured, how, on what, and whether it may be quoted."""
    import dataclasses

    from edgead.runtime.latency import latency_histogram, summarise_latency
    from edgead.runtime.machine import describe_machine

    stages = {stage: summarise_latency(samples) for stage, samples in run.samples.items()}
    doubts = run.doubts("total")
    stated = bundle.manifest
    return {
        "scenario": "closed loop, batch 1",
        "settings": dataclasses.asdict(run.scenario),
        "bundle": {
            "path": str(bundle.path),
            "megabytes": round(bundle.path.stat().st_size / 1e6, 3),
            **{name: getattr(stated, name) for name in ("name", "family", "target", "precision")},
            "files": stated.hashes.files,
        },
        "engine": inspector.engine.describe(),
        "image_sizes": sorted({f"{image.shape[0]}x{image.shape[1]}" for image in images}),
        "seconds": run.seconds,
        "warm_up_calls": run.warm_up_calls,
        "valid": not doubts,
        "doubts": list(doubts),
        "stages_ns": stages,
        "images_per_second": 1e9 / stages["total"]["mean"],
        "overhead": stages["total"]["p50"] / stages["engine"]["p50"] - 1,
        "histogram_ns": latency_histogram(run.samples["total"]),
        "machine": describe_machine(),
    }


def _predicted(bundle: Bundle, report: dict[str, Any], target: str | None) -> dict[str, Any]:
    """The prediction with the engine's measured p50; after the measurement, for it loads other libraries."""
    from edgead.cli.bench_prediction import predict_bundle

    chosen = report["engine"].get("inference_num_threads") or report["machine"]["usable_cores"]
    prediction = predict_bundle(bundle.manifest, target=target, threads=int(chosen))
    return {**prediction, "measured_ms": report["stages_ns"]["engine"]["p50"] / 1e6}


def _write_report(path: Path, run: LatencyRun, report: dict[str, Any]) -> None:
    from edgead.report import ReportData, latency_from_samples, write_report

    bundle, machine = report["bundle"], report["machine"]
    data = ReportData(
        title=f"Latency of {bundle['name']}",
        model=f"{bundle['family']}, {bundle['precision']} for {bundle['target']}",
        latency=latency_from_samples(run.samples, scenario=report["scenario"]),
        versions=machine["versions"],
        machine={"processor": machine["cpu"], "usable cores": machine["usable_cores"], **report["engine"]},
        notes=[f"Not valid: {doubt}." for doubt in report["doubts"]],
        prediction=report["prediction"] if "ms" in report["prediction"] else None,
    )
    write_report(path, data)


def _print(report: dict[str, Any]) -> None:
    columns = ("p50", "p90", "p99", "p99.9", "max")
    bundle, engine = report["bundle"], report["engine"]
    click.echo(f"{bundle['path']}: {bundle['precision']} on {engine['engine']} {engine['version']}")
    click.echo(f"{report['machine']['cpu']}, {report['machine']['usable_cores']} cores; {report['scenario']}")
    click.echo(f"{'milliseconds':<20}" + "".join(f"{column:>10}" for column in columns))
    for stage, title in _TITLES.items():
        if stage not in report["stages_ns"]:  # an engine without a GPU
            continue
        figures = report["stages_ns"][stage]
        click.echo(f"{title:<20}" + "".join(f"{figures[column] / 1e6:>10.3f}" for column in columns))
    count = report["stages_ns"]["total"]["count"]
    rate = f"{report['images_per_second']:.1f} inspections per second"
    click.echo(f"{count} images in {report['seconds']:.1f} s, {rate}")
    click.echo(f"inspect() over the engine alone: {report['overhead']:+.1%} (p50)")
    _print_prediction(report["prediction"])
    click.echo("valid" if report["valid"] else "NOT VALID: " + "; ".join(report["doubts"]))


def _print_prediction(prediction: dict[str, Any]) -> None:
    if "missing" in prediction:
        click.echo(f"no prediction: {prediction['missing']}")
        return
    told, measured = prediction["ms"], prediction["measured_ms"]
    off = f"{told / measured - 1:+.1%}"
    click.echo(f"predicted for the engine alone: {told:.3f} ms, {off} of the p50 ({prediction['basis']})")
    for note in prediction["notes"]:
        click.echo(f"  {note}")
