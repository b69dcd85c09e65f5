"""`edgead demo`: the whole path on drawn images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgead.cli.options import json_option, write_json
from edgead.cli.stage_progress import stage_progress


@click.command()
@click.option(
    "--out",
    default="runs/demo",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write everything here.",
)
@click.option(
    "--product",
    default="metal",
    show_default=True,
    type=click.Choice(["metal", "fabric", "board", "all"]),
    help="The product to draw; all takes about three times as long.",
)
@click.option(
    "--minutes",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="About how long the whole may take.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Train this many steps each, however long it takes."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@json_option
def command(
    out: Path, product: str, minutes: float, steps: int | None, seed: int, json_path: str | None
) -> None:
    """Draw products, train on them, compile for this machine, evaluate and time: a look at the whole path.

    \b
    Examples:
      edgead demo
      edgead demo --product all --minutes 15

    The target is intel-cpu where OpenVINO is installed, else cpu. What drawing, compiling and measuring leave
    of --minutes is spent on training, so figures depend on the machine; with --steps they do not.
    """
    from edgead.demo.run import PRODUCTS, REPORT_FILE, SUMMARY_FILE, Listener, run_demo

    summary = run_demo(
        out,
        products=PRODUCTS if product == "all" else (product,),
        minutes=minutes,
        steps=steps,
        seed=seed,
        listener=Listener(say=lambda line: click.echo(line, err=True), training=stage_progress),
    )
    if json_path is not None:
        write_json(json_path, summary)
    if json_path != "-":
        _print(summary, out / REPORT_FILE, out / SUMMARY_FILE)


def _print(summary: dict[str, Any], report: Path, file: Path) -> None:
    from edgead.report.index import COLUMNS

    products = summary["products"]
    titles = {key: title for key, (title, _) in COLUMNS.items()}
    width = max(map(len, titles.values())) + 1
    click.echo(" " * width + "".join(f"{name:>10}" for name in [*products, "mean"]))
    for key, title in titles.items():
        values = [*(figures[key] for figures in products.values()), summary[key]]
        click.echo(f"{title:<{width}}" + "".join(f"{_figure(value):>10}" for value in values))
    click.echo(
        "Measured on the synthetic test images, compiled bundles; the last seconds are of the whole demo."
    )
    click.echo(f"Report:  {report}\nSummary: {file}")


def _figure(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.0f}" if value >= 100 else f"{value:.4f}"
