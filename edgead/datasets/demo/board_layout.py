"""The drawn board as tables: where its parts sit, how its traces run, what its silk screen says.

Unit: 1/360 of the drawing's side, from its upper left corner; angles in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

UNITS = 360
_THIN = 2.6  # width of a signal trace


@dataclass(frozen=True)
class Placement:
    """A part of the board: which sprite, where, turned how far, and its name on the silk screen."""

    sprite: str
    x: float
    y: float
    angle: float
    reference: str


PARTS = (
    Placement("qfp", 150, 150, 0, "U1"),
    Placement("soic", 270, 112, 0, "U2"),
    Placement("can", 288, 206, 0, "C9"),
    Placement("crystal", 150, 258, 0, "Y1"),
    Placement("inductor", 62, 272, 0, "L1"),
    Placement("tantalum", 62, 222, 90, "C8"),
    Placement("sot", 112, 306, 0, "Q1"),
    Placement("led", 42, 178, 90, "D1"),
    Placement("capacitor", 96, 56, 90, "C1"),
    Placement("capacitor", 123, 56, 90, "C2"),
    Placement("capacitor", 150, 56, 90, "C3"),
    Placement("capacitor", 177, 56, 90, "C4"),
    Placement("capacitor", 204, 56, 90, "C5"),
    Placement("resistor", 46, 56, 0, "R1"),
    Placement("resistor", 46, 84, 0, "R2"),
    Placement("resistor", 46, 112, 0, "R3"),
    Placement("resistor", 46, 140, 0, "R4"),
    Placement("resistor", 240, 52, 90, "R5"),
    Placement("resistor", 264, 52, 90, "R6"),
    Placement("resistor", 288, 52, 90, "R7"),
    Placement("capacitor", 314, 84, 90, "C6"),
    Placement("capacitor", 112, 258, 90, "C7"),
    Placement("resistor", 150, 306, 0, "R8"),
)

# Pads of a sprite around its middle: x, y, width, height.
_QFP = [((k - 5) * 5.6, s * 43.0, 3.2, 10.0) for s in (-1, 1) for k in range(11)]
PADS: dict[str, list[tuple[float, float, float, float]]] = {
    "qfp": _QFP + [(y, x, h, w) for x, y, w, h in _QFP],
    "soic": [(s * 21.0, y, 9.0, 4.6) for s in (-1, 1) for y in (-12.0, -4.0, 4.0, 12.0)],
    "can": [(-15.0, 0.0, 18.0, 7.0), (15.0, 0.0, 18.0, 7.0)],
    "crystal": [(-16.0, 0.0, 14.0, 11.0), (16.0, 0.0, 14.0, 11.0)],
    "inductor": [(-16.0, 0.0, 10.0, 28.0), (16.0, 0.0, 10.0, 28.0)],
    "tantalum": [(-13.0, 0.0, 9.0, 11.0), (13.0, 0.0, 9.0, 11.0)],
    "sot": [(-6.0, 8.0, 5.0, 7.0), (6.0, 8.0, 5.0, 7.0), (0.0, -8.0, 5.0, 7.0)],
    "led": [(-7.5, 0.0, 6.5, 9.5), (7.5, 0.0, 6.5, 9.5)],
    "capacitor": [(-6.5, 0.0, 6.5, 9.0), (6.5, 0.0, 6.5, 9.0)],
    "resistor": [(-6.5, 0.0, 6.5, 9.0), (6.5, 0.0, 6.5, 9.0)],
}

# Half width and height of the silk outline, where the body is larger than the pads.
OUTLINES: dict[str, tuple[float, float]] = {"can": (27.0, 25.0)}

HEADER = tuple((198.0 + 20 * pin, 314.0) for pin in range(7))
TEST_POINTS = ((226.0, 150.0), (24.0 + 8, 322.0), (338.0, 262.0), (338.0, 238.0), (70.0, 322.0))
FIDUCIALS = ((328.0, 36.0),)

Trace = tuple[float, tuple[tuple[float, float], ...]]


def _fan(x: float, y: float, to_x: float, end_y: float, start: float) -> Trace:
    """Straight, then at 45 degrees, then straight: along y."""
    turn = y + (start if end_y > y else -start)
    after = turn + (abs(to_x - x) if end_y > y else -abs(to_x - x))
    return _THIN, ((x, y), (x, turn), (to_x, after), (to_x, end_y))


def _swapped(trace: Trace) -> Trace:
    return trace[0], tuple((y, x) for x, y in trace[1])


def _lead(k: int) -> float:
    return 150 + (k - 5) * 5.6


_TOP = [_fan(_lead(k), 107, x, 63, 5) for k, x in ((1, 96.0), (3, 123.0), (5, 150.0), (7, 177.0), (9, 204.0))]
_TOP_VIAS = [_fan(_lead(k), 107, _lead(k) + (k - 5) * 1.2, 92, 3) for k in (2, 4, 6, 8)]
_LEFT = [_swapped(_fan(_lead(k), 107, y, 53, 5)) for k, y in ((0, 84.0), (2, 112.0), (4, 140.0))]
_LEFT_VIAS = [_swapped(_fan(_lead(k), 107, _lead(k) + (k - 5) * 2.4, 84, 4)) for k in (6, 7, 8, 9, 10)]
_LEFT_LED = [_swapped(_fan(_lead(5), 107, 170.0, 42, 8))]
_TO_SOIC = [_swapped(_fan(_lead(k), 193, 100.0 + 8 * k, 250, 8 + 2.4 * k)) for k in range(4)]


def _bus(k: int, x: float, pin: int, end_y: float) -> Trace:
    """From lead `k` right, round a cut corner, down at `x`, at 45 degrees to the column of a header's pin."""
    y, pin_x = _lead(k), HEADER[pin][0]
    bend = min(6.0, x - 194)
    return _THIN, (
        (193, y),
        (x - bend, y),
        (x, y + bend),
        (x, end_y - pin_x + x),
        (pin_x, end_y),
        HEADER[pin],
    )


