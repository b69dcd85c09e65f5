"""What is missing for TensorRT, and the command that mends it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgead.device.nvidia import Check, check_nvidia, has_nvidia
from tests.device.jetson_root import write_jetson


def named(root: Path, name: str) -> Check:
    return next(check for check in check_nvidia(root) if check.name == name)


def test_a_machine_without_nvidia_has_nothing_to_check(tmp_path: Path):
    assert not has_nvidia(tmp_path)
    assert check_nvidia(tmp_path) == []


def test_a_pc_with_a_driver(tmp_path: Path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    names = [check.name for check in check_nvidia(tmp_path)]
    assert names == ["device files", "tensorrt", "pycuda", "memory"]
    assert named(tmp_path, "device files").is_well


def test_a_jetson(tmp_path: Path):
    root = write_jetson(tmp_path)
    assert named(root, "JetPack") == Check("JetPack", "JetPack 6.2, L4T 36.4.3")
    assert named(root, "power mode").found == "15W (2) of MAXN (0), 15W (2)"
    assert "jetson_clocks" in str(named(root, "GPU clock").fix)


@pytest.mark.parametrize("release", ["R32 (release), REVISION: 7.4", "R35 (release), REVISION: 4.1"])
def test_a_jetpack_that_is_too_old(tmp_path: Path, release: str):
    root = write_jetson(tmp_path)
    (root / "etc/nv_tegra_release").write_text(f"# {release}, GCID: 1")
    assert "JetPack 6" in str(named(root, "JetPack").fix)


def test_a_container_without_devices(tmp_path: Path):
    assert "--runtime nvidia" in str(named(write_jetson(tmp_path), "device files").fix)


def test_device_files_of_another_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = write_jetson(tmp_path)
    (root / "dev").mkdir()
    (root / "dev/nvmap").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    check = named(root, "device files")
    assert "/dev/nvmap" in check.found
    assert str(check.fix).startswith("sudo usermod -aG ")


def test_a_tensorrt_that_the_environment_hides(tmp_path: Path):
    root = write_jetson(tmp_path)
    (root / "usr/lib/python3/dist-packages/tensorrt").mkdir(parents=True)
    assert "--system-site-packages" in str(named(root, "tensorrt").fix)


@pytest.mark.parametrize(
    ("meminfo", "mends"),
    [
        ("MemTotal: 7800000 kB\nSwapTotal: 0 kB\n", True),
        ("MemTotal: 7800000 kB\nSwapTotal: 8000000 kB\n", False),
        ("MemTotal: 64000000 kB\nSwapTotal: 0 kB\n", False),
        ("MemTotal: many\n", False),
        ("", False),
        ("MemTotal: " + "9" * 5000 + " kB\n", False),
    ],
)
def test_memory_and_swap(tmp_path: Path, meminfo: str, mends: bool):
    root = write_jetson(tmp_path)
    (root / "proc/meminfo").write_text(meminfo)
    assert ("swapon" in str(named(root, "memory").fix)) == mends
