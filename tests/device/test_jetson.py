"""What is read from a Jetson's files, and what is made of those that are missing or odd."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgead.device.jetson import PowerMode, jetpack_of, read_jetson
from tests.device.jetson_root import write_jetson


def test_another_machine_is_none(tmp_path: Path):
    assert read_jetson(tmp_path) is None


def test_a_jetson(tmp_path: Path):
    jetson = read_jetson(write_jetson(tmp_path))
    assert jetson is not None
    assert jetson.model == "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
    assert (jetson.l4t, jetson.jetpack) == ("36.4.3", "6.2")
    assert jetson.power_mode == PowerMode(2, "15W")
    assert jetson.power_modes == (PowerMode(0, "MAXN"), PowerMode(2, "15W"))
    assert jetson.gpu_clock is not None
    assert (jetson.gpu_clock.min_mhz, jetson.gpu_clock.max_mhz) == (306, 612)
    assert not jetson.gpu_clock.is_locked


def test_locked_clocks(tmp_path: Path):
    jetson = read_jetson(write_jetson(tmp_path, min_hz=612_000_000))
    assert jetson is not None
    assert jetson.gpu_clock is not None
    assert jetson.gpu_clock.is_locked


def test_a_mode_that_the_table_lacks_keeps_its_number(tmp_path: Path):
    jetson = read_jetson(write_jetson(tmp_path, mode=7))
    assert jetson is not None
    assert jetson.power_mode == PowerMode(7, "mode 7")


def test_the_package_tells_the_release_where_the_file_is_missing(tmp_path: Path):
    (write_jetson(tmp_path) / "etc/nv_tegra_release").unlink()
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: zlib1g\nVersion: 1.2\n\nPackage: nvidia-l4t-core\nStatus: install ok installed\n"
        "Version: 35.4.1-20230801124926\n"
    )
    jetson = read_jetson(tmp_path)
    assert jetson is not None
    assert (jetson.l4t, jetson.jetpack) == ("35.4.1", "5.1.2")


@pytest.mark.parametrize(
    "name",
    ["etc/nv_tegra_release", "etc/nvpmodel.conf", "var/lib/nvpmodel/status", "proc/device-tree/model"]
    + [f"sys/class/devfreq/17000000.gpu/{name}_freq" for name in ("cur", "min", "max")],
)
@pytest.mark.parametrize(
    "content", [None, b"", b"\0\xff\xfe junk = : <", b"9" * 5000], ids=["missing", "empty", "junk", "huge"]
)
def test_missing_and_odd_files(tmp_path: Path, name: str, content: bytes | None):
    path = write_jetson(tmp_path) / name
    path.unlink() if content is None else path.write_bytes(content)
    assert read_jetson(tmp_path) is not None


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("32.7.4", "4.6.1"),
        ("36.3.0", "6.0"),
        ("36.4.0", "6.1"),
        ("36.4.7", "6.2.1"),
        ("36.5", "6.2.2"),
        ("39.2.0", "7.2"),
        ("28.1", None),
        ("40.1", None),
        ("36.1", None),
        ("", None),
        ("x", None),
    ],
)
def test_jetpack_of(l4t: str, jetpack: str | None):
    assert jetpack_of(l4t) == jetpack
