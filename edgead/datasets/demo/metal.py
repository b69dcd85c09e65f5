"""A brushed metal plate with a bore, bolt holes and a slot, on a dark belt.

The plate is a signed distance field, so that edges, chamfers and shadows follow from one geometry; brushing
is noise smeared along the plate; the bore's seat has turning marks with their two bright fans.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edgead.datasets.demo.scene import (
    SIZE,
    Array,
    Pose,
    Rng,
    X,
    Y,
    blob,
    cloud,
    mix,
    ramp,
    smooth_noise,
    stroke,
    wander,
)

_HALF = (122.0, 88.0)
_CORNER = 13.0
_BORE = (-26.0, 0.0, 33.0)  # x, y, radius
_SEAT = 45.0  # outer radius of the turned seat around the bore
_BOLTS = ((-99.0, -66.0, 9.5), (99.0, -66.0, 9.5), (-99.0, 66.0, 9.5), (99.0, 66.0, 9.5), (54.0, -52.0, 5.0))
_SLOT = (62.0, -20.0, 34.0, 8.5)  # x, upper end, lower end, radius
_STEEL = (0.97, 1.0, 1.02)


@dataclass(frozen=True)
class Plate:
    """One plate: pose, surface and light. Fields of shape SIZE x SIZE unless said otherwise."""

    pose: Pose
    brush: Array  # relative brightness of the brushing
    turning: Array  # 1-D, relative brightness by radius
    belt: Array  # SIZE x SIZE x 3
    light: tuple[float, float]
    sheen: Array  # broad reflections of the surroundings
    fan: float  # angle of the bright fans of the seat
    outline_shift: Array  # added to the outline's distance: 0 for a good part
    relief: Array  # height in pixels, added to the plate
    tint: Array  # SIZE x SIZE x 3, multiplies the surface
    shine: Array  # added to the surface
    blocked: tuple[int, ...] = ()  # numbers of bolt holes that were not made


class Metal:
    """Draws the plate."""

    name = "metal"
    kinds = ("brushing", "dent", "edge", "hole", "scratch", "stain")

    def draw(self, rng: Rng) -> Plate:
        pose = Pose.draw(rng, shift=4.0, degrees=1.6, zoom=1.14)
        angle = rng.normal(-2.2, 0.12)
        zero = np.zeros((SIZE, SIZE), np.float32)
        return Plate(
            pose=pose,
            brush=brushing(rng, pose.angle),
            turning=_turning(rng),
            belt=_belt(rng),
            light=(float(np.cos(angle)), float(np.sin(angle))),
            sheen=_sheen(rng, pose),
            fan=float(rng.normal(0.6, 0.1)),
            outline_shift=zero,
            relief=zero,
            tint=np.ones((SIZE, SIZE, 3), np.float32),
            shine=zero,
        )

    def spoil(self, part: Plate, kind: str, strength: float, rng: Rng) -> Plate:
        return _DEFECTS[kind](part, strength, rng)

    def render(self, part: Plate) -> Array:
        x, y = part.pose.to_part(X, Y)
        outline = _outline(x, y) + part.outline_shift
        holes = _holes(x, y, part.blocked)
        solid = np.maximum(outline, -holes)
        height = np.clip(-outline, 0, 3.5) + np.clip(holes, 0, 1.8) * 0.9 + part.relief
        surface = _surface(part, x, y, height)
        ground = _ground(part, outline, holes)
        return mix(ground, surface, np.clip(0.5 - solid, 0, 1))


def brushing(rng: Rng, angle: float) -> Array:
    """Relative brightness of fine scratches along `angle`, of many lengths, zero mean."""
    side = 400
    total = np.zeros((side, side), np.float32)
    for length, height in ((15, 0.9), (61, 1.0), (241, 1.3)):
        grain = rng.standard_normal((side, side), dtype=np.float32)
        total += cv2.blur(grain, (length, 1)) * np.float32(height * np.sqrt(length))
    rows = rng.standard_normal((side, 1), dtype=np.float32)
    total += cv2.GaussianBlur(rows, (1, 0), sigmaX=1, sigmaY=2.0) * np.float32(0.9)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(np.degrees(-angle)), 1.0)
    turn = turn - np.array([[0, 0, 0.5], [0, 0, 0.5]]) * (side - SIZE)
    return np.asarray(cv2.warpAffine(total, turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR) * np.float32(0.028))


def _turning(rng: Rng) -> Array:
    return np.asarray(
        cv2.blur(rng.standard_normal((256, 1), dtype=np.float32), (1, 2)).ravel() * np.float32(0.07)
    )


def _belt(rng: Rng) -> Array:
    grain = cv2.blur(rng.standard_normal((SIZE, SIZE), dtype=np.float32), (2, 2))
    weave = np.sin((X + Y) * np.float32(1.05)) * np.sin((X - Y) * np.float32(1.05))
    grey = 0.115 + 0.012 * grain + 0.012 * weave + 0.008 * cloud(rng, 60, octaves=3)
    return np.asarray(grey[..., None] * np.array([0.96, 1.0, 1.04], np.float32))


def _sheen(rng: Rng, pose: Pose) -> Array:
    """Brushing spreads reflections across itself: bands that run over the plate from top to bottom."""
    along = pose.to_part(X, Y)[0]
    total = 0.03 * smooth_noise(rng, 90)
    for middle, width, height in ((-62, 52, 0.15), (74, 34, 0.08)):
        offset = (along - np.float32(middle + rng.normal(0, 7))) / np.float32(width)
        total += np.float32(height * rng.uniform(0.85, 1.15)) * np.exp(-offset * offset)
    return total.astype(np.float32)


def _outline(x: Array, y: Array) -> Array:
    qx, qy = np.abs(x) - np.float32(_HALF[0] - _CORNER), np.abs(y) - np.float32(_HALF[1] - _CORNER)
    outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2)
    box = outside + np.minimum(np.maximum(qx, qy), 0) - np.float32(_CORNER)
    cut = (x - y - np.float32(_HALF[0] + _HALF[1] - 26)) * np.float32(0.7071)  # one corner is cut off
    return np.asarray(np.maximum(box, cut))


def _holes(x: Array, y: Array, blocked: tuple[int, ...]) -> Array:
    """Distance to the nearest hole, negative inside."""
    bore = np.hypot(x - np.float32(_BORE[0]), y - np.float32(_BORE[1])) - np.float32(_BORE[2])
    slot_y = y - np.clip(y, _SLOT[1], _SLOT[2])
    nearest = np.minimum(bore, np.hypot(x - np.float32(_SLOT[0]), slot_y) - np.float32(_SLOT[3]))
    for number, (cx, cy, radius) in enumerate(_BOLTS):
        if number not in blocked:
            nearest = np.minimum(
                nearest, np.hypot(x - np.float32(cx), y - np.float32(cy)) - np.float32(radius)
            )
    return np.asarray(nearest)


def _surface(part: Plate, x: Array, y: Array, height: Array) -> Array:
    seat_x, seat_y = x - np.float32(_BORE[0]), y - np.float32(_BORE[1])
    radius = np.hypot(seat_x, seat_y)
    on_seat = np.clip(np.float32(_SEAT + 0.5) - radius, 0, 1)
    height = height - 1.2 * ramp(_SEAT + 1.5, _SEAT - 1.5, radius)
    slope_x, slope_y = (
        cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=1),
        cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=1),
    )
    facing = slope_x * np.float32(part.light[0]) + slope_y * np.float32(part.light[1])
    brushed = (0.50 + part.sheen) * (1 + part.brush)
    fans = np.abs(np.cos(np.arctan2(seat_y, seat_x) - np.float32(part.fan))) ** 9
    rings = part.turning[np.clip(radius * 3, 0, 255).astype(np.int32)]
    turned = (0.42 + 0.42 * fans) * (1 + rings)
    metal = brushed + (turned - brushed) * on_seat
    metal = metal * (1 - np.float32(0.5) * _on_picture(part, _marking()))
    metal = metal * (1 - np.float32(0.24) * facing) - np.float32(0.05) * facing + part.shine
    return np.asarray(np.maximum(metal, 0.02)[..., None] * np.array(_STEEL, np.float32) * part.tint)


@functools.lru_cache(maxsize=1)
def _marking() -> Array:
    """Opacity of the laser marking: type, revision and a small code of dots, in the plate's coordinates."""
    canvas = np.zeros((SIZE * 4, SIZE * 4), np.uint8)
    for text, x, y, size in (("EA-320", 352, 700, 1.25), ("REV C", 352, 752, 0.95)):
        cv2.putText(
            canvas, text, (SIZE * 2 + x - 248, y + 150), cv2.FONT_HERSHEY_SIMPLEX, size, 255, 3, cv2.LINE_AA
        )
    dots = np.random.default_rng(11).integers(0, 2, (10, 10), dtype=np.uint8)
    dots[:, 0] = dots[-1] = 1
    code = np.kron(dots, np.full((7, 7), 255, np.uint8))
    canvas[840:910, 652:722] = code
    return np.asarray(
        cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    )


