"""`edgead key`: make a key that signs bundles."""

from __future__ import annotations

from pathlib import Path

import click

from edgead.cli.options import passphrase_option, read_passphrase


@click.group()
def command() -> None:
    """Make a key that signs bundles.

    \b
    Example:
      edgead key new line.key --name "plant 2"
    """


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", default="", metavar="NAME", help="What people call it, as in 'night shift 2026'.")
@passphrase_option
def new(file: Path, name: str, passphrase_file: str | None) -> None:
    """Write a new private key to FILE, and its public key to FILE.pub.

    \b
    Example:
      edgead key new line.key --name "plant 2"

    Keep FILE where bundles are made, readable by nobody else. The line of FILE.pub goes into the file of
    trusted keys of each device: /etc/edgead/trusted-keys, or the file that EDGEAD_TRUSTED names.
    """
    from edgead.bundle.signing import make_key

    public = make_key(file, name=name, passphrase=read_passphrase(passphrase_file))
    click.echo(f"{file}: a new private key, for the eyes of this user alone. Its public key, for devices:")
    click.echo(public.line)
    click.echo(f"Next: edgead sign BUNDLE --key {file}")
