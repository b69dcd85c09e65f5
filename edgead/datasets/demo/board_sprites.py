"""The board's parts as small pictures with opacity, drawn once, four times finer than the board's unit."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt

from edgead.datasets.demo.scene import Array

FINE = 4  # pixels per unit
_BITS = 4
_Colour = tuple[int, int, int]
_Canvas = npt.NDArray[np.uint8]

_BLACK: _Colour = (38, 38, 41)
_TIN: _Colour = (186, 188, 190)
_TIN_LIGHT: _Colour = (236, 238, 240)
_TIN_DARK: _Colour = (104, 106, 110)


@functools.cache
def sprite(name: str) -> Array:
    """RGB premultiplied by opacity, and the opacity: square, float32 H W 4 in 0..1, two pixels per unit."""
    width = _SIZES[name]
    canvas = np.zeros((width * FINE, width * FINE, 4), np.uint8)
    _DRAWERS[name](canvas)
    small = cv2.resize(canvas, (width * 2, width * 2), interpolation=cv2.INTER_AREA)
    return np.asarray(small.astype(np.float32) / np.float32(255))


def _points(canvas: _Canvas, corners: list[tuple[float, float]]) -> npt.NDArray[np.int32]:
    middle = canvas.shape[0] / 2
    place = (np.array(corners, np.float64) * FINE + middle) * 2**_BITS
    return np.asarray(np.rint(place), np.int32)


def _box(canvas: _Canvas, x: float, y: float, w: float, h: float, colour: _Colour) -> None:
    """A filled rectangle with its middle at x, y."""
    corners = [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]
    cv2.fillConvexPoly(canvas, _points(canvas, corners), (*colour, 255), cv2.LINE_AA, _BITS)


def _disc(canvas: _Canvas, x: float, y: float, radius: float, colour: _Colour) -> None:
    centre = tuple(int(v) for v in _points(canvas, [(x, y)])[0])
    cv2.circle(canvas, centre, round(radius * FINE * 2**_BITS), (*colour, 255), -1, cv2.LINE_AA, _BITS)


def _body(canvas: _Canvas, w: float, h: float, colour: _Colour, *, bevel: float = 1.2) -> None:
    """A moulded block seen from above, lit from the upper left: light and dark bevels, a grainy top."""
    light, dark = (_scaled(colour, factor) for factor in (1.7, 0.55))
    x, y, b = w / 2, h / 2, bevel
    _box(canvas, 0, 0, w, h, dark)
    for corners in (
        [(-x, -y), (x, -y), (x - b, -y + b), (-x + b, -y + b)],
        [(-x, -y), (-x + b, -y + b), (-x + b, y - b), (-x, y)],
    ):
        cv2.fillConvexPoly(canvas, _points(canvas, corners), (*light, 255), cv2.LINE_AA, _BITS)
    _box(canvas, 0, 0, w - 2 * b, h - 2 * b, colour)
    grain = np.random.default_rng(5).normal(0, 5, canvas.shape[:2]).astype(np.float32)
    slope = np.linspace(9, -9, canvas.shape[0], dtype=np.float32)[:, None]
    inside = canvas[..., 3] == 255
    shaded = canvas[..., :3].astype(np.float32) + (cv2.blur(grain, (3, 3)) * 2 + slope)[..., None]
    canvas[..., :3][inside] = np.clip(shaded, 0, 255).astype(np.uint8)[inside]


def _scaled(colour: _Colour, factor: float) -> _Colour:
    r, g, b = (min(255, int(channel * factor)) for channel in colour)
    return r, g, b


def _text(canvas: _Canvas, text: str, x: float, y: float, height: float, colour: _Colour) -> None:
    """Text with its middle at x, y; `height` of the capitals in units."""
    size = height * FINE / 21
    thick = max(1, round(height * FINE / 11))
    (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    middle = canvas.shape[0] / 2
    origin = (int(middle + x * FINE - w / 2), int(middle + y * FINE + h / 2))
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, (*colour, 255), thick, cv2.LINE_AA)


def _gull_wing(canvas: _Canvas, x: float, y: float, w: float, h: float) -> None:
    """A lead: knee near the body in light, foot with a bright line and a dark toe."""
    _box(canvas, x, y, w, h, _TIN)
    if w > h:
        side = 1 if x > 0 else -1
        _box(canvas, x - side * w * 0.30, y, w * 0.22, h, _TIN_LIGHT)
        _box(canvas, x - side * w * 0.05, y, w * 0.2, h, _TIN_DARK)
    else:
        side = 1 if y > 0 else -1
        _box(canvas, x, y - side * h * 0.30, w, h * 0.22, _TIN_LIGHT)
        _box(canvas, x, y - side * h * 0.05, w, h * 0.2, _TIN_DARK)


def _qfp(canvas: _Canvas) -> None:
    for k in range(11):
        at = (k - 5) * 5.6
        for side in (-1, 1):
            _gull_wing(canvas, at, side * 40.5, 2.3, 10)
            _gull_wing(canvas, side * 40.5, at, 10, 2.3)
    _body(canvas, 72, 72, _BLACK, bevel=2.0)
    _disc(canvas, -27, -27, 3.4, (24, 24, 26))
    _disc(canvas, -26.6, -26.6, 2.6, (50, 50, 53))
    for text, y, height in (("EA7412", -8, 8.0), ("M4-128", 5, 6.0), ("2347 K", 16, 6.0)):
        _text(canvas, text, 0, y, height, (150, 150, 148))


def _soic(canvas: _Canvas) -> None:
    for y in (-12, -4, 4, 12):
        for side in (-1, 1):
            _gull_wing(canvas, side * 18.5, y, 9, 3.4)
    _body(canvas, 30, 38, _BLACK, bevel=1.6)
    _disc(canvas, -10.5, -14.5, 2.0, (62, 62, 64))
    _text(canvas, "485E", 0, -1, 6.0, (140, 140, 138))
    _text(canvas, "3B", 0, 8, 5.0, (140, 140, 138))


def _can(canvas: _Canvas) -> None:
    """An electrolytic capacitor: black base, aluminium can, dark sector for the minus pole."""
    _body(canvas, 46, 46, (30, 30, 32), bevel=1.0)
    for radius, level in ((22, 95), (21.2, 205), (19.2, 140), (18.6, 188)):
        _disc(canvas, 0, 0, radius, (level, level, level + 3))
    middle = canvas.shape[0] // 2
    top = np.zeros(canvas.shape[:2], np.uint8)
    cv2.circle(top, (middle, middle), round(18.4 * FINE), 255, -1)
    top[:, int(middle - 8 * FINE) :] = 0
    canvas[..., :3][top > 0] = (44, 45, 50)
    y, x = np.mgrid[: canvas.shape[0], : canvas.shape[1]] - middle
    fans = 1 + 0.16 * np.cos(2 * (np.arctan2(y, x) + 0.9)) * (np.hypot(x, y) < 21 * FINE)
    canvas[..., :3] = np.clip(canvas[..., :3] * fans[..., None], 0, 255).astype(np.uint8)
    for text, at in (("100", -4), ("16V", 5)):
        _text(canvas, text, 5, at, 6.0, (70, 70, 74))


def _crystal(canvas: _Canvas) -> None:
    for side in (-1, 1):
        _box(canvas, side * 21, 0, 7, 5, _TIN)
    for inset, level in ((0, 110), (0.8, 225), (2.2, 150), (3.0, 186)):
        w, h = 40 - 2 * inset, 15 - 2 * inset
        _box(canvas, 0, 0, w - h, h, (level, level, level + 4))
        for side in (-1, 1):
            _disc(canvas, side * (w - h) / 2, 0, h / 2, (level, level, level + 4))
    _text(canvas, "16.000", 0, 0, 5.0, (92, 92, 96))


def _inductor(canvas: _Canvas) -> None:
    for side in (-1, 1):
        _box(canvas, side * 17.5, 0, 5, 22, _TIN)
    _body(canvas, 34, 34, (72, 71, 70), bevel=2.4)
    _text(canvas, "4R7", 0, 0, 8.0, (196, 196, 192))


def _tantalum(canvas: _Canvas) -> None:
    for side in (-1, 1):
        _box(canvas, side * 14, 0, 5, 8, _TIN)
    _body(canvas, 27, 16, (205, 158, 46), bevel=1.2)
    _box(canvas, -9.5, 0, 4, 13.6, (120, 70, 24))
    _text(canvas, "47C", 3, 0, 6.0, (110, 70, 30))


def _sot(canvas: _Canvas) -> None:
    for x, y in ((-6, 7), (6, 7), (0, -7)):
        _gull_wing(canvas, x, y, 3.6, 6)
    _body(canvas, 19, 10, _BLACK, bevel=1.0)
    _text(canvas, "1AM", 0, 0, 4.2, (140, 140, 138))


def _led(canvas: _Canvas) -> None:
    _chip(canvas, (226, 224, 214))
    _disc(canvas, 0, 0, 3.6, (236, 220, 150))
    _box(canvas, 3.2, 0, 1.0, 8, (70, 150, 90))


def _capacitor(canvas: _Canvas) -> None:
    _chip(canvas, (168, 128, 88))


def _resistor(canvas: _Canvas) -> None:
    _chip(canvas, (34, 34, 37))
    _text(canvas, "103", 0, 0, 4.4, (214, 214, 208))


def _chip(canvas: _Canvas, colour: _Colour) -> None:
    """A two-terminal part with tinned ends."""
    _body(canvas, 17, 8.6, colour, bevel=0.8)
    for side in (-1, 1):
        _box(canvas, side * 7.0, 0, 3.2, 8.8, _TIN)
        _box(canvas, side * 7.0, -2.6, 3.2, 1.6, _TIN_LIGHT)
        _box(canvas, side * 7.0, 3.3, 3.2, 1.4, _TIN_DARK)


_SIZES = {
    "qfp": 96,
    "soic": 52,
    "can": 52,
    "crystal": 54,
    "inductor": 46,
    "tantalum": 38,
    "sot": 28,
    "led": 24,
    "capacitor": 24,
    "resistor": 24,
}
_DRAWERS = {
    "qfp": _qfp,
    "soic": _soic,
    "can": _can,
    "crystal": _crystal,
    "inductor": _inductor,
    "tantalum": _tantalum,
    "sot": _sot,
    "led": _led,
    "capacitor": _capacitor,
    "resistor": _resistor,
}
