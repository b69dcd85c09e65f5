"""The options of `edgead train` that ask for a network within a budget, and the plan made for them."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgead.cli.options import write_json
from edgead.cli.progress import is_watched, progress_share
from edgead.errors import UsageError

if TYPE_CHECKING:
    from edgead.allocation.plan import Plan
    from edgead.cli.train_options import TrainOptions
    from edgead.training.settings import TrainSettings

_F = TypeVar("_F", bound=Callable[..., Any])

PLAN_OPTIONS = (
    "target", "latency_ms", "memory_mb", "model_mb", "precision", "mode", "input_sizes", "plan_only",
    "plan_report",
)  # fmt: skip
# What a plan chooses cannot be given as well.
_CHOSEN_BY_PLAN = {"stages": "--stages", "channels": "--channels"}


def plan_options(command: _F) -> _F:
    """Add the options of a budget to a command."""
    options = (
        click.option("--target", metavar="NAME", help="Choose the network for this device (or a .toml)."),
        click.option("--latency-ms", type=float, help="It may take this many milliseconds there."),
        click.option("--memory-mb", type=float, help="It may need this much memory, MB of 10^6 bytes."),
        click.option("--model-mb", type=float, help="The file of the model may be this large."),
        click.option("--precision", metavar="NAME", help="It will run as.  [default: the target's first]"),
        click.option("--mode", metavar="NAME", help="Power mode of the device.  [default: the target's]"),
        click.option("--input-sizes", metavar="LIST", help="Choose the input among these: 192,256."),
        click.option("--plan-only", is_flag=True, help="Print the plan; train nothing."),
        click.option(
            "--plan-report", type=click.Path(path_type=Path), metavar="FILE", help="Write it as HTML."
        ),
    )  # fmt: skip
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def planned_settings(
    data: Sequence[Path],
    out: Path,
    options: TrainOptions,
    *,
    json_path: str | None,
    target: str | None,
    plan_only: bool,
    plan_report: Path | None,
    precision: str | None,
    mode: str | None,
    input_sizes: str | None,
    **limits: float | None,
) -> TrainSettings | None:
    """The settings of the options, with the plan's network where there is a budget; None: nothing to train.

    An unfinished training goes on with the plan that it was begun with.
    """
    settings = options.settings()
    wanted = [name for name, value in limits.items() if value is not None]
    if target is None:
        _check_without_target(wanted, plan_only=plan_only, others=(precision, mode, input_sizes, plan_report))
        return settings
    if not wanted:
        raise UsageError("--target chooses the network for a budget: give --latency-ms as well.")
    if len(data) != 1:
        raise UsageError("A budget is planned on the images of one product: give one folder.")
    for name, option in _CHOSEN_BY_PLAN.items():
        if getattr(options, name) is not None:
            raise UsageError(f"{option} and a budget: the budget chooses them. Leave one of the two out.")
    if input_sizes is not None and options.input_size is not None:
        raise UsageError("Give --input-size or --input-sizes, not both: the second is to choose among.")
    from edgead.allocation.plan import Limits
    from edgead.allocation.planner import Asked, kept_plan, plan_file, plan_training, planned
    from edgead.files import write_json as write_json_file
    from edgead.profiles.target import read_target
    from edgead.training.run import PLAN_FILE, check_out

    asked = Asked(
        read_target(target),
        Limits(*(math.inf if limits[name] is None else float(limits[name] or 0) for name in _LIMITS)),
        precision=precision,
        mode=mode,
        input_sizes=_sizes(input_sizes),
    )
    if not plan_only:
        check_out(out)
    plan = kept_plan(out, asked, settings)
    if plan is None:
        _check_one_process()
        if is_watched():
            click.echo("Measuring what the channels tell ...", err=True)
        with progress_share("Channels") as on_progress:
            plan = plan_training(data[0], settings, asked, on_progress=on_progress)
        if not plan_only:
            out.mkdir(parents=True, exist_ok=True)
            write_json_file(out / PLAN_FILE, plan_file(plan, asked, settings))
    if plan_report is not None:
        _write_report(plan_report, plan)
    if plan_only and json_path is not None:
        write_json(json_path, plan.to_json())
    if not (plan_only and json_path == "-"):
        click.echo(plan.text, err=not plan_only)
    return None if plan_only else planned(settings, plan)


_LIMITS = ("latency_ms", "model_mb", "memory_mb")  # in the order of Limits


def _check_without_target(wanted: list[str], *, plan_only: bool, others: tuple[object, ...]) -> None:
    if wanted:
        option = f"--{wanted[0].replace('_', '-')}"
        raise UsageError(f"{option} needs a device to hold for: give --target (`edgead targets`).")
    if plan_only or any(other is not None for other in others):
        raise UsageError(
            "--precision, --mode, --input-sizes, --plan-only and --plan-report go with --target and a "
            "budget such as --latency-ms."
        )


def _sizes(text: str | None) -> tuple[tuple[int, int], ...]:
    from edgead.cli.parsing import input_size_from_text

    if text is None:
        return ()
    sizes = [input_size_from_text(part.strip()) for part in text.split(",")]
    return tuple(dict.fromkeys(size for size in sizes if size is not None))


def _check_one_process() -> None:
    """Processes of torchrun would each make the plan; one makes it for all, beforehand."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "With torchrun, the plan must be there before: start the same command without torchrun, stop "
            "it once it trains, and start it again with torchrun."
        )


def _write_report(path: Path, plan: Plan) -> None:
    from edgead.report import ReportData, write_report

    data = ReportData(
        title=f"Plan for {plan.target}",
        model=f"RealNet on {plan.config.backbone}, {plan.precision}",
        plan=plan.to_json(),
    )
    write_report(path, data)
