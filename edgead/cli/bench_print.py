"""How `edgead bench` says what it measured: on the terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgead.bench.latency_samples import Samples
    from edgead.bench.run_comparison import RunComparison

_TITLES = {
    "total": "inspect()",
    "wait": "  wait",
    "fill": "  lines until whole",
    "inspect": "  inspection",
    "resize": "  resize",
    "infer": "  infer",
    "postprocess": "  postprocess",
    "map_and_regions": "full map, regions",
    "engine": "engine call alone",
    "gpu": "GPU, by its clock",
}
_COLUMNS = ("p50", "p90", "p99", "p99.9", "max")


def print_run(report: Mapping[str, Any]) -> None:
    """The latencies stage by stage, then what became of all, what the platform reported, and the validity."""
    bundle, engine, machine = report["bundle"], report["engine"], report["machine"]
    click.echo(f"{bundle['path']}: {bundle['precision']} on {engine['engine']} {engine['version']}")
    pins = report.get("pinned_cpus")
    cores = f"{machine['usable_cores']} cores" + (f", pinned to {pins}" if pins else "")
    click.echo(f"{machine['cpu']}, {cores}; {report['scenario']}")
    click.echo(f"{'milliseconds':<20}" + "".join(f"{column:>10}" for column in _COLUMNS))
    for stage in (stage for stage in _TITLES if stage in report["stages_ns"]):
        figures = report["stages_ns"][stage]
        title = _whole(report) if stage == "total" else _TITLES[stage]
        click.echo(f"{title:<20}" + "".join(f"{figures[column] / 1e6:>10.3f}" for column in _COLUMNS))
    for line in [*_outcome(report), *_platform(report)]:
        click.echo(line)
    if prediction := report.get("prediction"):
        _print_prediction(prediction)
    if note := engine.get("note"):
        click.echo(f"note: {note}")
    click.echo("valid" if report["valid"] else "NOT VALID: " + "; ".join(report["doubts"]))


def print_comparison(found: RunComparison, names: tuple[str, str]) -> None:
    """The ratios with their intervals, whether the runs differ, and what else does."""
    click.echo(f"A: {names[0]}\nB: {names[1]}")
    click.echo(
        f"{'':<8}{'A, ms':>10}{'B, ms':>10}{'B / A':>9}  interval, {found.confidence:.0%} for all together"
    )
    for row in found.ratios:
        word = ("B is slower" if row.ratio > 1 else "B is faster") if row.differs else "no difference shown"
        click.echo(
            f"{row.percentile:<8}{row.a_ns / 1e6:>10.3f}{row.b_ns / 1e6:>10.3f}{row.ratio:>9.3f}"
            f"  {row.low:.3f} to {row.high:.3f}  {word}"
        )
    if found.not_compared:
        click.echo(f"not compared, too few samples: {', '.join(found.not_compared)}")
    for name, (a, b) in found.conditions.items():
        click.echo(f"measured under another {name}: {_short(a)} and {_short(b)}")
    for doubt in found.doubts:
        click.echo(f"doubtful: {doubt}")
    click.echo("The runs differ." if found.differ else "The runs do not differ by more than chance explains.")


def write_page(path: Path, samples: Mapping[str, Samples], report: Mapping[str, Any]) -> None:
    """The HTML report of a run."""
    from edgead.report import ReportData, latency_from_samples, write_report

    bundle, machine = report["bundle"], report["machine"]
    deadline, prediction = report.get("deadline"), report.get("prediction") or {}
    latency = latency_from_samples(
        samples,
        scenario=report["scenario"],
        budget_ms=deadline["ms"] if deadline else None,
        facts={
            name.strip(): value for name, _, value in map(_halves, [*_outcome(report), *_platform(report)])
        },
    )
    data = ReportData(
        title=f"Latency of {bundle['name']}",
        model=f"{bundle['family']}, {bundle['precision']} for {bundle['target']}",
        latency=latency,
        versions=machine["versions"],
        machine={"processor": machine["cpu"], "usable cores": machine["usable_cores"], **report["engine"]},
        notes=[f"Not valid: {doubt}." for doubt in report["doubts"]],
        prediction=prediction if "ms" in prediction else None,
    )
    write_report(path, data)


def _halves(line: str) -> tuple[str, str, str]:
    return line.partition(": ")


def _whole(report: Mapping[str, Any]) -> str:
    if "lines" in report:
        return "line to verdict"
    return "frame to verdict" if "frames" in report else _TITLES["total"]


def _outcome(report: Mapping[str, Any]) -> list[str]:
    """Each as "what: how much"."""
    found = []
    if highest := report.get("highest"):
        failed = highest["failed_at_hz"]
        beyond = f"; {failed:.0f} did not hold" if failed else ""
        found.append(
            f"highest line rate without loss: {highest['line_rate_hz']:.0f} lines/s, held for "
            f"{report['seconds']:.1f} s{beyond}"
        )
    if lines := report.get("lines"):
        found.append(
            f"lines: {lines['scheduled']} due, {lines['lost']} lost, {lines['unaccounted']} unaccounted for, "
            f"{lines['behind_at_the_end_ms']:.0f} ms behind at the end; at most "
            f"{lines['buffer']['high_water']} of {report['settings']['buffer_lines']} waited"
        )
        found.append(f"engine: busy for {lines['engine_share']:.0%} of the time")
    elif frames := report.get("frames"):
        found.append(
            f"frames: {frames['arrived']} due, {frames['served']} served, {frames['lost']} lost, "
            f"{frames['unserved']} never served, {frames['unaccounted']} unaccounted for"
        )
    else:
        count = report["stages_ns"]["total"]["count"]
        rate = f"{report['images_per_second']:.1f} inspections per second"
        found.append(f"rate: {count} images in {report['seconds']:.1f} s, {rate}")
        found.append(f"inspect() over the engine alone: {report['overhead']:+.1%} (p50)")
    if deadline := report.get("deadline"):
        found.append(
            f"deadline of {deadline['ms']:g} ms: missed by {deadline['missed']} of {deadline['of']} "
            f"({deadline['share']:.3%})"
        )
    low, high = report["intervals_ns"]["p99.9"]
    least = f"from {(low or 0) / 1e6:.3f} ms"
    most = "; more samples are needed to bound it above" if high is None else f" to {high / 1e6:.3f} ms"
    found.append(f"p99.9, 95 % interval: {least}{most}")
    if (rules := report.get("mlperf")) and not rules["reached"]:
        found.append(
            f"MLPerf's {rules['scenario']}: asks for {rules['min_seconds']:.0f} s and {rules['min_count']} "
            "queries; this run was shorter"
        )
    return found


def _platform(report: Mapping[str, Any]) -> list[str]:
    """What the platform reported, each quantity from least to most, in the unit that its name ends with."""
    found = []
    if memory := report.get("memory"):
        found.append(
            f"memory: {memory['growth_mb']:+.2f} MB from the first tenth to the last, "
            f"{memory['last_mb']:.0f} MB"
        )
    for name, seen in (report.get("telemetry") or {}).items():
        if name == "rss_mb":
            continue
        words, _, unit = name.rpartition("_")
        scale, unit = (
            (100, "%") if unit == "share" else (1, {"c": "°C", "w": "W", "mhz": "MHz"}.get(unit, ""))
        )
        spread = f"{seen['min'] * scale:.0f} to {seen['max'] * scale:.0f}, mean {seen['mean'] * scale:.1f}"
        found.append(f"{words.replace('_', ' ')}: {spread} {unit}".rstrip())
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _print_prediction(prediction: Mapping[str, Any]) -> None:
    if "missing" in prediction:
        click.echo(f"no prediction: {prediction['missing']}")
        return
    predicted, measured = prediction["ms"], prediction["measured_ms"]
    off = f"{predicted / measured - 1:+.1%}"
    click.echo(
        f"predicted for the engine alone: {predicted:.3f} ms, {off} of the p50 ({prediction['basis']})"
    )
    for note in prediction["notes"]:
        click.echo(f"  {note}")
