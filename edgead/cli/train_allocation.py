"""The options of `edgead train` that ask for a network within a budget, and the allocation made for them."""

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
    from edgead.allocation.allocation import Allocation
    from edgead.cli.train_options import TrainOptions
    from edgead.training.settings import TrainSettings

_F = TypeVar("_F", bound=Callable[..., Any])

ALLOCATION_OPTIONS = (
    *("target", "latency_ms", "memory_mb", "model_mb", "precision", "mode"),
    *("input_sizes", "allocation_only", "allocation_report"),
)
# What an allocation chooses cannot be given as well.
_CHOSEN_BY_ALLOCATION = {"stages": "--stages", "channels": "--channels"}


def allocation_options(command: _F) -> _F:
    """Add the options of a budget to a command."""
    options = (
        click.option("--target", metavar="NAME", help="Choose the network for this device (or a .toml)."),
        click.option("--latency-ms", type=float, help="It may take this many milliseconds there."),
        click.option("--memory-mb", type=float, help="It may need this much memory, MB of 10^6 bytes."),
        click.option("--model-mb", type=float, help="The file of the model may be this large."),
        click.option("--precision", metavar="NAME", help="It will run as.  [default: the target's first]"),
        click.option("--mode", metavar="NAME", help="Power mode of the device.  [default: the target's]"),
        click.option("--input-sizes", metavar="LIST", help="Choose the input among these: 192,256."),
        click.option(
            "--allocation-only", "--plan-only", is_flag=True, help="Print the allocation; train nothing."
        ),
        click.option(
            "--allocation-report",
            "--plan-report",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write the allocation as HTML.",
        ),
    )
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def allocated_settings(
    data: Sequence[Path],
    out: Path,
    options: TrainOptions,
    *,
    json_path: str | None,
    target: str | None,
    allocation_only: bool,
    allocation_report: Path | None,
    precision: str | None,
    mode: str | None,
    input_sizes: str | None,
    **limits: float | None,
) -> TrainSettings | None:
    """The settings of the options, with the allocated network within limits. None: train nothing.

    An unfinished training goes on with the allocation that it was begun with.
    """
    settings = options.settings()
    wanted = [name for name, value in limits.items() if value is not None]
    if target is None:
        _check_without_target(
            wanted, allocation_only=allocation_only, others=(precision, mode, input_sizes, allocation_report)
        )
        return settings
    if not wanted:
        raise UsageError("--target chooses the network for a budget: give --latency-ms as well.")
    if len(data) != 1:
        raise UsageError("An allocation is made on the images of one product: give one folder.")
    for name, option in _CHOSEN_BY_ALLOCATION.items():
        if getattr(options, name) is not None:
            raise UsageError(f"{option} and a budget: the budget chooses them. Leave one of the two out.")
    if input_sizes is not None and options.input_size is not None:
        raise UsageError("Give --input-size or --input-sizes, not both: the second is to choose among.")
    from edgead.allocation.allocate import (
        AllocationRequest,
        allocate_channels,
        allocation_file,
        kept_allocation,
        with_allocation,
    )
    from edgead.allocation.allocation import Limits
    from edgead.files import write_json as write_json_file
    from edgead.profiles.target import read_target
    from edgead.training.run import ALLOCATION_FILE, check_out

    request = AllocationRequest(
        read_target(target),
        Limits(*(math.inf if limits[name] is None else float(limits[name] or 0) for name in _LIMITS)),
        precision=precision,
        mode=mode,
        input_sizes=_sizes(input_sizes),
    )
    if not allocation_only:
        check_out(out)
    allocation = kept_allocation(out, request, settings)
    if allocation is None:
        _check_one_process()
        if is_watched():
            click.echo("Measuring the information of every channel ...", err=True)
        with progress_share("Channels") as on_progress:
            allocation = allocate_channels(data[0], settings, request, on_progress=on_progress)
        if not allocation_only:
            out.mkdir(parents=True, exist_ok=True)
            write_json_file(out / ALLOCATION_FILE, allocation_file(allocation, request, settings))
    if allocation_report is not None:
        _write_report(allocation_report, allocation)
    if allocation_only and json_path is not None:
        write_json(json_path, allocation.to_json())
    if not (allocation_only and json_path == "-"):
        click.echo(allocation.text, err=not allocation_only)
    return None if allocation_only else with_allocation(settings, allocation)


_LIMITS = ("latency_ms", "model_mb", "memory_mb")  # in the order of Limits


def _check_without_target(wanted: list[str], *, allocation_only: bool, others: tuple[object, ...]) -> None:
    if wanted:
        option = f"--{wanted[0].replace('_', '-')}"
        raise UsageError(f"{option} needs a device to hold for: give --target (`edgead targets`).")
    if allocation_only or any(other is not None for other in others):
        raise UsageError(
            "--precision, --mode, --input-sizes, --allocation-only and --allocation-report go with --target "
            "and a limit such as --latency-ms."
        )


def _sizes(text: str | None) -> tuple[tuple[int, int], ...]:
    from edgead.cli.parsing import input_size_from_text

    if text is None:
        return ()
    sizes = [input_size_from_text(part.strip()) for part in text.split(",")]
    return tuple(dict.fromkeys(size for size in sizes if size is not None))


def _check_one_process() -> None:
    """Processes of torchrun would each make the allocation; one makes it for all, beforehand."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "With torchrun, the allocation must be there before: start the same command without torchrun, "
            "stop it once it trains, and start it again with torchrun."
        )


def _write_report(path: Path, allocation: Allocation) -> None:
    from edgead.report import ReportData, write_report

    data = ReportData(
        title=f"Allocation for {allocation.target}",
        model=f"RealNet on {allocation.config.backbone}, {allocation.precision}",
        allocation=allocation.to_json(),
    )
    write_report(path, data)
