"""What a figure was measured on: processor, cores, clocks, system, versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from edgead.device.jetson import read_jetson
from edgead.version import __version__

# Instructions that decide how fast a quantized or a half-precision model is.
RELEVANT_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "asimdhp",
    "i8mm",
    "bf16",
    "sve",
)
RUNTIME_PACKAGES = ("numpy", "opencv-python-headless", "openvino", "onnxruntime", "tensorrt", "pycuda")


def describe_machine() -> dict[str, Any]:
    """Processor, cores and those this process may use, instructions, clock governor, system, versions.

    On a Jetson also its module, release, power mode and GPU clock.
    """
    jetson = read_jetson()
    return {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "cpu_flags": cpu_flags(),
        "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "load_average_1_min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "jetson": dataclasses.asdict(jetson) if jetson else None,
        "system": system_version(),
        "python": platform.python_version(),
        "versions": {"edgead": __version__, **package_versions(RUNTIME_PACKAGES)},
    }


def system_version() -> str:
    """The system's name and release, its architecture, and the C library where that is known.

    As platform.platform() says it, which starts a program to ask (`uname -p`): a process that may hold an
    engine with its threads, or a camera, should not be copied for that.
    """
    library = "".join(platform.libc_ver())
    parts = [
        platform.system(),
        platform.release(),
        platform.machine(),
        *(["with", library] if library else []),
    ]
    return "-".join(part for part in parts if part)


def cpu_model() -> str:
    """The processor's name as the system states it, or its board's, else the architecture."""
    board = _first_line(Path("/proc/device-tree/model")) or ""
    windows = os.environ.get("PROCESSOR_IDENTIFIER", "")
    return _cpuinfo("model name") or board.rstrip("\0") or windows or platform.machine()


def cpu_flags() -> list[str]:
    """Those of `RELEVANT_FLAGS` that the first core has; empty where the system does not tell."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features") or "").split())
    return [flag for flag in RELEVANT_FLAGS if flag in flags]


def adds_int8_in_32_bits() -> bool:
    """Whether the processor sums 8-bit products without saturation; true where that is not known.

    x86 processors without VNNI or AMX add pairs of them in 16 bits.
    """
    flags = cpu_flags()
    return "avx2" not in flags or any("vnni" in flag or flag == "amx_int8" for flag in flags)


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def package_versions(names: tuple[str, ...]) -> dict[str, str]:
    """The installed ones of these distributions, with their versions; nothing is imported."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _cpuinfo(key: str) -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    values = (line.partition(":")[2] for line in text.splitlines() if line.partition(":")[0].strip() == key)
    return next((value.strip() for value in values), None)


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
