"""What a platform tells of itself, read from files as devices have them; what is not there is left out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.device.pinning import parse_cpus, pinned
from edgead.device.telemetry import Platform, Telemetry, _Energy
from edgead.errors import UsageError
from tests.device.jetson_root import write_jetson


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def write_pc(root: Path) -> Path:
    base = "sys/class"
    for name, text in {
        f"{base}/thermal/thermal_zone0/type": "x86_pkg_temp\n",
        f"{base}/thermal/thermal_zone0/temp": "47500\n",
        f"{base}/hwmon/hwmon1/name": "k10temp\n",
        f"{base}/hwmon/hwmon1/temp1_input": "61250\n",
        f"{base}/powercap/intel-rapl:0/name": "package-0\n",
        f"{base}/powercap/intel-rapl:0/energy_uj": "1000000\n",
        f"{base}/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "3000000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2000000\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "7\n",
        "proc/stat": "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3\n",
        "proc/self/statm": "5000 2500 100 1 0 100 0\n",
    }.items():
        write(root, **{name: text})
    return root


def test_a_pc(tmp_path: Path):
    platform = Platform(write_pc(tmp_path))
    platform.read()
    (tmp_path / "proc/stat").write_text("cpu  150 0 150 880 0 0 0 20 0 0\n")
    found = platform.read()
    assert found["temperature_x86_pkg_temp_c"] == 47.5
    assert found["temperature_k10temp_temp1_c"] == 61.25
    assert found["cpu_clock_mean_mhz"] == 2500
    assert found["cpu_throttles_count"] == 7
    assert found["rss_mb"] == pytest.approx(2500 * os.sysconf("SC_PAGE_SIZE") / 1e6)
    assert found["cpu_stolen_share"] == pytest.approx(0.1)
    assert found["cpu_others_share"] + found["cpu_own_share"] == pytest.approx(0.5, abs=0.02)


def test_a_jetsons_rails_and_gpu_clock(tmp_path: Path):
    folder = "sys/class/hwmon/hwmon4"
    write(write_jetson(tmp_path), **{f"{folder}/name": "ina3221\n", f"{folder}/in1_label": "VDD_IN\n"})
    write(tmp_path, **{f"{folder}/in1_input": "19100\n", f"{folder}/curr1_input": "1000\n"})
    found = Platform(tmp_path).read()
    assert found["power_ina3221_VDD_IN_w"] == pytest.approx(19.1)
    assert found["gpu_clock_mhz"] == 306


def test_watts_from_a_counter_that_wraps_around(tmp_path: Path):
    write(tmp_path, energy_uj="900", max_energy_range_uj="1000")
    moments = iter([0.0, 0.5])
    energy = _Energy(tmp_path, lambda: next(moments))
    assert np.isnan(energy.watts())
    (tmp_path / "energy_uj").write_text("400")
    assert energy.watts() == pytest.approx(500e-6 / 0.5)


def test_an_empty_platform_tells_nothing(tmp_path: Path):
    with Telemetry(root=tmp_path, interval_s=0.01) as telemetry:
        pass
    assert telemetry.summary() == {}
    assert telemetry.memory_growth() is None


@given(st.binary(max_size=40))
def test_files_of_any_content(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    root = write_pc(tmp_path_factory.mktemp("pc"))
    for name in ("sys/class/thermal/thermal_zone0/temp", "proc/stat", "proc/self/statm"):
        (root / name).write_bytes(content)
    assert all(not np.isinf(value) for value in Platform(root).read().values())


def test_a_source_that_vanishes_leaves_gaps(tmp_path: Path):
    telemetry = Telemetry(root=write_pc(tmp_path))
    telemetry.sample()
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").unlink()
    telemetry.sample()
    assert np.isnan(telemetry.series()["temperature_x86_pkg_temp_c"][1])
    assert telemetry.summary()["temperature_x86_pkg_temp_c"]["last"] == 47.5


def test_a_long_run_thins_its_rows_and_keeps_its_ends(tmp_path: Path):
    telemetry = Telemetry(root=write_pc(tmp_path))
    for number in range(3000):
        (tmp_path / "proc/self/statm").write_text(f"1 {number} 1 1 1 1 1")
        telemetry.sample()
    pages = telemetry.series()["rss_mb"] * 1e6 / os.sysconf("SC_PAGE_SIZE")
    assert len(pages) <= 512
    assert pages[0] == 0
    assert pages[-1] == pytest.approx(2999)
    assert (np.diff(pages) > 0).all()
    growth = telemetry.memory_growth()
    assert growth is not None
    assert growth["growth_mb"] > 4


def test_this_machine_tells_its_memory():
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system has no /proc")
    with Telemetry(interval_s=0.01) as telemetry:
        pass
    assert telemetry.summary()["rss_mb"]["last"] > 1


@pytest.mark.parametrize(("text", "cpus"), [("1", (1,)), ("0,2-3", (0, 2, 3)), (" 3 , 1-1", (1, 3))])
def test_processors(text: str, cpus: tuple[int, ...]):
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["", "a", "1,", "3-1", "-1", "1--2", "99999"])
def test_processors_that_cannot_be(text: str):
    with pytest.raises(UsageError, match="Expected processors"):
        parse_cpus(text)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_pinning_ends_with_its_block():
    before = os.sched_getaffinity(0)
    one = (min(before),)
    with pinned(one):
        assert os.sched_getaffinity(0) == set(one)
    assert os.sched_getaffinity(0) == before
    with pytest.raises(UsageError, match="Processor 5000 is not one"), pinned((5000,)):
        pass
