"""`edgead train`: from a folder of good images to a run folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import json_option, write_json
from edgead.cli.stage_progress import stage_progress
from edgead.cli.train_allocation import ALLOCATION_OPTIONS, allocated_settings, allocation_options
from edgead.cli.train_options import TrainOptions
from edgead.errors import TrainingError

if TYPE_CHECKING:
    from edgead.training.run import Run


_LEAST_AUROC = 0.6  # on synthetic anomalies; below it something is wrong with the images or the training
_PRESETS = (
    "What it consists of. realnet: compact, paper, multi-class, paper-multi-class (the authors' advice for "
    "many products). invad: compact, lite, paper."
)


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Write this run folder."
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps of training.  [default: 1500]")
@click.option("--minutes", type=float, help="Train for about this long, in place of --steps.")
@click.option(
    "--model",
    default="realnet",
    show_default=True,
    metavar="FAMILY",
    help="realnet, or invad: one for many products.",
)
@click.option(
    "--preset",
    default="compact",
    show_default=True,
    help=_PRESETS,
)
@click.option("--backbone", metavar="NAME", help="The frozen network behind all.  [default: the preset's]")
@click.option("--stages", metavar="LIST", help="Its stages in use, as in 1,2,3.  [default: the preset's]")
@click.option(
    "--channels", "--budgets", metavar="LIST", help="Channels kept of each stage.  [default: the preset's]"
)
@click.option("--input-size", metavar="SIZE", help="Height x width, as in 256 or 256x512.  [default: 256]")
@click.option(
    "--synthesis",
    metavar="MIX",
    help="Sources of anomalies, as in seamless=0.3,subtle=0.7; or the folder of a set, see --anomaly-set.",
)
@click.option("--anomaly-set", metavar="SET", help="Synthetic anomalies of edgead synthesize sample.")
@click.option("--textures", metavar="FOLDER", help="Images as textures of anomalies, not generated ones.")
@click.option("--batch", type=int, help="Images per step, half of them anomalous.  [default: 16]")
@click.option("--learning-rate", type=float, help="[default: 0.001]")
@click.option(
    "--group-by",
    metavar="HOW",
    help="Which images show one part: a regular expression for their names, a .csv file with the columns "
    "file and group, or image: each its own.  [default: near duplicates]",
)
@click.option(
    "--folds",
    type=click.IntRange(min=1),
    help="Train this many times, each time holding out other groups: all of them set the threshold.  "
    "[default: 1]",
)
@click.option(
    "--augment",
    metavar="HOW",
    help="Changes of good images that the line shows: auto (found from the images), none, or a list of "
    "shift, rotate, flip, flip-x, flip-y, light, as in shift=0.02,rotate=5,light.  [default: none]",
)
@click.option("--seed", type=click.IntRange(min=0), help="[default: 0]")
@click.option("--false-alarm-rate", type=float, help="Good parts that may be rejected.  [default: 0.02]")
@allocation_options
@json_option
def command(
    data: tuple[Path, ...], out: Path, minutes: float | None, json_path: str | None, **chosen: Any
) -> None:
    """Train on the good images of DATA: a folder of them, or one in the layout of MVTec AD.

    Several folders are several products, for which one model is trained; each is drawn equally often.

    \b
    Examples:
      edgead train parts/good --out runs/part
      edgead train parts/good --out runs/part --minutes 20 --synthesis seamless=0.3,subtle=0.7
      edgead train parts/good --out runs/part --synthesis sets/part
      edgead train parts/good --out runs/part --group-by "part-([0-9]+)" --augment rotate=10,light
      edgead train parts/screw parts/nut parts/clip --model invad --out runs/all
      edgead train parts/good --out runs/part --target my-device.toml --latency-ms 6
      torchrun --nproc-per-node 2 -m edgead train parts/good --out runs/part

    Some good images are held out: they set the threshold. Images of one part, tile or lot are held out
    together (--group-by); how many groups there are decides which rate can be promised. Where they are few,
    --folds 5 takes five times as long, and all groups count. Test images are not read. When RUN holds an
    unfinished training with the same settings on the same images, it goes on from the last checkpoint, to the
    same result; just give the same command again.

    With --target and --latency-ms, the network is the best that takes no more there: its stages, channels and
    sizes are chosen by their information on synthetic anomalies and by what they cost on the device
    (`edgead targets measure`).
    """
    limits = {name: chosen.pop(name) for name in ALLOCATION_OPTIONS}
    options = TrainOptions(minutes=minutes, **chosen)
    settings = allocated_settings(data, out, options, json_path=json_path, **limits)
    if settings is None:
        return
    from edgead.training.train import train

    _say_images(data)
    try:
        with stage_progress() as on_progress:
            run = train(data, out, settings=settings, minutes=minutes, on_progress=on_progress)
    except KeyboardInterrupt:
        raise TrainingError(_interrupted(out)) from None
    if run is None:  # a process of torchrun that is not the first
        return
    _warn(run)
    if json_path is not None:
        write_json(json_path, _answer(run))
    if json_path != "-":
        _print(run)


def _say_images(folders: Sequence[Path]) -> None:
    """How many good images there are, and what of each folder is none."""
    from edgead.datasets import open_dataset
    from edgead.learning.distributed import is_first_process

    for dataset in map(open_dataset, folders if is_first_process() else ()):
        left_out = f"; {dataset.ignored_in_words}" if dataset.ignored else ""
        click.echo(f"{dataset.root}: {len(dataset.train)} good images{left_out}", err=True)


def _interrupted(out: Path) -> str:
    if (out / "checkpoint.safetensors").exists():
        return f"Interrupted. {out} holds the last checkpoint: the same command goes on from there."
    return f"Interrupted before the first checkpoint in {out}: the same command begins again."


def _answer(run: Run) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "run": str(run.path),
        "name": run.name,
        "seconds": run.seconds,
        "settings": run.settings.to_json(),
        "validation": dict(run.validation),
        "groups": run.grouping,
        "threshold": asdict(run.threshold),
        "hashes": dict(run.hashes),
    }


def _warn(run: Run) -> None:
    from edgead.metrics import IMAGE_AUROC

    found = run.validation.get(IMAGE_AUROC.key)
    if found is not None and found < _LEAST_AUROC:
        click.echo(
            f"Warning: the model hardly finds the kind of anomalies that it was trained on (image AUROC "
            f"{found:.2f}; 0.5 is guessing). Look at the images: are they empty, nearly black, or all alike? "
            "Or train longer.",
            err=True,
        )


def _print(run: Run) -> None:
    from edgead.metrics import KEY_WIDTH

    threshold, steps = run.threshold, run.settings.steps
    click.echo(f"{run.path}: {run.config.backbone}, {steps} steps in {run.seconds / 60:.1f} minutes")
    click.echo("Held-out good images and synthetic anomalies on them (not real defects):")
    for name, value in run.validation.items():
        click.echo(f"  {name:<{KEY_WIDTH}} {'not defined' if value is None else format(value, '.4f')}")
    click.echo(f"Good images augmented by: {run.settings.augment}")
    grouping = run.grouping
    click.echo(
        f"Groups of good images ({grouping['found_by']}): {grouping['train']} trained, "
        f"{grouping['validation']} held out"
        + (f"; all of them in turn, by {run.settings.folds} trainings" if run.settings.folds > 1 else "")
    )
    click.echo(
        f"Threshold {threshold.score:.4g}, {threshold.method}: a good part exceeds it (a false reject) with "
        f"probability {threshold.false_alarm_rate:.1%} ({threshold.interval_low:.1%} to "
        f"{threshold.interval_high:.1%} at {threshold.confidence:.0%} confidence)"
    )
    name = run.path.resolve().name
    click.echo(f"Next: edgead compile {os.fspath(run.path)} --target intel-cpu --out {name}.edgead")
