"""The tree of exceptions that edgead raises on purpose.

    EdgeadError                 exit status 1
    ├── UsageError              2   wrong arguments or settings
    │   └── UnknownNameError    2   a name that no table has, with near matches
    ├── DataError               1   an image, mask or folder that cannot be used
    ├── TrainingError           1   training cannot start or go on
    ├── CompileError            1   a model cannot be exported or quantized
    ├── BundleError             1   a bundle is damaged, hostile or for something else
    ├── EngineError             1   an engine is missing or failed
    ├── LineError               1   lines were refused, or their producer failed
    │   └── LineTimeoutError    1   no block of lines was completed in time
    ├── CameraError             1   a camera cannot be opened, or stopped answering
    │   └── CameraTimeoutError  1   a camera gave no frame in time
    └── GateError               3   the work was done and its result refused
        ├── AccuracyGateError   3   quantization costs more accuracy than the recipe allows
        ├── VerificationError   3   a device does not give the reference answers
        └── DeadlineError       3   a latency demand was not met

Each message says what was expected, what was found and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgeadError(Exception):
    """Base of every error raised on purpose; `exit_code` is the command line's exit status."""

    exit_code = 1


class UsageError(EdgeadError):
    """The caller asked for something that cannot be meant."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name is in no table; the message lists near matches, none of which is substituted."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        super().__init__(f"Unknown {what} '{name}'. {hint}Known: {', '.join(names) or 'none'}.")
        self.name = name
        self.near_matches = tuple(near)


class DataError(EdgeadError):
    """An image, a mask or a folder cannot be used."""


class TrainingError(EdgeadError):
    """Training cannot start or cannot go on."""


class CompileError(EdgeadError):
    """A run cannot be exported, quantized or written for its target."""


class BundleError(EdgeadError):
    """A bundle is damaged, hostile, of another schema or for another target."""


class EngineError(EdgeadError):
    """An inference engine is not installed, cannot load a model or failed while running."""


class LineError(EdgeadError):
    """A line buffer refused lines, or the producer of its lines failed."""


class LineTimeoutError(LineError):
    """No block of lines was completed in the time that the consumer gave."""


class CameraError(EdgeadError):
    """A camera cannot be found or opened, sends what cannot be used, or stopped answering."""


class CameraTimeoutError(CameraError):
    """A camera gave no frame in the time that was allowed."""


class GateError(EdgeadError):
    """A result was produced, measured and refused."""

    exit_code = 3


class AccuracyGateError(GateError):
    """Quantization costs more accuracy than the recipe allows."""


class VerificationError(GateError):
    """An engine does not reproduce the bundle's reference answers."""


class DeadlineError(GateError):
    """A latency demand was measured and not met."""
