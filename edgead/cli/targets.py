"""`edgead targets`: the devices that can be compiled for, and what is known of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.name_or_command import NameOrCommand
from edgead.cli.options import json_option, write_json

if TYPE_CHECKING:
    from edgead.profiles.figures import Figure
    from edgead.profiles.target import Target

# Beside NAME there are commands; as everywhere, each is imported on its first use.
COMMANDS = {"measure": "edgead.cli.targets_measure"}


@click.group(
    cls=NameOrCommand,
    modules=COMMANDS,
    invoke_without_command=True,
    subcommand_metavar="[NAME | measure --out FILE]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@json_option
@click.pass_context
def command(ctx: click.Context, json_path: str | None) -> None:
    """List the targets; show one with its modes and sources; or measure the device at hand.

    NAME is one of the list, or the path of your own file.

    \b
    Examples:
      edgead targets
      edgead targets jetson-orin
      edgead targets ./my-device.toml --json -
      edgead targets measure --out my-device.toml
    """
    if ctx.invoked_subcommand is not None:
        return
    from edgead.profiles.target import list_targets

    targets = list_targets()
    if json_path is not None:
        write_json(json_path, [dataclasses.asdict(target) for target in targets])
    if json_path == "-":
        return
    width = max(len(target.name) for target in targets)
    for target in targets:
        click.echo(f"{target.name:<{width}}  {target.description}")
        click.echo(f"{'':<{width}}  {_summary(target)}")


@click.command(name="NAME")
@click.argument("name")
@json_option
@click.pass_context
def _show(ctx: click.Context, name: str, json_path: str | None) -> None:
    """Show a target: what runs there, its power modes, and where each figure comes from."""
    from edgead.profiles.target import read_target

    target = read_target(name)
    if json_path is None and ctx.parent is not None:
        json_path = ctx.parent.params.get("json_path")  # `edgead targets --json - NAME`
    if json_path is not None:
        write_json(json_path, dataclasses.asdict(target))
    if json_path != "-":
        click.echo("\n".join(_lines(target)))


command.show = _show


def _summary(target: Target) -> str:
    run = "has run there" if target.run_on_device else "not yet run on the device"
    modes = f"; modes {', '.join(target.modes)}" if target.modes else ""
    return f"engine {target.engine}; precisions {', '.join(target.precisions)} (first: default){modes}; {run}"


def _lines(target: Target) -> list[str]:
    from edgead.profiles.target import DEVICE_FIGURES, MODE_FIGURES

    lines = [f"{target.name}: {target.description}", _summary(target)]
    lines += [f"option {name}: {value}" for name, value in target.options.items()]
    lines += [_figure(name, figure, DEVICE_FIGURES[name]) for name, figure in target.device.items()]
    multiples = "channels in multiples of it fill the matrix units"
    lines += [_figure(f"{name} channels", f, multiples) for name, f in target.channel_multiple.items()]
    for mode in target.modes.values():
        is_default = " (default)" if mode.name == target.default_mode else ""
        lines += ["", f"mode {mode.name}{is_default}: {mode.description}"]
        lines += [_figure(name, figure, MODE_FIGURES[name]) for name, figure in mode.figures.items()]
    if target.table is not None:
        lines += ["", "has a table of latencies measured on the device"]
    if target.sources:
        lines += ["", "sources", *(f"  {name}: {text}" for name, text in target.sources.items())]
    return lines


def _figure(name: str, figure: Figure, meaning: str) -> str:
    value: Any = int(figure.value) if figure.value.is_integer() else figure.value
    return f"  {name:<19} {value:<9} {figure.basis:<9} [{figure.source}] {meaning}"
