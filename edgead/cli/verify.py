"""`edgead verify`: prove that this machine gives a bundle's reference answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from edgead.cli.options import bundle_argument, engine_option, json_option, threads_option, write_json


@click.command()
@bundle_argument
@engine_option
@threads_option
@json_option
def command(bundle: Path, engine: str | None, threads: int | None, json_path: str | None) -> None:
    """Check every hash of BUNDLE, load it, and compare its answers here with those expected.

    \b
    Example:
      edgead verify part.edgead

    Exit status 3 when the answers differ by more than the bundle allows.
    """
    from edgead.bundle import read_bundle
    from edgead.runtime.inspector import Inspector
    from edgead.runtime.verification import demand, verify_engine

    opened = read_bundle(bundle)
    with Inspector(opened, engine=engine, threads=threads, verify=False) as inspector:
        answer = verify_engine(inspector.engine, opened.reference)
        settings = inspector.engine.describe()
    if json_path is not None:
        record = {
            "bundle": str(bundle),
            "passed": answer.passed,
            **dataclasses.asdict(answer),
            "engine": settings,
        }
        write_json(json_path, record)
    demand(answer, origin=str(bundle))
    if json_path != "-":
        click.echo(f"{bundle}: whole: {len(opened.files) + 2} files, every checksum and hash as written.")
        click.echo(f"{bundle}: verified on {settings['engine']} {settings['version']}, {settings['device']}.")
        click.echo(f"  {answer.describe()}.")
