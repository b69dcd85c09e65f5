"""Options that several commands share, and the JSON that they write."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import click

from edgead.errors import UsageError
from edgead.files import write_bytes

bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))
engine_option = click.option(
    "--engine", metavar="NAME", help="Run it on this engine, not on the bundle's own."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the engine.  [default: all cores]"
)
json_option = click.option(
    "--json", "json_path", metavar="FILE", help="Write the answer as JSON; - for stdout."
)

trusted_option = click.option(
    "--trusted", metavar="FILE", help="Refuse a bundle that no key of this file has signed."
)
passphrase_option = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="Holds the passphrase of the private key.  [default: that of EDGEAD_KEY_PASSPHRASE, or none]",
)


def read_passphrase(path: str | None) -> bytes | None:
    """The first line of the file, or the variable; None where neither is. Raises UsageError."""
    if path is None:
        return os.environ.get("EDGEAD_KEY_PASSPHRASE", "").encode() or None
    try:
        line = Path(path).read_bytes().partition(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise UsageError(f"{path}: no passphrase ({error.strerror}). Name a file that holds it.") from error
    if not line:
        raise UsageError(f"{path}: its first line is empty; expected the passphrase.")
    return line


def write_json(destination: str, value: Any) -> None:
    """Write `value` as JSON to a file, whole or not at all, or to stdout for "-"; NaN becomes null."""
    text = json.dumps(plain_json(value), indent=2, allow_nan=False) + "\n"
    if destination == "-":
        click.echo(text, nl=False)
    else:
        write_bytes(destination, text.encode(), make_folder=False)


def plain_json(value: Any) -> Any:
    """The value with each NaN or infinity replaced by None, which JSON can say."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    return [plain_json(item) for item in value] if isinstance(value, (list, tuple)) else value
