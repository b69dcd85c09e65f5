"""`edgead datasets download`: fetch a published data set, unpack it and check its counts."""

from __future__ import annotations

from pathlib import Path

import click

from edgead.cli.datasets_check import answer, print_check
from edgead.cli.options import json_option, write_json
from edgead.cli.progress import progress_share
from edgead.errors import UsageError


@click.command(name="download")
@click.argument("name")
@click.option(
    "--to", "folder", default="data", show_default=True, type=click.Path(path_type=Path), help="Put it here."
)
@click.option("--accept-licence", is_flag=True, help="You have read its licence and keep to it.")
@json_option
def command(name: str, folder: Path, accept_licence: bool, json_path: str | None) -> None:
    """Download data set NAME, going on where an earlier download stopped; unpack and check it.

    \b
    Examples:
      edgead datasets download visa
      edgead datasets download mvtec --to /data --accept-licence

    The archive's hash is compared with the pinned one. Where none is known, that of your first download is
    recorded beside the archive, and a later download must agree with it.
    """
    from edgead.datasets.catalogue import check_copy, published_dataset
    from edgead.datasets.download import download, unpack

    entry = published_dataset(name)
    if not entry.url:
        raise UsageError(
            f"{entry.title} cannot be downloaded directly. {entry.instructions} Page: {entry.page}"
        )
    if entry.needs_acceptance and not accept_licence:
        raise UsageError(
            f"{entry.title} is under this licence: {entry.licence}. Read it ({entry.page}) and repeat the "
            "command with --accept-licence."
        )
    with progress_share(f"Downloading {entry.file_name}") as on_share:
        done = download(
            entry.url,
            folder / entry.file_name,
            sha256=entry.sha256,
            md5=entry.md5,
            on_progress=lambda have, total: on_share(have / total) if total else None,
        )
    quiet = json_path == "-"
    how = "as pinned" if done.is_pinned else f"not known before, recorded in {done.path.name}.json"
    if not quiet:
        click.echo(f"{done.path}: {done.size} bytes, SHA-256 {done.sha256} ({how})")
    target = folder / entry.name
    if not target.is_dir() or not any(target.iterdir()):
        unpack(done.path, target)
    check = check_copy(target, name)
    if json_path is not None:
        write_json(json_path, {**answer(check, target), "archive": str(done.path), "sha256": done.sha256})
    print_check(check, target, quiet=quiet)
