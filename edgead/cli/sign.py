"""`edgead sign`: sign a bundle, so that lines can tell who made it."""

from __future__ import annotations

from pathlib import Path

import click

from edgead.cli.options import bundle_argument, passphrase_option, read_passphrase


@click.command()
@bundle_argument
@click.option("--key", required=True, metavar="FILE", help="The private key that `edgead key new` made.")
@click.option(
    "--release",
    type=click.IntRange(min=0),
    help="Its number, to be raised with each bundle of this name.  [default: as signed before, or 1]",
)
@passphrase_option
def command(bundle: Path, key: str, release: int | None, passphrase_file: str | None) -> None:
    """Sign BUNDLE in place. Signatures of other keys stay.

    \b
    Example:
      edgead sign part.edgead --key line.key --release 7
      edgead verify part.edgead --trusted line.key.pub

    A device that trusts `release 7 of part` refuses earlier releases, though their signatures are right.
    """
    from edgead.bundle.signing import sign_bundle

    signature = sign_bundle(bundle, key, release=release, passphrase=read_passphrase(passphrase_file))
    click.echo(f"{bundle}: release {signature.release}, signed by {signature.key}.")
