"""Visual anomaly detection on the edge devices of production lines.

The names are loaded on first use, so that `import edgead` costs next to nothing in a host process.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from edgead.usage_statistics import switch_off
from edgead.version import __version__

if TYPE_CHECKING:
    from edgead.api.functions import compile, evaluate, train
    from edgead.errors import EdgeadError
    from edgead.runtime.inspector import Inspector, open
    from edgead.runtime.line import get_include
    from edgead.runtime.line.buffer import LineBuffer
    from edgead.runtime.result import Region, Result
    from edgead.training.settings import TrainSettings

__all__ = [
    "EdgeadError",
    "Inspector",
    "LineBuffer",
    "Region",
    "Result",
    "TrainSettings",
    "__version__",
    "compile",
    "evaluate",
    "get_include",
    "open",
    "train",
]

_HOME = {
    "train": "edgead.api.functions",
    "compile": "edgead.api.functions",
    "evaluate": "edgead.api.functions",
    "open": "edgead.runtime.inspector",
    "TrainSettings": "edgead.training.settings",
    "Inspector": "edgead.runtime.inspector",
    "Result": "edgead.runtime.result",
    "Region": "edgead.runtime.result",
    "LineBuffer": "edgead.runtime.line.buffer",
    "get_include": "edgead.runtime.line",
    "EdgeadError": "edgead.errors",
}

switch_off()
logging.getLogger("edgead").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgead' has no attribute '{name}'; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
