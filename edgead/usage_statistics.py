"""No package under edgead reports its use to anyone: a line's PC talks to nobody that it was not told to.

OpenVINO reports its import, and NNCF each quantization, through the package `openvino_telemetry`, which also
writes an id into the home folder; both go without where that package is not found. ONNX Runtime (since 1.32
on Linux too, with an id in the cache folder) and Ray read a variable.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def switch_off() -> None:
    """To be called before any of them is imported: OpenVINO reports while it is imported."""
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)  # an import then fails
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