_TO_HEADER = [_bus(10, 198, 0, 288), _bus(9, 205, 1, 288), _bus(8, 212, 2, 288)]
_TO_HEADER += [_bus(7, 246, 3, 294), _bus(6, 253, 4, 294), _bus(5, 260, 5, 294)]
_BOTTOM = [_fan(_lead(k), 193, x, 258, 8) for k, x in ((4, 134.0), (6, 166.0), (2, 112.0))]
_BOTTOM_VIAS = [_fan(_lead(k), 193, _lead(k) + (k - 5) * 2.2, 214, 4) for k in (0, 1, 3, 7, 8, 9, 10)]
_REST: list[Trace] = [
    (_THIN, ((291, 100), (296, 100), (314, 82 + 8))),
    (_THIN, ((291, 108), (300, 108), (330, 138), (330, 196), (322, 206), (303, 206))),
    (_THIN, ((291, 124), (304, 124), (322, 142), (322, 176), (338, 192), (338, 238))),
    (_THIN, ((264, 58), (264, 72), (246, 90), (246, 100))),
    (_THIN, ((240, 58), (240, 74), (232, 82), (232, 92))),
    (_THIN, ((288, 58), (288, 66), (306, 66), (314, 74), (314, 78))),
    (_THIN, ((39, 56), (28, 56), (28, 140), (39, 140))),
    (_THIN, ((39, 84), (34, 84), (34, 112), (39, 112))),
    (5.0, ((78, 272), (92, 272), (112, 292), (112, 298))),
    (5.0, ((62, 235), (62, 250), (46, 258), (46, 272))),
    (_THIN, ((118, 314), (136, 314), (143, 307))),
    (_THIN, ((157, 306), (170, 306), (178, 314), (198, 314))),
    (_THIN, ((106, 314), (98, 322), (70, 322))),
    (_THIN, ((42, 186), (42, 192), (62, 212))),
]
TRACES: tuple[Trace, ...] = (
    *_TOP,
    *_TOP_VIAS,
    *_LEFT,
    *_LEFT_VIAS,
    *_LEFT_LED,
    *_TO_SOIC,
    *_TO_HEADER,
    *_BOTTOM,
    *_BOTTOM_VIAS,
    *_REST,
)
VIAS = (
    *(trace[1][-1] for trace in (*_TOP_VIAS, *_LEFT_VIAS, *_BOTTOM_VIAS)),
    (232.0, 92.0),
    (24.0, 200.0),
    (24.0, 240.0),
    (186.0, 238.0),
    (206.0, 338.0),
    (326.0, 290.0),
    (134.0, 334.0),
    (216.0, 30.0),
    (72.0, 32.0),
    (340.0, 110.0),
    (100.0, 226.0),
    (186.0, 290.0),
    (20.0, 290.0),
)

SILK_TEXT = (
    ("EDGEAD IO-7", 34.0, 30.0, 9.0),
    ("V2.1", 300.0, 336.0, 7.0),
    ("J1", 326.0, 300.0, 7.0),
)
