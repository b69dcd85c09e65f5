"""`edgead datasets coco-ad`: one split of COCO-AD from COCO 2017."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from edgead.cli.options import json_option, write_json
from edgead.cli.progress import progress_share
from edgead.errors import DataError


@click.command(name="coco-ad")
@click.option("--coco", required=True, type=click.Path(path_type=Path), metavar="DIR", help="COCO 2017.")
@click.option("--split", required=True, type=click.IntRange(0, 3), help="Which 20 classes are anomalies.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A new folder.")
@json_option
def command(coco: Path, split: int, out: Path, json_path: str | None) -> None:
    """Make a split of COCO-AD: 20 of COCO's 80 classes are anomalies, training has none of them.

    \b
    Example:
      edgead datasets coco-ad --coco data/coco --split 0 --out data/coco-ad-0

    --coco holds train2017/, val2017/ and annotations/. Pictures are linked, masks written. The counts are
    compared with the published ones; exit status 1 says that they differ.
    """
    from edgead.datasets.coco_ad import make_coco_ad

    with progress_share("Drawing masks") as on_share:
        made = make_coco_ad(coco, out, split=split, on_progress=on_share)
    if json_path is not None:
        write_json(json_path, {"out": str(out), **asdict(made)})
    if made.differences:
        raise DataError(
            f"{out} was written, and is not COCO-AD as published: {'; '.join(made.differences)}. Is COCO "
            "2017 whole?"
        )
    if json_path != "-":
        counts = (
            f"{made.train} to train on, {made.test_good} good and {made.test_anomalous} anomalous to test on"
        )
        checked = "as published" if made.is_coco_2017 else "not COCO 2017: counts not compared"
        click.echo(f"{out}: {counts} ({checked})")
