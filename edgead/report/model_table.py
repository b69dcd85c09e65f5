"""The table of a comparison as Markdown, CSV and HTML, and its plot of precision against latency."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.ticker import LogLocator, NullFormatter

from edgead.evaluation.model_table import COST_COLUMNS, ModelTable, TableRow
from edgead.metrics import AU_PRO, IMAGE_AUROC, METRICS
from edgead.report.figures import BAD_COLOUR, INK, STYLE, new_figure, svg_text
from edgead.report.page import svg_uri

COLUMNS = {**{metric.key: metric.column for metric in METRICS}, **COST_COLUMNS}
_OPTIONAL = {metric.key for metric in METRICS if metric.is_optional}
NOTES = (
    "Figures in percent. The columns up to mAD are those of ADer's benchmark (arXiv 2406.03262), in its "
    "order: means over products; F1max_P and IoUmax over the thresholds 0, 0.05, ... 1 of the map scaled "
    "to 0..1 over the product's test images, mF1, mAcc (recall) and mIoU over 0.2, 0.3, ... 0.8. AUROC_P,"
    " AP_P and PRO (to a false-positive rate of 0.3) are exact here, where ADer's are of 50 bins: they "
    "may differ in the last digits.",
    "exact: over every threshold. PRO of 100 steps: ADer's older definition, with the rate stretched to "
    "0..1. _S: of parts, the highest score of their views. mAD: the mean of the seven figures up to PRO.",
    "p50 ms: median time of a prediction in this evaluation, one image at a time; `edgead bench` measures"
    " latency properly. MB: bundles, or the weights of runs. Test images chose nothing.",
)


def markdown(comparison: ModelTable) -> str:
    """The rows, then every product, then the notes."""
    parts = [f"# ModelTable\n\nMaps and masks at {comparison.size} x {comparison.size}.\n"]
    for title, entries in (("Means over products", comparison.rows()), ("Products", comparison.entries)):
        columns = _used(entries)
        lines = [["model", "data set", "product", *columns.values()]]
        lines += [[*_names(entry), *_cells(entry, columns)] for entry in entries]
        lines.insert(1, ["---"] * 3 + ["---:"] * len(columns))
        escaped = ("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        parts.append(f"## {title}\n\n" + "\n".join(escaped) + "\n")
    failures = [f"- {' / '.join(_names(e))}: {e.failure}" for e in comparison.entries if e.failure]
    failures += [f"- left out: {reason}" for reason in comparison.left_out]
    if failures:
        parts.append("## Not measured\n\n" + "\n".join(failures) + "\n")
    return "\n".join([*parts, *(f"{note}\n" for note in NOTES)])


def csv_text(comparison: ModelTable) -> str:
    """One line per row and per product, figures in 0..1 with all digits, empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "dataset", "product", *COLUMNS, "failure"])
    for entry in (*comparison.rows(), *comparison.entries):
        values = [entry.figures.get(name) for name in COLUMNS]
        writer.writerow([*_names(entry), *("" if v is None else repr(v) for v in values), entry.failure])
    return text.getvalue()


def html(comparison: ModelTable) -> str:
    """One self-contained page with the plot."""
    loader = jinja2.PackageLoader("edgead.report", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    tables = []
    for title, entries in (("Means over products", comparison.rows()), ("Products", comparison.entries)):
        columns = _used(entries)
        rows = [(_names(entry), _cells(entry, columns), entry.failure) for entry in entries]
        tables.append((title, list(columns.values()), rows))
    return environment.get_template("comparison.html").render(
        style=Markup(loader.get_source(environment, "style.css")[0]),  # our own file, no input
        tables=tables,
        left_out=comparison.left_out,
        plots=[svg_uri(plot) for plot in latency_plots(comparison)],
        notes=NOTES,
        size=comparison.size,
    )


def latency_plots(comparison: ModelTable) -> list[str]:
    """For each data set an SVG of image AUROC and, beside it, AU-PRO of each model against its latency."""
    plots = []
    rows = [row for row in comparison.rows() if row.figures.get("latency_ms") is not None]
    for dataset in dict.fromkeys(row.dataset for row in rows):
        of_set = [row for row in rows if row.dataset == dataset]
        with mpl.rc_context(STYLE):
            figure = new_figure(7.6, 3.2)
            panels = figure.subplots(1, 2)
            for axes, (name, words) in zip(
                panels, ((metric.key, f"{metric.title}, %") for metric in (IMAGE_AUROC, AU_PRO)), strict=True
            ):
                _draw(axes, of_set, name)
                axes.set_ylabel(words)
                axes.set_xlabel("p50 of a prediction, ms")
            figure.suptitle(dataset.replace("$", r"\$"), fontsize=10)
            plots.append(svg_text(figure))
    return plots


def _draw(axes: Any, rows: Sequence[TableRow], name: str) -> None:
    """A point per model with its name; those that no other beats in both are joined."""
    points = [
        (row.figures["latency_ms"] or 0.0, 100 * value, row.model)
        for row in rows
        if (value := row.figures.get(name)) is not None
    ]
    if not points:
        axes.text(0.5, 0.5, "not defined", ha="center", transform=axes.transAxes)
        return
    best, front = -1.0, []
    for x, y, _ in sorted(points, key=lambda point: (point[0], -point[1])):
        if y > best:
            best = y
            front.append((x, y))
    axes.step(*zip(*front, strict=True), where="post", color=BAD_COLOUR, linewidth=1)
    for x, y, words in points:
        axes.plot(x, y, "o", color=INK, markersize=5)
        axes.annotate(
            words.replace("$", r"\$"),
            (x, y),
            textcoords="offset points",
            xytext=(0, 6),
            fontsize=8,
            ha="center",
        )
    slowest, fastest = max(p[0] for p in points), min(p[0] for p in points)
    if slowest > 10 * fastest > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.22, y=0.18)
    axes.grid(True)
    axes.set_axisbelow(True)


def _used(entries: Sequence[TableRow]) -> Mapping[str, str]:
    """ADer's columns and the costs always; of the others those that any entry has."""
    return {
        name: heading
        for name, heading in COLUMNS.items()
        if name not in _OPTIONAL or any(entry.figures.get(name) is not None for entry in entries)
    }


def _names(entry: TableRow) -> list[str]:
    return [entry.model, entry.dataset, entry.product]


def _cells(entry: TableRow, columns: Mapping[str, str]) -> list[str]:
    return [_cell(name, entry.figures.get(name)) for name in columns]


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name in COST_COLUMNS:
        return f"{value:.0f}" if name == "images" else f"{value:.2f}"
    return f"{100 * value:.1f}"