def _ground(part: Plate, outline: Array, holes: Array) -> Array:
    """The belt with the plate's shadow; in the holes the shadow of their own wall and its lit side."""
    under = np.clip(0.5 - np.maximum(outline, -holes), 0, 1)
    shift = np.array([[1, 0, -part.light[0] * 6], [0, 1, -part.light[1] * 6]], np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(under, shift, (SIZE, SIZE)), (0, 0), 4.0)
    wall = ramp(-3.2, 0.2, holes) * ramp(1.0, -1.0, outline)
    slope_x, slope_y = (
        cv2.Sobel(holes, cv2.CV_32F, 1, 0, ksize=1),
        cv2.Sobel(holes, cv2.CV_32F, 0, 1, ksize=1),
    )
    lit = np.clip(-0.5 * (slope_x * np.float32(part.light[0]) + slope_y * np.float32(part.light[1])), 0, 1)
    ground = part.belt * (1 - np.float32(0.75) * shadow)[..., None]
    return np.asarray(ground + (wall * (0.05 + 0.32 * lit))[..., None])


def _spot(part: Plate, rng: Rng, margin: float) -> tuple[float, float]:
    """A point of the plate, in the plate's own coordinates, `margin` pixels from every edge."""
    while True:
        x, y = rng.uniform(-_HALF[0], _HALF[0]), rng.uniform(-_HALF[1], _HALF[1])
        at_x, at_y = np.full((1, 1), x, np.float32), np.full((1, 1), y, np.float32)
        free = np.minimum(-_outline(at_x, at_y), _holes(at_x, at_y, part.blocked))
        if free[0, 0] > margin:
            return float(x), float(y)


