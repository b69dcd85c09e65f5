"""`edgead train-all`: a training plan, carried out on this machine or on those of a Ray cluster."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import json_option, plain_json, write_json
from edgead.cli.progress import is_watched
from edgead.errors import TrainingError

if TYPE_CHECKING:
    from edgead.training.spread import JobState

SUMMARY = "train-all.json"


@click.command(name="train-all")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--ray", "address", default="local", show_default=True, metavar="ADDRESS", help="A Ray cluster, or local."
)
@json_option
def command(plan: Path, address: str, json_path: str | None) -> None:
    """Train every product of PLAN, a TOML file, with every seed.

    \b
    A training plan:
      out = "runs/night"
      data = ["data/mvtec"]
      seeds = [0, 1]
      [train]
      steps = 1500
      [resources]
      cpus = 1
      memory_gb = 4

    \b
    Examples:
      edgead train-all night.toml
      edgead train-all night.toml --ray 10.0.0.5:6379

    The runs are in out/seed-<seed>/<product>. A training whose worker is lost is started again and goes on
    from its last checkpoint; the same command after an interruption goes on as well, and keeps what is
    finished. On several machines, plan, data and runs lie on a disk that all of them see under the same path.
    docs/datasets.md has all entries of a training plan.
    """
    from edgead.cli.train_all_plan import NOTES, read_plan
    from edgead.training.spread import train_all

    read = read_plan(plan)
    read.out.mkdir(parents=True, exist_ok=True)
    (read.out / NOTES).mkdir(exist_ok=True)
    table = _Table(read.out / SUMMARY)
    try:
        states = train_all(
            read.jobs, resources=read.resources, address=address, retries=read.retries, on_change=table
        )
    except KeyboardInterrupt:
        raise TrainingError("Interrupted. The same command goes on from the last checkpoints.") from None
    if json_path is not None:
        write_json(json_path, plain_json(_summary(states)))
    if json_path != "-":
        click.echo("\n".join(_lines(states)))
        click.echo(f"Runs: {read.out}")
    failed = [state for state in states if state.result.error]
    if failed:
        first = failed[0]
        raise TrainingError(
            f"{len(failed)} of {len(states)} trainings failed. {first.job.name}, seed {first.job.seed}: "
            f"{first.result.error}"
        )


class _Table:
    """Writes the table again for a person, prints changes for a log, and keeps the summary on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines_above = 0
        self._last: list[str] = []

    def __call__(self, states: Sequence[JobState]) -> None:
        marks = [f"{state.status} {len(state.losses)}" for state in states]
        pairs = enumerate(itertools.zip_longest(marks, self._last))
        changed = [number for number, (mark, last) in pairs if mark != last]
        if changed:
            write_json(str(self._path), plain_json(_summary(states)))
        if is_watched():
            back = f"\x1b[{self._lines_above}F\x1b[J" if self._lines_above else ""
            lines = _lines(states)
            sys.stderr.write(back + "\n".join(lines) + "\n")
            sys.stderr.flush()
            self._lines_above = len(lines)
        else:
            for number in changed:
                click.echo(_line(states[number]), err=True)
        self._last = marks


def _lines(states: Sequence[JobState]) -> list[str]:
    counts = dict.fromkeys(("waiting", "training", "done", "failed"), 0)
    for state in states:
        counts[state.status] += 1
    total = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return [*(_line(state) for state in states), total]


def _line(state: JobState) -> str:
    what = f"{state.job.name:<24} seed {state.job.seed:<4} {state.status:<9}"
    lost = f", {len(state.losses)} worker(s) lost" if state.losses else ""
    if state.status == "training":
        noted = state.progress()
        at = f"{noted.get('stage', '')} {noted.get('step', 0)}/{noted.get('steps', 0)}"
        return f"{what} {at} on {noted.get('host', '?')}{lost}"
    if state.status == "done":
        from edgead.metrics import IMAGE_AUROC

        auroc = state.result.figures.get(IMAGE_AUROC.key)
        held_out = "" if auroc is None else f"held-out image AUROC {auroc:.4f}, "
        was_there = " (was there)" if state.result.was_there else ""
        return f"{what} {held_out}{state.result.steps} steps in {state.result.seconds:.0f} s{was_there}{lost}"
    return f"{what} {state.result.error}{lost}".rstrip()


def _summary(states: Sequence[JobState]) -> list[dict[str, Any]]:
    return [
        {
            "product": state.job.name,
            "seed": state.job.seed,
            "run": state.job.out,
            "status": state.status,
            "losses": list(state.losses),
            **asdict(state.result),
        }
        for state in states
    ]
