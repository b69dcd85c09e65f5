"""`edgead evaluate --table`: many models on many data sets, as tables and a plot."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgead.cli.options import plain_json, write_json
from edgead.cli.progress import progress_share
from edgead.errors import DataError

if TYPE_CHECKING:
    from edgead.evaluation.evaluator import Predict
    from edgead.evaluation.model_table import ModelTable

TABLE = "table"


def evaluate_many(
    models: Path,
    data: Path,
    out: Path,
    *,
    size: int,
    engine: str | None,
    threads: int | None,
    json_path: str | None,
) -> None:
    """Write table.md, .csv, .html and .json and a plot for each data set to `out`; print the rows.

    table.json is written after each model and product: an interruption loses the one in work. Raises
    DataError at the end where some have no answer.
    """
    from edgead.api.opened_model import open_model
    from edgead.evaluation.model_table import compare, find_datasets, find_models

    found = find_models(models)
    datasets, left_out = find_datasets(data)
    out.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def predictor_at(path: Path) -> Iterator[Predict]:
        with open_model(path, engine=engine, threads=threads) as model:
            yield model.predict

    with progress_share("Evaluating") as on_share:
        comparison = compare(
            found,
            datasets,
            open_model=predictor_at,
            size=size,
            left_out=left_out,
            on_entry=lambda so_far: write_json(str(out / f"{TABLE}.json"), so_far.to_json()),
            on_progress=on_share,
        )
    _write(comparison, out)
    if json_path is not None:
        write_json(json_path, plain_json(comparison.to_json()))
    if json_path != "-":
        _print(comparison, out)
    failed = [f"{e.model} on {e.product}: {e.failure}" for e in comparison.entries if e.failure]
    if failed:
        raise DataError(f"{len(failed)} of {len(comparison.entries)} have no answer. {failed[0]}")


def _write(comparison: ModelTable, out: Path) -> None:
    from edgead.files import write_bytes
    from edgead.report.model_table import csv_text, html, latency_plots, markdown

    for suffix, text in (
        (".md", markdown(comparison)),
        (".csv", csv_text(comparison)),
        (".html", html(comparison)),
    ):
        write_bytes(out / f"{TABLE}{suffix}", text.encode())
    for number, plot in enumerate(latency_plots(comparison)):
        write_bytes(out / f"latency-{number}.svg", plot.encode())


def _print(comparison: ModelTable, out: Path) -> None:
    from edgead.metrics import ADER_METRICS

    rows = comparison.rows()
    width = max(len(f"{row.model} on {row.dataset}") for row in rows)
    click.echo(
        f"{'':<{width}}  "
        + " ".join(f"{heading:>8}" for heading in (metric.column for metric in ADER_METRICS))
    )
    for row in rows:
        values = (row.figures.get(metric.key) for metric in ADER_METRICS)
        cells = " ".join(f"{'-' if value is None else format(100 * value, '.1f'):>8}" for value in values)
        click.echo(f"{f'{row.model} on {row.dataset}':<{width}}  {cells}")
    click.echo(f"Tables: {out / TABLE}.md, .csv, .html and .json")
