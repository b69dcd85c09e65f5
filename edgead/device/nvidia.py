"""What a Jetson or a PC with an NVIDIA GPU needs to run TensorRT, what of it is missing, and what fixes it.

Read from files; nothing is imported or started, so this also works where everything else fails.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from edgead.device.jetson import Jetson, read_jetson
from edgead.installation import how_to_install

# What CUDA opens: the first lines on Jetsons, the last on PCs and on Thor.
_DEVICE_FILES = (
    "dev/nvmap",
    "dev/nvhost-ctrl",
    "dev/nvhost-ctrl-gpu",
    "dev/nvhost-as-gpu",
    "dev/nvhost-gpu",
    "dev/nvgpu/igpu0/ctrl",
    "dev/nvgpu/igpu0/as",
    "dev/nvidiactl",
    "dev/nvidia0",
    "dev/nvidia-uvm",
)
_SYSTEM_PACKAGES = "usr/lib/python3/dist-packages"
ADD_SWAP = (
    "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
    "sudo swapon /swapfile"
)
_SMALL_MB = 9000  # a device with less may see its builder killed without swap


@dataclass(frozen=True)
class Check:
    """One thing that TensorRT needs: what was found, and the command that fixes it (None for all well)."""

    name: str
    found: str
    fix: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing has to be fixed."""
        return self.fix is None


def has_nvidia(root: Path = Path("/")) -> bool:
    """Whether this is a Jetson, or a driver of an NVIDIA GPU is there."""
    return read_jetson(root) is not None or any((root / name).exists() for name in _DEVICE_FILES)


def check_nvidia(root: Path = Path("/")) -> list[Check]:
    """Every check, in the order in which one would fix; empty on a machine without NVIDIA's parts."""
    if not has_nvidia(root):
        return []
    jetson = read_jetson(root)
    checks = [_release(jetson)] if jetson else []
    checks += [_device_files(root), _tensorrt(root, jetson), _pycuda()]
    if jetson is not None:
        checks += [_power_mode(jetson), _clocks(jetson)]
    return [*checks, _memory(root)]


def _release(jetson: Jetson) -> Check:
    found = f"JetPack {jetson.jetpack or 'unknown'}, L4T {jetson.l4t or 'unknown'}"
    major = int(jetson.l4t.partition(".")[0]) if jetson.l4t else 0
    if 0 < major < 35 or (major == 35 and not _is_there("tensorrt")):
        fix = "Flash JetPack 6 or newer (TensorRT is for Python 3.8 in JetPack 5, and too old before it)"
        return Check("JetPack", found, f"{fix}; a Xavier runs bundles with --engine onnxruntime")
    return Check("JetPack", found)


def _device_files(root: Path) -> Check:
    there = [root / name for name in _DEVICE_FILES if (root / name).exists()]
    if not there:
        return Check(
            "device files",
            "none",
            "In a container: docker run --runtime nvidia ... ; else reinstall the driver",
        )
    closed = [path for path in there if not os.access(path, os.R_OK | os.W_OK)]
    if not closed:
        return Check("device files", f"{len(there)}, open to this user")
    groups = sorted({_group(path) for path in closed})
    names = ", ".join(f"/{path.relative_to(root)}" for path in closed)
    return Check(
        "device files",
        f"closed to this user: {names}",
        f"sudo usermod -aG {','.join(groups)} $USER, then log in again",
    )


def _group(path: Path) -> str:
    import grp  # not on every system that reads this module

    number = path.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:  # in a container, of a group that only the host has
        return str(number)


def _tensorrt(root: Path, jetson: Jetson | None) -> Check:
    if _is_there("tensorrt"):
        return Check("tensorrt", "its Python package is installed")
    if (root / _SYSTEM_PACKAGES / "tensorrt").is_dir():
        return Check(
            "tensorrt",
            f"installed for the system's Python, hidden from {sys.executable}",
            "python3 -m venv --system-site-packages VENV, and install edgead there",
        )
    install = "sudo apt install python3-libnvinfer" if jetson else "pip install tensorrt"
    return Check("tensorrt", "its Python package is missing", install)


def _pycuda() -> Check:
    if _is_there("pycuda"):
        return Check("pycuda", "installed")
    return Check(
        "pycuda",
        "missing",
        "sudo apt install build-essential python3-dev && "
        f"PATH=/usr/local/cuda/bin:$PATH {how_to_install('tensorrt')}",
    )


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # imported already, by a loader that leaves no specification
        return name in sys.modules


def _power_mode(jetson: Jetson) -> Check:
    if jetson.power_mode is None:
        return Check("power mode", "unknown: /var/lib/nvpmodel/status cannot be read", "sudo nvpmodel -q")
    others = ", ".join(f"{mode.name} ({mode.number})" for mode in jetson.power_modes)
    return Check(
        "power mode", f"{jetson.power_mode.name} ({jetson.power_mode.number}) of {others or 'unknown'}"
    )


def _clocks(jetson: Jetson) -> Check:
    if jetson.gpu_clock is None:
        return Check("GPU clock", "unknown")
    remedy = None if jetson.gpu_clock.is_locked else "sudo jetson_clocks, before latencies are measured"
    return Check("GPU clock", jetson.gpu_clock.describe(), remedy)


def _memory(root: Path) -> Check:
    total, swap = (_meminfo_mb(root, key) for key in ("MemTotal", "SwapTotal"))
    found = f"{total or 'unknown'} MB, swap {swap if swap is not None else 'unknown'} MB"
    if total is not None and total < _SMALL_MB and not swap:
        return Check(
            "memory",
            found,
            ADD_SWAP,
        )
    return Check("memory", found)


def _meminfo_mb(root: Path, key: str) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    values = (line.partition(":")[2].split() for line in lines if line.startswith(f"{key}:"))
    value = next(values, [])
    return int(value[0]) * 1024 // 10**6 if value and value[0].isdecimal() and len(value[0]) < 16 else None
