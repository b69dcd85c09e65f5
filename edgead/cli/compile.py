"""`edgead compile`: from a run to one verified .edgead file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgead.cli.options import json_option, threads_option, write_json
from edgead.cli.progress import is_watched

if TYPE_CHECKING:
    from edgead.compiler.stages import CompileReport, StageReport


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--target", required=True, metavar="NAME", help="A device (`edgead targets`), or your own .toml."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Write this file."
)
@click.option(
    "--recipe", metavar="NAME", help="A calibration recipe, or your own .toml.  [default: the target's]"
)
@click.option("--precision", metavar="NAME", help="int8 or f32.  [default: the target's first]")
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 1),
    help="Refuse a larger drop of image AUROC or AU-PRO.  [default: the recipe's]",
)
@click.option(
    "--with-half",
    is_flag=True,
    help="Also pack the model in half precision: TensorRT keeps it where it is faster than INT8. The file "
    "grows by about twice the INT8 model.",
)
@threads_option
@json_option
def command(
    run: Path,
    target: str,
    out: Path,
    recipe: str | None,
    precision: str | None,
    max_drop: float | None,
    with_half: bool,
    threads: int | None,
    json_path: str | None,
) -> None:
    """Compile the run folder RUN for a device: ONNX checked against torch, INT8, accuracy gate, one file.

    \b
    Examples:
      edgead compile runs/part --target intel-cpu --out part.edgead
      edgead compile runs/part --target cpu --recipe my.toml --out part.edgead --json -

    The run's data must still be where it was trained: training images calibrate, held-out ones judge. Exit
    status 3 when INT8 costs more accuracy than the recipe allows; nothing is written then.
    """
    from edgead.compiler.recipe import load_recipe
    from edgead.profiles.target import read_target

    found = read_target(target)
    chosen = load_recipe(recipe or found.options.get("calibration", "default"))
    if max_drop is not None:
        chosen = chosen.with_max_drop(max_drop)
    if is_watched():
        click.echo("Loading torch and the run ...", err=True)
    from edgead.compiler.from_run import compile_run  # after the checks: it loads torch, which takes seconds

    report = compile_run(
        run,
        target=found,
        out=out,
        recipe=chosen,
        precision=precision,
        threads=threads,
        with_half=with_half,
        on_stage=_tell,
    )
    if json_path is not None:
        write_json(json_path, report.to_json())
    if json_path != "-":
        _summarise(report)


def _tell(stage: StageReport) -> None:
    """One line per finished step, on stderr: stdout is for the answer."""
    click.echo(str(stage), err=True)
    sys.stderr.flush()


def _summarise(report: CompileReport) -> None:
    from edgead.metrics import KEY_WIDTH

    click.echo(f"{report.path}: {report.megabytes:.2f} MB, {report.precision} on {report.engine}, ", nl=False)
    click.echo(f"{report.seconds:.0f} s, recipe {report.recipe}")
    click.echo(f"On {report.measured_on}:")
    for name, before in report.float_figures.items():
        after = report.compiled_figures.get(name)
        click.echo(f"  {name:<{KEY_WIDTH}} {_figure(before)} -> {_figure(after)}")
    for cost in report.reverted:
        click.echo(f"  back in float: {cost.name} (alone it moves the maps by {cost.error:.1%})")


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