def _scratch(part: Plate, strength: float, rng: Rng) -> Plate:
    """A groove of varying pressure, bright on one flank and dark on the other."""
    start = _spot(part, rng, 10)
    points = wander(rng, start, rng.uniform(0, 2 * np.pi), rng.uniform(40, 120), bend=0.10)
    pressure = np.interp(np.linspace(0, 1, len(points)), (0, 0.25, 0.8, 1), (0.35, 1, 0.8, 0.2))
    groove = _on_picture(part, stroke(points, (pressure * (0.6 + 0.9 * strength)).astype(np.float32)))
    shine = groove * np.float32((0.05 + 0.30 * strength) * rng.choice([1.0, 1.0, -0.7]))
    return replace(part, relief=part.relief - groove * (0.35 + 0.9 * strength), shine=part.shine + shine)


def _dent(part: Plate, strength: float, rng: Rng) -> Plate:
    """A hollow with a slightly raised rim, as a hard edge leaves it; nothing of the surface is lost."""
    cx, cy = _spot(part, rng, 8)
    x, y = part.pose.to_part(X, Y)
    away = blob(rng, x - np.float32(cx), y - np.float32(cy), rng.uniform(6, 11), raggedness=0.12, octaves=1)
    width = np.float32(rng.uniform(3.5, 5.5))
    hollow = ramp(float(width), -float(width) * 1.6, away)
    rim = np.exp(-(((away - width) / (0.6 * width)) ** 2))
    depth = np.float32(1.0 + 3.6 * strength)
    return replace(part, relief=part.relief - depth * hollow + 0.18 * depth * rim)


