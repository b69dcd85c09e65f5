"""The layouts of published data sets, each read as it is unpacked: nothing is moved or converted.

`LAYOUTS` is the table; a layout is a file of this package or a few lines in one. The layout of MVTec AD and
plain folders are what `edgead.datasets.open_dataset` falls back on.
"""

from __future__ import annotations

from pathlib import Path

from edgead.datasets.layouts import deeppcb, mvtec, realiad, surfaces, visa
from edgead.datasets.layouts.base import Layout

# The order decides where the signs of one layout include another's.
LAYOUTS: tuple[Layout, ...] = (
    mvtec.MVTEC_3D,
    mvtec.MVTEC_LOCO,
    mvtec.BTAD,
    visa.VISA,
    realiad.REAL_IAD,
    surfaces.MAGNETIC_TILE,
    surfaces.KOLEKTOR_SDD2,
    deeppcb.DEEP_PCB,
    mvtec.MVTEC,
)


def layout_at(root: Path) -> Layout | None:
    """The layout whose signs are all in `root`, if any."""
    return next((layout for layout in LAYOUTS if not layout.missing(root)), None)


def resemblance(root: Path) -> str:
    """A sentence on the layout that `root` has most, but not all, signs of; "" where it has none of any."""
    shares = [(1 - len(layout.missing(root)) / len(layout.signs), layout) for layout in LAYOUTS]
    share, nearest = max(shares, key=lambda entry: entry[0])
    if share == 0:
        return ""
    missing = ", ".join(nearest.missing(root))
    return f"It resembles the layout of {nearest.title}, and {missing} is missing."
