"""Fills the report's page and writes it whole or not at all."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from edgead.errors import DataError
from edgead.evaluation.evaluator import GOOD, Evaluation
from edgead.files import write_bytes
from edgead.metrics import AU_PRO, BY_KIND, IMAGE_AUROC, METRICS, SUMMARY, title_of
from edgead.report import allocation as budget
from edgead.report import figures
from edgead.report.data import NOT_MEASURED, ReportData
from edgead.report.pictures import case_groups, heat_scale, scale_legend, verdict_of


@dataclass(frozen=True)
class Tile:
    """One figure of the head: what, how much, and the words that keep it honest."""

    name: str
    value: str
    note: str


def write_report(path: str | os.PathLike[str], data: ReportData) -> None:
    """Write the report to one HTML file without external resources; sections without data say so.

    Raises DataError when the file cannot be written; an older file of that name stays as it was then.
    """
    write_bytes(path, render(data).encode(), error=DataError)


def render(data: ReportData) -> str:
    """Return the report as HTML."""
    loader = jinja2.PackageLoader("edgead.report", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["figure"] = _figure
    environment.filters["ms"] = lambda value: f"{value:.2f}"
    environment.globals["not_measured"] = NOT_MEASURED
    threshold = data.threshold.score if data.threshold else None
    page = environment.get_template("template.html")
    return page.render(
        data=data,
        created=data.created or datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup(loader.get_source(environment, "style.css")[0]),  # our own file, no input
        tiles=_tiles(data),
        **_pictures(data, threshold),
        **_charts(data, threshold),
        metrics=_metrics(data.evaluation),
        kinds=_kinds(data.evaluation, threshold),
        stages=_stages(data.stages),
        latency=_latency_table(data),
        late=_late(data),
        **_budget(data),
    )


def _budget(data: ReportData) -> dict[str, Any]:
    allocation, prediction = data.allocation, data.prediction
    return {
        "allocation_facts": budget.allocation_facts(allocation) if allocation else None,
        "allocation_rows": budget.allocation_rows(allocation) if allocation else (),
        "frontier": svg_uri(budget.frontier_svg(allocation)) if allocation else None,
        "prediction": budget.prediction_facts(prediction) if prediction else None,
    }


def _pictures(data: ReportData, threshold: float | None) -> dict[str, Any]:
    if data.evaluation is None:
        return {"groups": (), "scale": None, "legend": ""}
    scale = heat_scale(data.evaluation, data.threshold.pixel if data.threshold else None)
    groups = case_groups(data.evaluation, threshold, scale)
    return {"groups": groups, "scale": scale, "legend": scale_legend(scale) if scale else ""}


def _tiles(data: ReportData) -> tuple[Tile, ...]:
    summary = data.evaluation.summary() if data.evaluation else {}
    percentiles = data.latency.percentiles() if data.latency else {}
    caught, alarms = _operating_counts(data)
    late = f"p99 {percentiles['p99']:.2f} ms" if percentiles else ""
    return (
        Tile("defects caught", *caught),
        Tile("good parts rejected", *alarms),
        Tile(IMAGE_AUROC.title, _figure(summary.get(IMAGE_AUROC.key)), "1 is perfect, 0.5 is guessing"),
        Tile("AU-PRO", _figure(summary.get(AU_PRO.key)), "how much of each defect is marked"),
        Tile("latency, p50", f"{percentiles['p50']:.2f} ms" if percentiles else NOT_MEASURED, late),
        Tile("lost by compiling", *_drop(data)),
    )


def _operating_counts(data: ReportData) -> tuple[tuple[str, str], tuple[str, str]]:
    if data.evaluation is None or data.threshold is None:
        return (NOT_MEASURED, "no threshold or no test images"), (NOT_MEASURED, "")
    verdicts = [verdict_of(record, data.threshold.score) for record in data.evaluation.records]
    caught, missed = verdicts.count("caught"), verdicts.count("missed")
    alarms, passed = verdicts.count("false alarm"), verdicts.count("passed")
    return _share(caught, caught + missed), _share(alarms, alarms + passed)


def _share(part: int, whole: int) -> tuple[str, str]:
    if not whole:
        return NOT_MEASURED, "no such images"
    low, high = clopper_pearson(part, whole)
    return (
        f"{100 * part / whole:.1f} %",
        f"{part} of {whole}; 95 % interval {100 * low:.1f} to {100 * high:.1f} %",
    )


def clopper_pearson(part: int, whole: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact binomial interval of a share (Clopper and Pearson, Biometrika 26, 1934)."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = 0.0 if part == 0 else float(beta.ppf(tail, part, whole - part + 1))
    high = 1.0 if part == whole else float(beta.ppf(1 - tail, part + 1, whole - part))
    return low, high


def _drop(data: ReportData) -> tuple[str, str]:
    if len(data.stages) < 2:
        return NOT_MEASURED, ""
    first, *_, last = data.stages
    before, after = (data.stages[stage].get(IMAGE_AUROC.key) for stage in (first, last))
    if before is None or after is None:
        return NOT_MEASURED, ""
    where = f", on {data.stages_measured_on}" if data.stages_measured_on else ""
    return _signed(before - after).lstrip("+"), f"image AUROC, from {first} to {last}{where}"


def _charts(data: ReportData, threshold: float | None) -> dict[str, Any]:
    charts: dict[str, Any] = dict.fromkeys(
        ("histogram", "by_kind_chart", "roc", "pr", "latency_chart", "latency_time")
    )
    if data.evaluation is not None:
        charts.update(_score_charts(data.evaluation, threshold))
    if data.latency is not None:
        values, counts = data.latency.histogram()
        charts["latency_chart"] = svg_uri(
            figures.latency_histogram(values, counts, data.latency.percentiles(), data.latency.budget_ms)
        )
        if data.latency.counts is None and len(values) >= 2 * figures.TIME_PIECES:
            in_time = np.asarray(data.latency.values_ms, dtype=np.float64)
            charts["latency_time"] = svg_uri(figures.latency_over_time(in_time, data.latency.budget_ms))
    return charts


def _score_charts(evaluation: Evaluation, threshold: float | None) -> dict[str, str | None]:
    by_kind = _scores_by_kind(evaluation)
    good = by_kind.get(GOOD, np.empty(0))
    bad = np.concatenate([np.empty(0), *(values for kind, values in by_kind.items() if kind != GOOD)])
    charts: dict[str, str | None] = {
        "histogram": svg_uri(figures.score_histogram(good, bad, threshold)),
        "by_kind_chart": svg_uri(figures.scores_by_kind(by_kind, threshold)),
    }
    if good.size and bad.size:
        charts.update(_curves(good, bad, threshold))
    return charts


def _curves(good: np.ndarray, bad: np.ndarray, threshold: float | None) -> dict[str, str | None]:
    from sklearn import metrics

    labels, scores = np.r_[np.zeros(good.size), np.ones(bad.size)], np.r_[good, bad]
    false, true, _ = metrics.roc_curve(labels, scores)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    roc_point = pr_point = None
    if threshold is not None:
        caught, alarms = int((bad >= threshold).sum()), int((good >= threshold).sum())
        roc_point = (alarms / good.size, caught / bad.size)
        pr_point = (caught / bad.size, caught / (caught + alarms)) if caught + alarms else None
    prevalence = bad.size / labels.size
    roc = figures.curve(
        false,
        true,
        xlabel="good parts rejected",
        ylabel="defects caught",
        chance=((0, 0), (1, 1)),
        point=roc_point,
    )
    pr = figures.curve(
        recall,
        precision,
        xlabel="defects caught (recall)",
        ylabel="rejects that are defects (precision)",
        chance=((0, prevalence), (1, prevalence)),
        point=pr_point,
    )
    return {"roc": svg_uri(roc), "pr": svg_uri(pr)}


def _scores_by_kind(evaluation: Evaluation) -> dict[str, np.ndarray]:
    kinds = sorted({record.kind for record in evaluation.records}, key=lambda kind: (kind != GOOD, kind))
    return {k: np.array([r.score for r in evaluation.records if r.kind == k]) for k in kinds}


def _metrics(evaluation: Evaluation | None) -> list[tuple[str, str]]:
    found = evaluation.summary() if evaluation else {}
    return [(metric.title, _figure(found.get(metric.key))) for metric in SUMMARY]


def _kinds(evaluation: Evaluation | None, threshold: float | None) -> list[dict[str, Any]]:
    if evaluation is None:
        return []
    rows: list[dict[str, Any]] = []
    for kind, found in evaluation.by_kind.items():
        verdicts = [verdict_of(record, threshold) for record in evaluation.records if record.kind == kind]
        caught = f"{verdicts.count('caught')} of {len(verdicts)}" if threshold is not None else NOT_MEASURED
        rows.append({"kind": kind, "count": str(found.count), "caught": caught})
        rows[-1]["figures"] = [_figure(found.figures[metric.key]) for metric in BY_KIND]
    return rows


def _stages(stages: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, list[str], str]]:
    """Return per metric its name, its figure in each stage, and the last less the first."""
    names = {name for figures_ in stages.values() for name in figures_}
    known = [metric.key for metric in METRICS if metric.key in names]
    ordered = [*known, *sorted(names.difference(known))]
    rows = []
    for name in ordered:
        values = [figures_.get(name) for figures_ in stages.values()]
        first, last = values[0], values[-1]
        both = len(values) > 1 and first is not None and last is not None
        change = _signed(last - first) if both and first is not None and last is not None else ""
        rows.append((title_of(name), [_figure(v) for v in values], change))
    return rows


def _latency_table(data: ReportData) -> dict[str, dict[str, float]]:
    if data.latency is None:
        return {}
    return {"whole inspection": data.latency.percentiles(), **data.latency.stage_percentiles()}


def _late(data: ReportData) -> str:
    if data.latency is None or data.latency.budget_ms is None:
        return ""
    values, counts = data.latency.histogram()
    late, total = int(counts[values > data.latency.budget_ms].sum()), int(counts.sum())
    return f"{late} of {total} inspections took longer than the budget of {data.latency.budget_ms:g} ms."


def _figure(value: object) -> str:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return NOT_MEASURED if value is None else str(value)
    return f"{value:.4f}" if math.isfinite(value) else NOT_MEASURED


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def svg_uri(svg: str) -> str:
    """A picture for the src of an img: no script in it runs."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")
