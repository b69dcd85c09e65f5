"""`edgead datasets`: the published data sets that edgead reads, and where they come from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from edgead.cli.name_or_command import NameOrCommand
from edgead.cli.options import json_option, write_json

if TYPE_CHECKING:
    from edgead.datasets.catalogue import Published

# Beside NAME there are commands; as everywhere, each is imported on its first use.
COMMANDS = {
    "download": "edgead.cli.datasets_download",
    "check": "edgead.cli.datasets_check",
    "coco-ad": "edgead.cli.datasets_coco_ad",
}


@click.group(
    cls=NameOrCommand,
    modules=COMMANDS,
    invoke_without_command=True,
    subcommand_metavar="[NAME | download NAME | check NAME DIR | coco-ad]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@json_option
@click.pass_context
def command(ctx: click.Context, json_path: str | None) -> None:
    """List the published data sets that edgead reads as they are unpacked; show, download or check one.

    \b
    Examples:
      edgead datasets
      edgead datasets visa
      edgead datasets download visa --to data
      edgead datasets check mvtec data/mvtec
      edgead datasets coco-ad --coco data/coco --split 0 --out data/coco-ad-0
    """
    if ctx.invoked_subcommand is not None:
        return
    from edgead.datasets.catalogue import published_datasets

    entries = list(published_datasets().values())
    if json_path is not None:
        write_json(json_path, [{**dataclasses.asdict(entry), "images": entry.images} for entry in entries])
    if json_path == "-":
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        click.echo(f"{entry.name:<{width}}  {entry.title}: {_size(entry)}")
        click.echo(f"{'':<{width}}  {entry.licence}; {_way(entry)}")


@click.command(name="NAME")
@click.argument("name")
@json_option
@click.pass_context
def _show(ctx: click.Context, name: str, json_path: str | None) -> None:
    """Show a data set: its products and counts, its licence, and how to get it."""
    from edgead.datasets.catalogue import published_dataset

    entry = published_dataset(name)
    if json_path is None and ctx.parent is not None:
        json_path = ctx.parent.params.get("json_path")  # `edgead datasets --json - NAME`
    if json_path is not None:
        write_json(json_path, {**dataclasses.asdict(entry), "images": entry.images})
    if json_path != "-":
        click.echo("\n".join(_lines(entry)))


command.show = _show


def _size(entry: Published) -> str:
    images = "" if entry.images is None else f"{entry.images} images"
    products = len(entry.counts) or entry.products
    what = f"{products} products, {images}" if products > 1 else images or "see its note"
    return what if entry.megabytes is None else f"{what}, {entry.megabytes} MB to download"


def _way(entry: Published) -> str:
    return f"edgead datasets download {entry.name}" if entry.url else f"get it at {entry.page}"


def _lines(entry: Published) -> list[str]:
    lines = [f"{entry.name}: {entry.title}", f"  {_size(entry)}", f"  layout   {entry.layout}"]
    lines += [f"  licence  {entry.licence}", f"  cite     {entry.cite}", f"  page     {entry.page}"]
    if entry.url:
        pinned = entry.sha256 or entry.md5
        how = (
            f"pinned (known from {entry.hash_source})"
            if pinned
            else "not known: the first download's is recorded"
        )
        lines += [f"  archive  {entry.url}", f"  hash     {how}"]
    lines += [f"  {text}" for text in (entry.instructions, entry.note) if text]
    if entry.counts:
        lines.append(f"  {'product':<22} {'train':>6} {'good':>6} {'bad':>6}")
        lines += [f"  {name:<22} {row[0]:>6} {row[1]:>6} {row[2]:>6}" for name, row in entry.counts.items()]
    return lines
