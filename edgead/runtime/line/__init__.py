"""The line buffer: lines of a line-scan camera, from a host's C thread to blocks in numpy, without a copy.

`edgead.runtime.line.buffer` is its Python side, `include/edgead_line.h` its C side, `src/` the ring between.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_include"]


def get_include() -> str:
    """The folder of `edgead_line.h`: `Extension(..., include_dirs=[edgead.get_include()])`."""
    return str(Path(__file__).parent / "include")