def _stain(part: Plate, strength: float, rng: Rng) -> Plate:
    """Dried coolant: a brownish film, darker along its border."""
    cx, cy = _spot(part, rng, 4)
    x, y = part.pose.to_part(X, Y)
    away = blob(rng, x - np.float32(cx), y - np.float32(cy), rng.uniform(10, 24), raggedness=0.3)
    film = ramp(1.2, -2.0, away)
    density = film * (0.62 + 0.16 * cloud(rng, 9, octaves=3)) + 0.45 * film * np.exp(-((away + 2) ** 2) / 5)
    density = np.clip(density, 0, 1.2) * np.float32(0.12 + 0.5 * strength)
    absorbed = np.array([0.55, 0.72, 0.95], np.float32)
    return replace(part, tint=part.tint * (1 - density[..., None] * absorbed))


def _edge(part: Plate, strength: float, rng: Rng) -> Plate:
    """A piece broken out of the outer edge, with a torn bright rim."""
    x, y = part.pose.to_part(X, Y)
    side = rng.integers(4)
    along = rng.uniform(-0.72, 0.72)
    cx, cy = (
        (along * _HALF[0], (side - 0.5) * 2 * _HALF[1])
        if side < 2
        else ((side - 2.5) * 2 * _HALF[0], along * _HALF[1])
    )
    radius = 3.0 + 9.0 * strength
    bite = blob(rng, x - np.float32(cx), y - np.float32(cy), radius, raggedness=0.25, octaves=2)
    torn = np.maximum(_outline(x, y), -bite)
    rim = ramp(5.0, 0.0, bite) * (0.5 + 0.5 * smooth_noise(rng, 2.5))
    return replace(
        part,
        outline_shift=torn - _outline(x, y),
        shine=part.shine + rim * np.float32(0.2),
        relief=part.relief - 1.2 * ramp(4.5, 0, bite),
    )


def _hole(part: Plate, strength: float, rng: Rng) -> Plate:
    """A bolt hole that was not drilled; when faint, the smallest of them."""
    number = 4 if strength < 0.45 else int(rng.integers(4))
    return replace(part, blocked=(*part.blocked, number))


def _brushing(part: Plate, strength: float, rng: Rng) -> Plate:
    """A field brushed again in another direction."""
    cx, cy = _spot(part, rng, 14)
    x, y = part.pose.to_part(X, Y)
    away = blob(rng, x - np.float32(cx), y - np.float32(cy), rng.uniform(20, 40), raggedness=0.2)
    turn = rng.choice([-1, 1]) * np.radians(25 + 65 * strength) + rng.normal(0, 0.06)
    other = brushing(rng, part.pose.angle + turn) * np.float32(1.15)
    where = ramp(3.0, -6.0, away) * np.float32(0.55 + 0.45 * strength)
    lift = np.float32((0.02 + 0.05 * strength) * rng.choice([-1, 1]))
    return replace(part, brush=part.brush + (other - part.brush + lift) * where)


def _on_picture(part: Plate, drawing: Array) -> Array:
    return cv2.warpAffine(drawing, part.pose.matrix(SIZE), (SIZE, SIZE), flags=cv2.INTER_LINEAR)


_DEFECTS: dict[str, Callable[[Plate, float, Rng], Plate]] = {
    "brushing": _brushing,
    "dent": _dent,
    "edge": _edge,
    "hole": _hole,
    "scratch": _scratch,
    "stain": _stain,
}
