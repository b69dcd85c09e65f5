"""Temperature, clocks, power, memory and other programs' work during a run, where the platform tells them.

Files only, no program and no root: thermal zones, hwmon (the power rails of a Jetson as well, which are what
tegrastats shows), cpufreq, RAPL, devfreq, /proc. A source that is not there is left out, never guessed.
psutil reads neither rails nor throttling, and would be one more compiled package on the line's PC.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgead.device.jetson import gpu_clock

_CAPACITY = 512  # rows; when they are full, every other is left out and the interval doubled
_NUMBER = re.compile(r"-?\d{1,18}")
_HUGE = 1e15

Readings = dict[str, float]


class Telemetry:
    """Samples the platform on a thread of its own while its block runs; its memory does not grow.

    with Telemetry() as telemetry:
        ...
    telemetry.summary()  # {"rss_mb": {"first": ..., "last": ..., "min": ..., "mean": ..., "max": ...}, ...}
    """

    def __init__(self, *, root: Path = Path("/"), interval_s: float = 0.5) -> None:
        self._read = Platform(root).read
        self._interval_s = interval_s
        self._names = tuple(self._read())
        self._rows = np.full((_CAPACITY, 1 + len(self._names)), np.nan)
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def __enter__(self) -> Telemetry:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.sample()

    def sample(self) -> None:
        """Take one row now."""
        if self._count == _CAPACITY:
            self._rows[: _CAPACITY // 2] = self._rows[::2].copy()
            self._count, self._interval_s = _CAPACITY // 2, 2 * self._interval_s
        found = self._read()
        self._rows[self._count] = [time.monotonic(), *(found.get(name, np.nan) for name in self._names)]
        self._count += 1

    def series(self) -> dict[str, NDArray[np.float64]]:
        """`seconds` from the first row, and each quantity; NaN where it could not be read."""
        rows = self._rows[: self._count]
        seconds = rows[:, 0] - rows[0, 0] if len(rows) else rows[:, 0]
        return {"seconds": seconds, **{name: rows[:, at + 1] for at, name in enumerate(self._names)}}

    def summary(self) -> dict[str, dict[str, float]]:
        """First, last, least, mean and most of each quantity that was read."""
        found = {}
        for name, values in self.series().items():
            seen = values[np.isfinite(values)]
            if name != "seconds" and len(seen):
                ends = {"first": seen[0], "last": seen[-1]}
                spread = {"min": seen.min(), "mean": seen.mean(), "max": seen.max()}
                found[name] = {key: round(float(value), 3) for key, value in {**ends, **spread}.items()}
        return found

    def memory_growth(self) -> dict[str, float] | None:
        """MB that this process grew by: from the median of the first tenth to that of the last; and the slope
        after the first tenth, per hour.

        None where the system does not state it, or for less than ten rows.
        """
        series = self.series()
        rss = series.get("rss_mb", np.empty(0))
        if len(rss) < 10 or not np.isfinite(rss).all():
            return None
        tenth, hours = max(1, len(rss) // 10), series["seconds"] / 3600
        first, last = float(np.median(rss[:tenth])), float(np.median(rss[-tenth:]))
        later = slice(tenth, None)  # what the run's own beginning takes is no growth
        slope = float(np.polyfit(hours[later], rss[later], 1)[0]) if hours[-1] > hours[tenth] else 0.0
        found = {"first_mb": first, "last_mb": last, "growth_mb": last - first, "mb_per_hour": slope}
        return {name: round(value, 3) for name, value in found.items()}

    def _run(self) -> None:
        while not self._stop.is_set():
            self.sample()
            self._stop.wait(self._interval_s)


class Platform:
    """Reads every quantity that this machine tells; `root` is where its file system begins."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        sys = root / "sys/class"
        self._zones = _named(sys.glob("thermal/thermal_zone*"), "type")
        self._hwmon = _named(sys.glob("hwmon/hwmon*"), "name")
        self._rapl = {
            name: _Energy(path)
            for name, path in _named(sys.glob("powercap/*rapl*"), "name").items()
            if (path / "energy_uj").exists()
        }
        self._busy = _Busy(root)

    def read(self) -> Readings:
        """Each quantity in the unit that its name ends with; what cannot be read now is left out."""
        sources = (
            self._memory,
            self._temperatures,
            self._clocks,
            self._power,
            self._busy.read,
            self._throttles,
        )
        found: Readings = {}
        for source in sources:
            found |= source()
        return {
            name: value for name, value in found.items() if not abs(value) > _HUGE
        }  # NaN: from the next on

    def _memory(self) -> Readings:
        words = _text(self._root / "proc/self/statm").split()
        if len(words) < 2 or not _NUMBER.fullmatch(words[1]):
            return {}
        return {"rss_mb": int(words[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6}

    def _temperatures(self) -> Readings:
        files = {name: path / "temp" for name, path in self._zones.items()}
        for name, path in self._hwmon.items():
            files |= {f"{name}_{file.name.removesuffix('_input')}": file for file in path.glob("temp*_input")}
        return _scaled({f"temperature_{name}_c": file for name, file in files.items()}, 1e-3)

    def _clocks(self) -> Readings:
        folder = self._root / "sys/devices/system/cpu"
        files = folder.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        clocks = [value for value in map(_number, files) if value is not None]
        found = {"cpu_clock_mean_mhz": float(np.mean(clocks)) / 1e3} if clocks else {}
        if (clock := gpu_clock(self._root)) is not None:
            found["gpu_clock_mhz"] = clock.now_mhz
        return found

    def _power(self) -> Readings:
        found = {}
        for name, energy in self._rapl.items():
            if (watts := energy.watts()) is not None:
                found[f"power_{name}_w"] = watts
        for name, path in self._hwmon.items():
            found |= _scaled({f"power_{name}_{f.name[5:-6]}_w": f for f in path.glob("power*_input")}, 1e-6)
            for volts in path.glob("in[0-9]*_input"):  # mV and mA: the rails of a Jetson's INA3221
                current = _number(path / f"curr{volts.name[2:-6]}_input")
                voltage = _number(volts)
                label = _text(path / f"{volts.name[:-6]}_label").strip() or volts.name[:-6]
                if current is not None and voltage is not None:
                    found[f"power_{name}_{label}_w"] = current * voltage / 1e6
        return found

    def _throttles(self) -> Readings:
        files = self._root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")
        counts = [value for value in map(_number, files) if value is not None]
        return {"cpu_throttles_count": sum(counts)} if counts else {}


class _Energy:
    """Watts from a counter of microjoules, which wraps around."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._range = _number(path / "max_energy_range_uj") or 0
        self._last: tuple[float, float] | None = None

    def watts(self) -> float | None:
        energy, now = _number(self._path / "energy_uj"), self._clock()
        last, self._last = self._last, None if energy is None else (energy, now)
        if energy is None or last is None or now <= last[1]:
            return None if energy is None else float("nan")
        used = energy - last[0]
        return (used + self._range if used < 0 else used) / 1e6 / (now - last[1])


class _Busy:
    """Shares of the processors' time since the last reading: this process, others, stolen by a hypervisor."""

    def __init__(self, root: Path) -> None:
        self._path = root / "proc/stat"
        self._last: tuple[float, float, float, float] | None = None

    def read(self) -> Readings:
        words = _text(self._path).partition("\n")[0].split()[1:9]
        if len(words) < 8 or not all(map(_NUMBER.fullmatch, words)):
            return {}
        ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in words]
        stolen, idle, own = ticks[7], ticks[3] + ticks[4], time.process_time()
        now = (sum(ticks), sum(ticks) - idle - stolen, own, stolen)
        last, self._last = self._last, now
        names = ("cpu_others_share", "cpu_own_share", "cpu_stolen_share")
        if last is None or now[0] <= last[0]:
            return dict.fromkeys(names, float("nan"))
        whole, busy, mine, taken = (new - old for new, old in zip(now, last, strict=True))
        return dict(zip(names, (max(0.0, busy - mine) / whole, mine / whole, taken / whole), strict=True))


def _named(folders: Iterable[Path], file: str) -> Mapping[str, Path]:
    """Folders by what their file says they are; a second one of a name gets its own number."""
    found: dict[str, Path] = {}
    for path in sorted(folders):
        name = re.sub(r"\W+", "_", _text(path / file).strip()) or path.name
        found[name if name not in found else f"{name}_{path.name}"] = path
    return found


def _scaled(files: Mapping[str, Path], factor: float) -> Readings:
    values = {name: _number(path) for name, path in files.items()}
    return {name: value * factor for name, value in values.items() if value is not None}


def _number(path: Path) -> float | None:
    text = _text(path).strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(65536).decode("utf-8", errors="replace")
    except OSError:
        return ""
