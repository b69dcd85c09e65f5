"""`edgead targets`: the devices that can be compiled for."""

from __future__ import annotations

import dataclasses

import click

from edgead.cli.options import json_option, write_json


@click.command()
@click.argument("name", required=False)
@json_option
def command(name: str | None, json_path: str | None) -> None:
    """List the targets, or show one: NAME, or the path of your own file.

    \b
    Examples:
      edgead targets
      edgead targets intel-cpu
      edgead targets ./my-device.toml --json -
    """
    from edgead.data.target import list_targets, read_target

    targets = (read_target(name),) if name else list_targets()
    if json_path is not None:
        records = [dataclasses.asdict(target) for target in targets]
        write_json(json_path, records[0] if name else records)
    if json_path == "-":
        return
    for target in targets:
        click.echo(f"{target.name:<12} {target.description}")
        click.echo(
            f"{'':<12} engine {target.engine}; precisions {', '.join(target.precisions)} (first: default)"
        )
