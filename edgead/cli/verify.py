"""`edgead verify`: prove that this machine gives a bundle's reference answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgead.cli.options import (
    bundle_argument,
    engine_option,
    json_option,
    threads_option,
    trusted_option,
    write_json,
)

if TYPE_CHECKING:
    from edgead.bundle import Bundle


@click.command()
@bundle_argument
@engine_option
@threads_option
@trusted_option
@json_option
def command(
    bundle: Path, engine: str | None, threads: int | None, trusted: str | None, json_path: str | None
) -> None:
    """Show of BUNDLE its integrity, its origin where keys are trusted, and its answers on this machine.

    \b
    Examples:
      edgead verify part.edgead
      edgead verify part.edgead --trusted line.key.pub

    Exit status 3 when the answers differ by more than the bundle allows.
    """
    from edgead.bundle import read_bundle
    from edgead.runtime.inspector import Inspector
    from edgead.runtime.verification import demand, verify_engine

    opened = read_bundle(bundle, trusted=trusted)
    with Inspector(opened, engine=engine, threads=threads, verify=False) as inspector:
        answer = verify_engine(inspector.engine, opened.reference)
        settings = inspector.engine.describe()
    if json_path is not None:
        record = {
            "bundle": str(bundle),
            "passed": answer.passed,
            "integrity": True,
            "origin": opened.origin
            and {"key": opened.origin.key.fingerprint, "release": opened.origin.release},
            **dataclasses.asdict(answer),
            "engine": settings,
        }
        write_json(json_path, record)
    demand(answer, origin=str(bundle))
    if json_path != "-":
        count = len(opened.files) + (2 if opened.signatures is None else 3)
        click.echo(f"integrity: shown; {count} files, every checksum and hash as written")
        click.echo(f"origin:    {_origin(opened)}")
        click.echo(f"answers:   shown on {settings['engine']} {settings['version']}, {settings['device']}:")
        click.echo(f"           {answer.describe()}")


def _origin(bundle: Bundle) -> str:
    if bundle.origin is not None:
        return f"shown; {bundle.origin.describe()}"
    signed = "not signed" if bundle.signatures is None else "signed, and no keys are trusted here"
    return f"not shown; {signed} (--trusted FILE, or EDGEAD_TRUSTED)"
