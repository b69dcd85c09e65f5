"""Several reports in one file: a table of their figures, and each report whole behind its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from edgead.metrics import GATED, PIXEL_AUROC
from edgead.report.data import Facts, Figures

# figure -> heading, decimals
COLUMNS = {
    **{metric.key: (metric.title, 4) for metric in (*GATED, PIXEL_AUROC)},
    **{f"int8_drop_{metric.key}": (f"INT8's drop of {metric.title}", 4) for metric in GATED},
    "latency_p50_ms": ("latency p50, ms", 2),
    "bundle_mb": ("bundle, MB", 2),
    "seconds": ("seconds in all", 0),
}


@dataclass(frozen=True)
class IndexEntry:
    """One report: its name, its figures, and its page as `render` makes it."""

    name: str
    figures: Figures
    page: str


def index_page(title: str, entries: Sequence[IndexEntry], *, means: Figures, machine: Facts) -> str:
    """Return one HTML page, self-contained like the reports within; figures that are None say so."""
    loader = jinja2.PackageLoader("edgead.report", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    rows = [(entry.name, _cells(entry.figures)) for entry in entries]
    return environment.get_template("index.html").render(
        title=title,
        style=Markup(loader.get_source(environment, "style.css")[0]),  # our own file, no input
        headings=[heading for heading, _ in COLUMNS.values()],
        rows=[*rows, ("mean", _cells(means))] if len(rows) > 1 else rows,
        entries=entries,
        machine=machine,
    )


def _cells(figures: Mapping[str, float | None]) -> list[str]:
    cells = []
    for name, (_, decimals) in COLUMNS.items():
        value = figures.get(name)
        cells.append("not measured" if value is None else f"{value:.{decimals}f}")
    return cells
