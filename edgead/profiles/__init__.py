"""Data packaged with edgead: device targets and calibration recipes, one TOML file each.

They are found in an installed package and in a checkout alike; wherever the name of one is taken, so is the
path of a user's own file.
"""

from __future__ import annotations

import os
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgead.errors import DataError, UnknownNameError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from importlib.abc import Traversable  # moved in 3.11, gone in 3.14: for the type checker alone

__all__ = ["KINDS", "list_data", "read_data", "read_toml"]

KINDS = {"targets": "target", "calibration": "calibration recipe"}
_SUFFIX = ".toml"
_MOST_BYTES = 4 * 2**20  # a table of measured latencies is some kB


def list_data(kind: str) -> tuple[str, ...]:
    """The names of the packaged files of a kind ("targets", "calibration"), sorted."""
    names = (entry.name for entry in _folder(kind).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def read_data(kind: str, name_or_path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """The name and the contents of a packaged file, or of the file at a path (with a folder or .toml in it).

    Raises UnknownNameError with near matches, DataError for an unreadable file, UsageError for bad TOML.
    """
    name, origin, text = _find(kind, name_or_path)
    return name, _parse(text, origin)


def read_data_text(kind: str, name_or_path: str | os.PathLike[str]) -> str:
    """The text of a file that `read_data` reads, comments included; raises what that raises."""
    _, origin, text = _find(kind, name_or_path)
    _parse(text, origin)
    return text.decode("utf-8")


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A TOML file that comes with edgead; UsageError where it is not valid."""
    return _parse(Path(path).read_bytes(), os.fspath(path))


def _find(kind: str, name_or_path: str | os.PathLike[str]) -> tuple[str, str, bytes]:
    """Name, origin for messages, and bytes."""
    text = os.fspath(name_or_path)
    if text.endswith(_SUFFIX) or Path(text).name != text:
        return Path(text).stem, text, _read_user_file(Path(text), kind)
    names = list_data(kind)
    if text not in names:
        raise UnknownNameError(KINDS[kind], text, names)
    return text, text + _SUFFIX, _folder(kind).joinpath(text + _SUFFIX).read_bytes()


def _folder(kind: str) -> Traversable:
    if kind not in KINDS:
        raise UnknownNameError("kind of packaged data", kind, KINDS)
    packaged = resources.files(__name__).joinpath(kind)
    if packaged.is_dir():
        return packaged
    root = Path(__file__).resolve().parents[2]  # a checkout: the folders lie beside the package, not in it
    if (root / "setup.py").is_file() and (root / kind).is_dir():
        return root / kind
    raise DataError(f"The packaged {kind} are missing from {packaged}. Install edgead again.")


def _read_user_file(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read as a {KINDS[kind]} ({error.strerror}). "
            f"Name a readable file, or one of: {', '.join(list_data(kind))}."
        ) from error
    if len(content) > _MOST_BYTES:
        raise DataError(
            f"{path}: too large for a {KINDS[kind]}: expected at most {_MOST_BYTES // 2**20} MiB. "
            "Name its TOML file."
        )
    return content


def _parse(text: bytes, origin: str) -> dict[str, Any]:
    try:
        return dict(tomllib.loads(text.decode("utf-8")))
    except RecursionError as error:
        raise UsageError(f"{origin}: not valid TOML (brackets nested too deep). Mend them.") from error
    except ValueError as error:  # covers malformed TOML and undecodable UTF-8
        raise UsageError(f"{origin}: not valid TOML ({error}). Mend that line.") from error
