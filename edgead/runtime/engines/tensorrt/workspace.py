"""How much memory a build may take: a device of 4 to 8 GB kills a builder that takes what it likes.

A marker is on disk while a build runs. One that is found before a build was left by a process that died in
it, most likely killed for memory: the next build takes half as much.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgead.device.nvidia import ADD_SWAP
from edgead.errors import EdgeadError, EngineError, UsageError
from edgead.files import write_bytes
from edgead.profiles.target import Target, read_target
from edgead.runtime.engines.tensorrt.builder import OutOfMemoryError

VARIABLE = "EDGEAD_TENSORRT_WORKSPACE_MB"
SMALLEST_MB = 64
_LARGEST_MB = 2048  # what users of 8 GB devices settled on; more changes few choices of kernels
_SHARE = 4  # of the memory: the model, the camera and the system need the rest
_LOG = logging.getLogger("edgead.tensorrt")
_Result = TypeVar("_Result")


def workspace_limit_mb(target: str, *, memory_mb: int, free_mb: int) -> int:
    """The limit in MiB: the environment's, else a quarter of the memory, of the profile's or the device's.

    At most 2048 and at most half of what is free now; at least 64. Raises UsageError for a bad variable.
    """
    if stated := os.environ.get(VARIABLE):
        if not stated.isdecimal() or not SMALLEST_MB <= int(stated) <= 2**20:
            raise UsageError(
                f"{VARIABLE}: expected a whole number of MB from {SMALLEST_MB}, found {stated!r}."
            )
        return int(stated)
    profile = profile_of(target)
    memory = profile.device.get("memory_mb") if profile else None
    most = min(memory_mb, int(memory.value)) if memory else memory_mb
    return max(SMALLEST_MB, min(_LARGEST_MB, most // _SHARE, free_mb // 2))


def profile_of(target: str) -> Target | None:
    """The packaged profile of a bundle's target; None for a user's own."""
    try:
        return read_target(target)
    except EdgeadError:
        return None


def build_within_memory(build: Callable[[int], _Result], *, limit_mb: int, marker: Path) -> _Result:
    """Call `build(workspace_mb)`, with half as much after each OutOfMemoryError or killed process.

    Raises what `build` raises, and EngineError when the smallest workspace was too large already.
    """
    workspace = _resumed(marker, limit_mb)
    while True:
        write_bytes(marker, json.dumps({"workspace_mb": workspace}).encode(), error=EngineError)
        try:
            return build(workspace)
        except OutOfMemoryError as error:
            if workspace <= SMALLEST_MB:
                raise EngineError(f"{error} {_ADVICE}") from error
            workspace = max(SMALLEST_MB, workspace // 2)
            _LOG.info("Out of memory; building again with a workspace of %d MB.", workspace)
        finally:
            with contextlib.suppress(OSError):
                marker.unlink(missing_ok=True)


def _resumed(marker: Path, limit_mb: int) -> int:
    killed = _killed_with(marker)
    if killed is None:
        return limit_mb
    if killed <= SMALLEST_MB:
        marker.unlink(missing_ok=True)  # whoever follows the advice gets a whole new try
        raise EngineError(f"tensorrt: a build with a workspace of {killed} MB was killed. {_ADVICE}")
    workspace = max(SMALLEST_MB, min(limit_mb, killed // 2))
    _LOG.info("A build with a workspace of %d MB did not end; trying %d MB.", killed, workspace)
    return workspace


def _killed_with(marker: Path) -> int | None:
    try:
        stated = json.loads(marker.read_bytes()[:1000])["workspace_mb"]
        return stated if type(stated) is int and stated > 0 else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


_ADVICE = (
    "Free memory: stop other programs and the desktop (sudo systemctl isolate multi-user.target), add swap "
    f"({ADD_SWAP}), then try again."
)
