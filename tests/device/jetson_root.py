"""The files by which a Jetson describes itself, written below a folder; contents as devices have them."""

from __future__ import annotations

from pathlib import Path

RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37"
)
MODES = """# A comment: < POWER_MODEL ID=9 NAME=NONE >
< PARAM TYPE=FILE NAME=GPU >
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
GPU MAX_FREQ -1

< POWER_MODEL ID=2 NAME=15W >
GPU MAX_FREQ 612000000
< PM_CONFIG DEFAULT=2 >
"""
COMPATIBLE = "nvidia,p3768-0000+p3767-0000\0nvidia,p3767-0000\0nvidia,tegra234\0"


def write_jetson(root: Path, *, mode: int = 2, min_hz: int = 306_000_000, max_hz: int = 612_000_000) -> Path:
    """An Orin NX in one of two power modes; its root."""
    contents = {
        "etc/nv_tegra_release": RELEASE + "\n",
        "etc/nvpmodel.conf": MODES,
        "var/lib/nvpmodel/status": f"pmode:{mode:04d}\n",
        "proc/device-tree/compatible": COMPATIBLE,
        "proc/device-tree/model": "NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0",
        "sys/class/devfreq/17000000.gpu/cur_freq": f"{min_hz}\n",
        "sys/class/devfreq/17000000.gpu/min_freq": f"{min_hz}\n",
        "sys/class/devfreq/17000000.gpu/max_freq": f"{max_hz}\n",
    }
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
