"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from edgead.errors import EdgeadError


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file under a temporary name in its folder, then rename it into place.

    A failure leaves what was there before. Raises EdgeadError naming the file, also for a full disk.
    """
    target = Path(path)
    temporary = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())  # mkstemp's files are for their owner alone
        os.replace(temporary, target)  # noqa: PTH105
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise EdgeadError(
            f"{target} could not be written ({error.strerror or error}). Nothing was changed there: free "
            "space or choose another place, and try again."
        ) from error


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON, sorted and indented, whole or not at all; values that are not finite are refused."""
    write_bytes(path, (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
