"""What the simplest detectors reach on the same images and the same backbone: what edgead has to beat.

    python benchmarks/rivals.py                        # the data sets beside the repository
    python benchmarks/rivals.py --data part=parts/
    python benchmarks/rivals.py --quick

The detectors are those of `simple_detectors`, which read test images for their figures alone; beside them
stands the control, the nearest training thumbnail without any network.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
from common import ROOT, Row, json_option, quick_option, report
from simple_detectors import BACKBONE, BANK, FIGURES, Reached, best_rival, rivals_on

from edgead.datasets import ImageDataset, open_dataset

SETS = ("mtd", "pcb", "kolektorsdd", "bsdata", "aitex_fabric03", "piped_brg01_rl")
DATA = {name: ROOT.parent / "shared" / "data" / name for name in SETS}


def rival_rows(reached: Mapping[str, Sequence[Reached]]) -> list[Row]:
    """One row for each rival, data set and figure."""
    return [
        Row(f"{name}: {one.rival}, {metric.title}", one.figures[metric.key], "", higher_is_better=True)
        for name, found in reached.items()
        for one in found
        for metric in FIGURES
    ]


def data_of(pairs: Sequence[str]) -> dict[str, Path]:
    """The data sets of `--data NAME=PATH`, by name; without any, those beside the repository."""
    given = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(given) != len(pairs):
        raise click.UsageError("--data is written NAME=PATH.")
    present = {name: path for name, path in DATA.items() if path.is_dir()}
    data = {name: Path(path) for name, path in given.items()} or present
    if not data:
        raise click.UsageError(f"No data at {DATA['mtd'].parent}. Give your own: --data NAME=PATH.")
    return data


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--data", "pairs", multiple=True, metavar="NAME=PATH", help="Data sets.  [default: all six]")
@quick_option
@json_option
def main(pairs: tuple[str, ...], quick: bool, json_path: str | None) -> None:
    data = data_of(pairs)
    reached: dict[str, list[Reached]] = {}
    controls: dict[str, float | None] = {}
    for name, path in list(data.items())[: 1 if quick else None]:
        started = time.monotonic()
        dataset = open_dataset(path)
        if quick:
            dataset = _few(dataset)
        reached[name], control = rivals_on(dataset)
        controls[name] = None if control is None else control.auroc
        click.echo(f"{name}: {time.monotonic() - started:.0f} s", err=True)
    best, mean = best_rival(reached)
    rows = [
        *(Row(f"{name}: control, thumbnails, image AUROC", value, "") for name, value in controls.items()),
        *rival_rows(reached),
        Row(f"best rule on the mean of {len(reached)} sets: {best}, image AUROC", mean, ""),
    ]
    report("rivals", rows, json_path=json_path, quick=quick, settings={"backbone": BACKBONE, "bank": BANK})


def _few(dataset: ImageDataset) -> ImageDataset:
    every = max(1, len(dataset.test) // 16)
    return replace(dataset, train=dataset.train[:8], test=dataset.test[::every])


if __name__ == "__main__":
    main()
