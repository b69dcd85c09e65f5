"""What a Jetson says of itself: module, L4T and JetPack release, power mode, clocks. Files only, no program.

A Jetson is several devices: its power mode sets the clocks and how many multiprocessors are on, and so which
engine is the fastest and how fast it is. None of these files needs root. In a container the power mode's are
there only when mounted: -v /var/lib/nvpmodel:/var/lib/nvpmodel:ro -v /etc/nvpmodel.conf:/etc/nvpmodel.conf:ro
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgead.profiles.target import Target

# The first L4T release of each JetPack; one between two rows belongs to the earlier.
_JETPACKS = {
    (32, 6): "4.6",
    (32, 7): "4.6.1",
    (35, 3, 1): "5.1.1",
    (35, 4, 1): "5.1.2",
    (35, 5): "5.1.3",
    (35, 6): "5.1.4 to 5.1.6",
    (36, 3): "6.0",
    (36, 4): "6.1",
    (36, 4, 3): "6.2",
    (36, 4, 4): "6.2.1",
    (36, 5): "6.2.2",
    (38, 2): "7.0",
    (38, 4): "7.1",
    (39, 2): "7.2",
}
_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_PACKAGE = re.compile(r"^Package: nvidia-l4t-core\n(?:.+\n)*?Version: ([\d.]+)", re.MULTILINE)
_MODE = re.compile(r"^<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=([^\s>]+)", re.MULTILINE)
_CURRENT_MODE = re.compile(r"pmode:(\d{1,4})\b")
_HERTZ = re.compile(r"[0-9]{1,12}")
_GPU_CLOCKS = ("*.gpu", "*.ga10b", "*.gv11b", "*.gp10b", "*.gpu0")  # JetPack 6, then 5: Orin, Xavier, TX2
_MAX_BYTES = 2**24  # the largest of these files, dpkg's status, is a few MB


class PowerMode(NamedTuple):
    """A mode of nvpmodel: the number that `nvpmodel -m` takes, and its name, "15W" for instance."""

    number: int
    name: str


@dataclass(frozen=True)
class GpuClock:
    """The GPU's clock in MHz: now, and the limits between which the governor moves it."""

    now_mhz: float
    min_mhz: float
    max_mhz: float

    @property
    def is_locked(self) -> bool:
        """Whether the clock is held at its limit, as `jetson_clocks` does."""
        return self.min_mhz >= self.max_mhz

    def describe(self) -> str:
        """The clock and whether it stays where it is."""
        state = "locked" if self.is_locked else "not locked"
        return f"{self.now_mhz:.0f} MHz of {self.max_mhz:.0f}, {state}"


@dataclass(frozen=True)
class Jetson:
    """A Jetson as its files describe it; None for what they do not tell."""

    model: str | None
    l4t: str | None
    jetpack: str | None
    power_mode: PowerMode | None
    power_modes: tuple[PowerMode, ...]
    gpu_clock: GpuClock | None


def read_jetson(root: Path = Path("/")) -> Jetson | None:
    """This machine as a Jetson, or None where it is none; `root` is where its file system begins."""
    compatible = _read(root / "proc/device-tree/compatible") or ""
    l4t = _l4t_release(root)
    if l4t is None and "nvidia,tegra" not in compatible:
        return None
    model = _read(root / "proc/device-tree/model")
    modes = _power_modes(root)
    return Jetson(
        model=model.strip("\0 \n") if model else None,
        l4t=l4t,
        jetpack=jetpack_of(l4t) if l4t else None,
        power_mode=_power_mode(root, modes),
        power_modes=modes,
        gpu_clock=gpu_clock(root),
    )


def jetpack_of(l4t: str) -> str | None:
    """The JetPack that brought an L4T release ("36.4.3" -> "6.2"); None for one that no row covers."""
    release = tuple(int(part) for part in l4t.split(".") if part.isdigit())
    rows = [row for row in _JETPACKS if row <= release and row[0] == release[0]]
    return _JETPACKS[max(rows)] if rows else None


def power_note(jetson: Jetson, profile: Target | None) -> str | None:
    """What to know before a latency of this device is compared with its profile's; None for nothing."""
    mode, modes = jetson.power_mode, profile.modes if profile else {}
    if mode is None:
        return "The power mode is unknown: /var/lib/nvpmodel/status cannot be read. Ask: sudo nvpmodel -q"
    if profile is None or mode.name == profile.default_mode:
        return None
    expected = next((other for other in jetson.power_modes if other.name == profile.default_mode), None)
    remedy = f" To change it: sudo nvpmodel -m {expected.number}" if expected else ""
    if mode.name not in modes:
        return (
            f"The device runs in power mode {mode.name}, which profile {profile.name} does not know.{remedy}"
        )
    here, there = modes[mode.name].peak_tops("int8"), profile.mode().peak_tops("int8")
    return (
        f"The device runs in power mode {mode.name} ({here:.1f} INT8 TOPS at its peak), profile "
        f"{profile.name} is stated for {profile.default_mode} ({there:.1f}).{remedy}"
    )


def _l4t_release(root: Path) -> str | None:
    if found := _RELEASE.search(_read(root / "etc/nv_tegra_release") or ""):
        return ".".join(found.groups())
    found = _PACKAGE.search(_read(root / "var/lib/dpkg/status") or "")
    return found.group(1).rstrip(".") if found else None


def _power_modes(root: Path) -> tuple[PowerMode, ...]:
    text = _read(root / "etc/nvpmodel.conf") or ""
    return tuple(PowerMode(int(number), name) for number, name in _MODE.findall(text))


def _power_mode(root: Path, modes: tuple[PowerMode, ...]) -> PowerMode | None:
    found = _CURRENT_MODE.search(_read(root / "var/lib/nvpmodel/status") or "")
    if found is None:
        return None
    number = int(found.group(1))
    return next((mode for mode in modes if mode.number == number), PowerMode(number, f"mode {number}"))


def gpu_clock(root: Path) -> GpuClock | None:
    """The GPU's clock now; None where the system does not state it."""
    folder = root / "sys/class/devfreq"
    for pattern in _GPU_CLOCKS:
        for device in sorted(folder.glob(pattern)):
            values = [(_read(device / f"{name}_freq") or "").strip() for name in ("cur", "min", "max")]
            if all(_HERTZ.fullmatch(value) for value in values):
                return GpuClock(*(int(value) / 1e6 for value in values))
    return None


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None
