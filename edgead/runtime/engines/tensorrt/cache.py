"""Plans on disk: each for one model, device, power mode and version of TensorRT; whole, or not there.

A plan is machine code in all but name: TensorRT runs what it holds. The folder is therefore the user's own
(mode 0700); one that others may write to is refused, and a plan in it that is another user's is not used.
Every file may be deleted at any time; it is built again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead.errors import EngineError
from edgead.files import CACHE_ADVICE, cache_folder, is_private, lock_file, private_folder, write_bytes

_MAGIC = b"edgead engine 1\n"
_MAX_HEADER = 2**16
_LOG = logging.getLogger("edgead")


@dataclass(frozen=True)
class EngineKey:
    """What a plan was timed for; another value of any field means another plan.

    model: SHA-256 of the bundle's models and of how this version of edgead builds them.
    """

    tensorrt: str
    compute_capability: str
    multiprocessors: int
    power_mode: str
    model: str

    @property
    def file_name(self) -> str:
        """Short, readable where that helps, and different for every key."""
        return f"{self.model[:12]}-trt{self.tensorrt}-{_digest(dataclasses.asdict(self))}.engine"

    @property
    def timing_file_name(self) -> str:
        """Timings of kernels belong to the device, its mode and the version; models share them."""
        return f"timings-trt{self.tensorrt}-{_digest({**dataclasses.asdict(self), 'model': None})}.cache"


@dataclass(frozen=True)
class CachedEngine:
    """A plan, the recipe that it was built by, and what was measured then (plain values)."""

    plan: bytes
    recipe: str
    report: dict[str, Any]


class EngineCache:
    """A folder of plans: $EDGEAD_CACHE, else edgead in $XDG_CACHE_HOME, else ~/.cache/edgead."""

    def __init__(self, folder: Path | None = None) -> None:
        wanted = cache_folder(error=EngineError) if folder is None else folder
        self.folder = private_folder(wanted, error=EngineError)

    def read(self, key: EngineKey) -> CachedEngine | None:
        """The plan of a key; None where there is none, or one that is damaged or not what it says."""
        found = _unpack(self.folder / key.file_name)
        if found is None or found[0].get("key") != dataclasses.asdict(key):
            return None
        header, plan = found
        recipe, report = header.get("recipe"), header.get("report")
        if not isinstance(recipe, str) or not isinstance(report, dict):
            return None
        return CachedEngine(plan, recipe, report)

    def write(self, key: EngineKey, engine: CachedEngine) -> Path:
        """Keep a plan; the file takes its name when it is whole. Raises EngineError."""
        path = self.folder / key.file_name
        header = {"key": dataclasses.asdict(key), "recipe": engine.recipe, "report": engine.report}
        _pack(path, header, engine.plan)
        return path

    def read_timings(self, key: EngineKey) -> bytes | None:
        """TensorRT's timing cache for the device of a key."""
        found = _unpack(self.folder / key.timing_file_name)
        return found[1] if found else None

    def write_timings(self, key: EngineKey, content: bytes) -> None:
        """Keep TensorRT's timing cache: the next build tries fewer kernels."""
        if content:
            _pack(self.folder / key.timing_file_name, {}, content)

    @contextlib.contextmanager
    def lock(self, key: EngineKey) -> Iterator[None]:
        """Hold the right to build a key; a second process waits here, then finds the first one's plan.

        The system releases it when the process ends, however it ends.
        """
        path = self.folder / f"{key.file_name}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EngineError(f"{path}: cannot be opened ({error.strerror}). {CACHE_ADVICE}") from error
        try:
            lock_file(descriptor, wait=True)
            yield
        finally:
            os.close(descriptor)

    def marker(self, key: EngineKey) -> Path:
        """The file that is there while a build of this key runs: see workspace.py."""
        return self.folder / f"{key.file_name}.building"


def _pack(path: Path, header: dict[str, Any], content: bytes) -> None:
    stated = {**header, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    first = json.dumps(stated, sort_keys=True, allow_nan=False).encode() + b"\n"
    write_bytes(path, [_MAGIC, first, content], error=EngineError, make_folder=False)


def _unpack(path: Path) -> tuple[dict[str, Any], bytes] | None:
    try:
        with path.open("rb") as file:
            if not is_private(file.fileno()):
                _LOG.info("%s: another user's, or others may write it: it is not used.", path)
                return None
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            header = json.loads(file.readline(_MAX_HEADER))
            content = file.read()
    except (OSError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(header, dict) or header.get("bytes") != len(content):
        return None
    return (header, content) if header.get("sha256") == hashlib.sha256(content).hexdigest() else None


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
