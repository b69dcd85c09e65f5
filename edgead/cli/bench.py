"""`edgead bench`: measure a bundle's latency on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.bench_options import BenchOptions
from edgead.cli.bench_print import print_comparison, print_run, write_page
from edgead.cli.options import engine_option, json_option, threads_option, write_json
from edgead.cli.progress import progress_share
from edgead.errors import DeadlineError, UsageError
from edgead.installation import how_to_install

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgead.bench.latency import ClosedLoop
    from edgead.bench.line_load import LineLoad
    from edgead.bench.loads import LoadResult
    from edgead.bench.open_loop import OpenLoop
    from edgead.bundle import Bundle
    from edgead.runtime.inspector import Inspector

    Images = Sequence[NDArray[np.uint8]]


def _cpus(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    from edgead.device.pinning import parse_cpus

    return None if value is None else parse_cpus(value)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.argument("images", nargs=-1)
@click.option("--seconds", default=5.0, show_default=True, help="Measure for at least this long.")
@click.option("--minutes", type=float, help="A soak: for so many minutes, however many samples that gives.")
@click.option("--count", default=1000, show_default=True, help="Measure at least so many images or strips.")
@click.option("--warm-up", default=1.0, show_default=True, help="Seconds before, which are not counted.")
@click.option("--fps", type=float, help="Open loop: so many frames a second, done or not.")
@click.option("--poisson", is_flag=True, help="Frames come at random at that rate (MLPerf's Server).")
@click.option("--queue", type=int, help="Frames that wait at most, the newest; older ones are lost.")
@click.option("--line-rate", type=float, help="Open loop: so many lines a second, through the line buffer.")
@click.option("--sustained", is_flag=True, help="Find the highest line rate at which nothing is lost.")
@click.option("--width", type=int, help="Of the web, in pixels.")
@click.option("--columns-per-pixel", type=int, default=1, show_default=True, help="Of the web, averaged.")
@click.option("--lines-per-pixel", type=int, default=1, show_default=True, help="Of the web, averaged.")
@click.option("--overlap", type=float, default=0.25, show_default=True, help="Share of a tile, up to 0.5.")
@click.option("--block-lines", type=int, default=128, show_default=True, help="Lines that come at once.")
@click.option("--buffer-lines", type=int, default=8192, show_default=True, help="Lines that the ring holds.")
@click.option("--deadline-ms", type=float, help="A later verdict is a miss.")
@click.option("--gate", is_flag=True, help="Exit status 3 for misses, losses and runs that are not valid.")
@click.option(
    "--allow-late", type=click.FloatRange(0, 1), default=0.0, help="Share of misses that the gate lets pass."
)
@click.option("--cpus", callback=_cpus, metavar="LIST", help="Keep to these processors: 1, or 0,2-3.")
@click.option(
    "--compare", nargs=2, type=click.Path(path_type=Path), metavar="A.json B.json", help="Two earlier runs."
)
@click.option(
    "--report", "report_path", type=click.Path(path_type=Path), metavar="FILE", help="Write HTML here."
)
@click.option("--target", metavar="NAME", help="Predict for this profile.  [default: the bundle's]")
@engine_option
@threads_option
@json_option
def command(
    bundle: Path | None,
    images: tuple[str, ...],
    compare: tuple[Path, Path] | None,
    json_path: str | None,
    report_path: Path | None,
    **options: Any,
) -> None:
    """Measure BUNDLE's latency: in a closed loop, or at the rate of a camera. Compare two runs.

    \b
    Examples:
      edgead bench part.edgead
      edgead bench part.edgead photos/ --seconds 30 --json latency.json
      edgead bench part.edgead --fps 30 --deadline-ms 25 --gate
      edgead bench web.edgead --sustained --width 4096 --seconds 60
      edgead bench web.edgead --line-rate 20000 --width 4096 --minutes 30
      edgead bench --compare before.json after.json

    Without IMAGES (files, folders, patterns) the bundle's reference images are used, which need no resize.
    Files are read before the clock starts.

    Closed loop: one image after the other, as fast as it goes. The full-size map and the regions, which
    inspect() makes only when asked for, are a stage of their own. Next to each call, in turns before
    and after it, the engine is called alone with the same image: the difference is what edgead adds. Where
    the target's profile can predict, the prediction stands beside.

    Open loop (--fps, --line-rate, --sustained): what is due is due, and the wait is part of the latency.
    """
    if compare is not None:
        if bundle is not None:
            raise UsageError("--compare takes two JSON files of earlier runs and no bundle.")
        _compare(compare, json_path)
        return
    if bundle is None:
        raise UsageError("Expected a bundle to measure, or --compare with two JSON files of earlier runs.")
    report, demands = _run(bundle, images, report_path, BenchOptions(**options))
    if json_path is not None:
        write_json(json_path, report)
    if json_path != "-":
        print_run(report)
    if options["gate"] and (unmet := [*demands, *report["doubts"]]):
        raise DeadlineError(f"{bundle}: the gate refuses: {'; '.join(unmet)}.")


def _run(
    bundle: Path, images: tuple[str, ...], report_path: Path | None, options: BenchOptions
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The report as plain values, and the demands that were not met."""
    from edgead.bench.report import describe
    from edgead.bundle import read_bundle
    from edgead.device.pinning import pinned
    from edgead.runtime.inspector import Inspector

    load = options.scenario()  # wrong settings are refused before the engine is loaded
    opened = read_bundle(bundle)
    pictures = _pictures(images, opened)
    with pinned(options.cpus), Inspector(opened, engine=options.engine, threads=options.threads) as inspector:
        measured = _measure(inspector, pictures, load, options)
        report = {
            **describe(measured.samples, measured.facts, opened, inspector),
            "pinned_cpus": None if options.cpus is None else list(options.cpus),
        }
    if "engine" in measured.samples:
        report["prediction"] = _predicted(opened, report, options.target)
    if report_path is not None:
        write_page(report_path, measured.samples, report)
    return report, measured.demands


