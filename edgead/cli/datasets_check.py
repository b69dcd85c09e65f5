"""`edgead datasets check`: whether a copy of a published data set has the published counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import json_option, write_json
from edgead.errors import DataError

if TYPE_CHECKING:
    from edgead.datasets.catalogue import Check


@click.command(name="check")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def command(name: str, folder: Path, json_path: str | None) -> None:
    """Compare the copy of data set NAME in FOLDER, or of one of its products, with the published counts.

    \b
    Example:
      edgead datasets check mvtec data/mvtec

    Exit status 1 says that they differ.
    """
    from edgead.datasets.catalogue import check_copy

    check = check_copy(folder, name)
    if json_path is not None:
        write_json(json_path, answer(check, folder))
    print_check(check, folder, quiet=json_path == "-")


def answer(check: Check, folder: Path) -> dict[str, Any]:
    """The check as plain data."""
    return {
        "name": check.published.name,
        "folder": str(folder),
        "products": list(check.products),
        "images": check.images,
        "differences": list(check.differences),
    }


def print_check(check: Check, folder: Path, *, quiet: bool = False) -> None:
    """Print the check; raises DataError where the copy is not as published."""
    if check.differences:
        raise DataError(
            f"{folder} is not {check.published.title} as published: {'. '.join(check.differences)}. "
            "Images are missing or were added: unpack the archive again, into an empty folder."
        )
    if not quiet:
        products = len(check.products)
        click.echo(
            f"{folder}: {check.published.title}, {products} product(s), {check.images} images, as published"
        )