def _measure(
    inspector: Inspector, images: Images, load: ClosedLoop | OpenLoop | LineLoad, options: BenchOptions
) -> LoadResult:
    from edgead.bench.latency import ClosedLoop
    from edgead.bench.loads import find_line_rate, measure_closed, measure_frames, measure_line_rate
    from edgead.bench.open_loop import OpenLoop

    how: dict[str, Any] = {"scenario": load, "allow_late": options.allow_late, "progress": progress_share}
    if isinstance(load, ClosedLoop):
        return measure_closed(inspector, images, deadline_ms=options.deadline_ms, **how)
    if isinstance(load, OpenLoop):
        return measure_frames(inspector, images, **how)
    if not options.sustained:
        return measure_line_rate(inspector, images, **how)
    return find_line_rate(inspector, images, on_trial=lambda line: click.echo(line, err=True), **how)


def _compare(paths: tuple[Path, Path], json_path: str | None) -> None:
    from edgead.bench.run_comparison import compare_runs, read_bench_json

    names = (str(paths[0]), str(paths[1]))
    found = compare_runs(*(read_bench_json(path) for path in paths), names=names)
    if json_path is not None:
        write_json(json_path, {"a": names[0], "b": names[1], **found.to_json()})
    if json_path != "-":
        print_comparison(found, names)


def _pictures(arguments: tuple[str, ...], bundle: Bundle) -> Images:
    if not arguments:
        return list(bundle.reference.inputs)
    from edgead.images import read_image
    from edgead.inspection.files import find_images

    return [read_image(path) for path in find_images(arguments).pictures]


def _predicted(bundle: Bundle, report: dict[str, Any], target: str | None) -> dict[str, Any]:
    """The prediction with the engine's measured p50; after the measurement, for it loads other libraries."""
    try:
        from edgead.cost.bundle_prediction import predict_bundle
    except ModuleNotFoundError as error:  # the runtime alone, or without the training libraries
        prediction: dict[str, Any] = {"missing": f"predicting needs {error.name}: {how_to_install('train')}"}
    else:
        chosen = report["engine"].get("inference_num_threads") or report["machine"]["usable_cores"]
        prediction = predict_bundle(bundle.manifest, target=target, threads=int(chosen))
    return {**prediction, "measured_ms": report["stages_ns"]["engine"]["p50"] / 1e6}
