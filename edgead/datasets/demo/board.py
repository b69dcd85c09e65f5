"""A printed board under an inspection camera: traces under green solder mask, pads, parts, silk screen.

The artwork is drawn once as layers, two pixels per unit; each picture warps the layers to its pose, colours
them and sets the parts on, each with the small offset and turn that a placement machine leaves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgead.datasets.demo.board_layout import (
    FIDUCIALS,
    HEADER,
    OUTLINES,
    PADS,
    PARTS,
    SILK_TEXT,
    TEST_POINTS,
    TRACES,
    UNITS,
    VIAS,
    Placement,
)
from edgead.datasets.demo.board_sprites import sprite
from edgead.datasets.demo.scene import SIZE, Array, Pose, Rng, cloud, mix, smooth_noise, stroke, wander

_FINE = 2  # pixels of the artwork per unit
_SIDE = UNITS * _FINE
_BITS = 4
_Layer = npt.NDArray[Any]  # uint8

_LAMINATE = np.array([0.035, 0.205, 0.115], np.float32)
_COPPER = np.array([0.105, 0.385, 0.205], np.float32)
_TIN = np.array([0.66, 0.67, 0.68], np.float32)
_GOLD = np.array([0.80, 0.62, 0.29], np.float32)
_SILK = (0.82, 0.84, 0.82)


@dataclass(frozen=True)
class Assembly:
    """One board. Layers are of the artwork's size, fields SIZE x SIZE."""

    pose: Pose
    copper: _Layer
    solder: _Layer
    parts: tuple[Placement, ...]
    part_gain: tuple[float, ...]
    light: tuple[float, float]
    gloss: Array
    solder_gain: Array  # joints differ in wetting
    silk_opacity: float
    hue: Array  # RGB factors of the solder mask
    scratched: Array  # opacity of bare, scratched places
    scratch_colour: tuple[float, float, float] = (0.62, 0.70, 0.58)


class Board:
    """Draws the board."""

    name = "board"
    kinds = ("missing_part", "open_trace", "rotated_part", "scratch", "short", "solder_splash")

    def draw(self, rng: Rng) -> Assembly:
        artwork = _artwork()
        angle = rng.normal(-2.2, 0.15)
        return Assembly(
            pose=Pose.draw(rng, shift=4.0, degrees=1.2, zoom=UNITS / SIZE),
            copper=artwork.copper,
            solder=artwork.solder,
            parts=tuple(_placed(part, rng) for part in PARTS),
            part_gain=tuple(float(gain) for gain in rng.normal(1.0, 0.035, len(PARTS))),
            light=(float(np.cos(angle)), float(np.sin(angle))),
            gloss=0.030 * smooth_noise(rng, 130) + 0.010 * cloud(rng, 30, octaves=4),
            solder_gain=1 + 0.10 * smooth_noise(rng, 5),
            silk_opacity=float(rng.uniform(0.82, 0.95)),
            hue=(1 + rng.normal(0, 0.025, 3)).astype(np.float32),
            scratched=np.zeros((SIZE, SIZE), np.float32),
        )

    def spoil(self, part: Assembly, kind: str, strength: float, rng: Rng) -> Assembly:
        return _DEFECTS[kind](part, strength, rng)

    def render(self, part: Assembly) -> Array:
        scene = _bare(part)
        placed = _set_parts(part)
        opacity = np.ascontiguousarray(placed[..., 3])
        lift = np.array([[1, 0, -part.light[0] * 2.6], [0, 1, -part.light[1] * 2.6]], np.float32)
        shadow = cv2.GaussianBlur(cv2.warpAffine(opacity, lift, (SIZE, SIZE)), (0, 0), 1.7)
        scene = scene * (1 - np.float32(0.62) * shadow)[..., None]
        lit = placed[..., :3] * (1 + 1.5 * part.gloss)[..., None]
        return np.asarray(scene * (1 - opacity)[..., None] + lit)


def _placed(part: Placement, rng: Rng) -> Placement:
    dx, dy, turn = rng.normal(0, (0.35, 0.35, 0.7))
    return replace(part, x=part.x + float(dx), y=part.y + float(dy), angle=part.angle + float(turn))


def _warped(part: Assembly, layers: Array) -> Array:
    return cv2.warpAffine(layers, part.pose.matrix(_SIDE), (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def _bare(part: Assembly) -> Array:
    """The board without its parts."""
    artwork = _artwork()
    stack = cv2.merge([part.copper, part.solder, artwork.silk])
    layers = _warped(part, stack).astype(np.float32) / np.float32(255)
    metal = _warped(part, artwork.gold_and_drill).astype(np.float32) / np.float32(255)
    copper, solder, silk = (np.ascontiguousarray(layers[..., index]) for index in range(3))
    gold, drill = metal[..., 0], metal[..., 1]
    hue = part.hue
    board = _LAMINATE * hue + copper[..., None] * ((_COPPER - _LAMINATE) * hue)
    board *= (1 + 2.2 * part.gloss + 0.16 * _facing(copper, part.light))[..., None]
    board += (0.35 * np.maximum(part.gloss, 0))[..., None]
    board = mix(board, _SILK, silk * np.float32(part.silk_opacity))
    board = mix(board, part.scratch_colour, part.scratched)
    board = mix(board, _GOLD * (1 + 2 * part.gloss + 0.18 * _facing(gold, part.light))[..., None], gold)
    domed = cv2.GaussianBlur(solder, (0, 0), 1.3)
    shine = 0.72 + 0.30 * domed + 0.62 * _facing(domed, part.light)
    tin = _TIN * np.maximum(shine * part.solder_gain, 0.08)[..., None]
    board = mix(board, tin, np.minimum(solder, 1 - part.scratched))
    return np.asarray(board * (1 - np.float32(0.92) * drill)[..., None])


def _facing(height: Array, light: tuple[float, float]) -> Array:
    """How much a slope looks towards the light: positive on the lit side."""
    slope_x, slope_y = (
        cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=1),
        cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=1),
    )
    return np.asarray(-(slope_x * np.float32(light[0]) + slope_y * np.float32(light[1])) * np.float32(-1.0))


def _set_parts(part: Assembly) -> Array:
    """All parts on a transparent picture, RGB premultiplied and opacity."""
    canvas = np.zeros((SIZE, SIZE, 4), np.float32)
    for placement, gain in zip(part.parts, part.part_gain, strict=True):
        _set_part(canvas, part.pose.matrix(_SIDE), placement, gain)
    return canvas


def _set_part(canvas: Array, pose: Array, placement: Placement, gain: float) -> None:
    """Warps one sprite to its place; `pose` is 2 x 3, from the artwork to `canvas`."""
    picture = sprite(placement.sprite)
    middle = (picture.shape[0] - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), -placement.angle, 1.0)
    turn[:, 2] += (placement.x * _FINE - middle, placement.y * _FINE - middle)
    to_canvas = pose[:, :2] @ turn + np.array([[0, 0, pose[0, 2]], [0, 0, pose[1, 2]]])
    centre = to_canvas @ np.array([middle, middle, 1])
    reach = int(middle * 1.42 * np.hypot(pose[0, 0], pose[1, 0])) + 2
    left, top = (max(0, int(c) - reach) for c in centre)
    target = canvas[top : max(top, int(centre[1]) + reach), left : max(left, int(centre[0]) + reach)]
    if not target.size:
        return
    to_canvas[:, 2] -= (left, top)
    patch = cv2.warpAffine(picture, to_canvas, (target.shape[1], target.shape[0]), flags=cv2.INTER_LINEAR)
    target *= 1 - patch[..., 3:]
    target += patch * np.array([gain, gain, gain, 1], np.float32)


@dataclass(frozen=True)
class _Artwork:
    """What every board has in common: uint8 layers, and where nothing stands on the board."""

    copper: _Layer
    solder: _Layer
    silk: _Layer
    gold_and_drill: _Layer
    free: npt.NDArray[np.bool_]


@functools.lru_cache(maxsize=1)
def _artwork() -> _Artwork:
    traces, solder, silk, gold, drill = (np.zeros((_SIDE, _SIDE), np.uint8) for _ in range(5))
    for width, points in TRACES:
        _line(traces, points, width)
    for x, y in VIAS:
        _dot(traces, x, y, 3.6)
        _dot(drill, x, y, 1.3)
    for part in PARTS:
        _pads(solder, part)
        _print_name(silk, part)
    for x, y in HEADER:
        _dot(gold, x, y, 6.2)
        _dot(solder, x, y, 4.6)
    for x, y in TEST_POINTS + FIDUCIALS:
        _dot(gold, x, y, 4.2)
    for text, x, y, height in SILK_TEXT:
        _write(silk, text, x, y, height)
    _line(silk, ((188, 303), (328, 303), (328, 325), (188, 325), (188, 303)), 0.9)
    occupied = np.zeros((_SIDE, _SIDE, 4), np.float32)
    for part in PARTS:
        _set_part(occupied, np.array([[1, 0, 0], [0, 1, 0]], np.float32), part, 1.0)
    conductors = np.maximum(np.maximum(traces, solder), gold)
    moat = cv2.dilate(conductors, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    copper = np.maximum(255 - moat, conductors)
    silk = np.minimum(silk, 255 - cv2.dilate(np.maximum(solder, gold), np.ones((5, 5), np.uint8)))
    layers = [cv2.GaussianBlur(layer, (0, 0), 0.7) for layer in (copper, solder, silk, gold, drill)]
    free = (occupied[..., 3] < 0.05) & (solder == 0) & (gold == 0)
    return _Artwork(layers[0], layers[1], layers[2], cv2.merge([layers[3], layers[4]]), free)


def _fixed(points: Array | tuple[tuple[float, float], ...]) -> npt.NDArray[np.int32]:
    return np.asarray(np.rint(np.asarray(points, np.float64) * _FINE * 2**_BITS), np.int32)


def _line(layer: _Layer, points: tuple[tuple[float, float], ...], width: float, value: int = 255) -> None:
    thick = max(1, round(width * _FINE))
    cv2.polylines(layer, [_fixed(points)], False, value, thick, cv2.LINE_AA, _BITS)


def _dot(layer: _Layer, x: float, y: float, radius: float, value: int = 255) -> None:
    centre = tuple(int(v) for v in _fixed(((x, y),))[0])
    cv2.circle(layer, centre, round(radius * _FINE * 2**_BITS), value, -1, cv2.LINE_AA, _BITS)


def _pads(layer: _Layer, part: Placement) -> None:
    c, s = np.cos(np.radians(part.angle)), np.sin(np.radians(part.angle))
    for x, y, w, h in PADS[part.sprite]:
        corners = np.array(
            [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]
        )
        turned = corners @ np.array([[c, s], [-s, c]]) + (part.x, part.y)
        cv2.fillConvexPoly(layer, _fixed(turned), 255, cv2.LINE_AA, _BITS)


def _print_name(layer: _Layer, part: Placement) -> None:
    """Outline and name beside the part."""
    reach = [(abs(x) + w / 2, abs(y) + h / 2) for x, y, w, h in PADS[part.sprite]]
    half_w, half_h = max(r[0] for r in reach) + 2.5, max(max(r[1] for r in reach), 4) + 2.5
    half_w, half_h = OUTLINES.get(part.sprite, (half_w, half_h))
    if part.angle:
        half_w, half_h = half_h, half_w
    x, y = part.x, part.y
    if part.sprite != "qfp":
        box = (
            (x - half_w, y - half_h),
            (x + half_w, y - half_h),
            (x + half_w, y + half_h),
            (x - half_w, y + half_h),
        )
        _line(layer, (*box, box[0]), 0.8)
    _write(layer, part.reference, x - half_w, y - half_h - 2.5, 6.0)


def _write(layer: _Layer, text: str, x: float, y: float, height: float) -> None:
    origin = (int(x * _FINE), int(y * _FINE))
    cv2.putText(layer, text, origin, cv2.FONT_HERSHEY_SIMPLEX, height * _FINE / 21, 255, 1, cv2.LINE_AA)


def _spot_on_trace(rng: Rng) -> tuple[float, float, float]:
    """A bare point on a thin trace, and the trace's direction there."""
    thin = [points for width, points in TRACES if width < 4]
    while True:
        points = thin[int(rng.integers(len(thin)))]
        index = int(rng.integers(len(points) - 1))
        (ax, ay), (bx, by) = points[index], points[index + 1]
        t = rng.uniform(0.2, 0.8)
        x, y = ax + (bx - ax) * t, ay + (by - ay) * t
        if _is_free(x, y, 5) and np.hypot(bx - ax, by - ay) > 10:
            return float(x), float(y), float(np.arctan2(by - ay, bx - ax))


def _spot_free(rng: Rng, radius: int) -> tuple[float, float]:
    while True:
        x, y = rng.uniform(34, UNITS - 34, 2)
        if _is_free(x, y, radius):
            return float(x), float(y)


def _is_free(x: float, y: float, radius: int) -> bool:
    column, row, reach = round(x * _FINE), round(y * _FINE), radius * _FINE
    inside = 30 <= x <= UNITS - 30 and 30 <= y <= UNITS - 30
    return inside and bool(_artwork().free[row - reach : row + reach, column - reach : column + reach].all())


def _open_trace(part: Assembly, strength: float, rng: Rng) -> Assembly:
    """Etched through: the trace is gone over a length, its ends ragged."""
    x, y, angle = _spot_on_trace(rng)
    half = 1.4 + 4.6 * strength
    step = np.array([np.cos(angle), np.sin(angle)])
    gap = np.zeros_like(part.copper)
    ends = ((x - step[0] * half, y - step[1] * half), (x + step[0] * half, y + step[1] * half))
    _line(gap, ends, 3.8)
    for end in ends:
        _dot(gap, end[0] + rng.normal(0, 0.5), end[1] + rng.normal(0, 0.5), rng.uniform(1.0, 2.0))
    return replace(part, copper=np.minimum(part.copper, 255 - cv2.GaussianBlur(gap, (0, 0), 0.7)))


def _short(part: Assembly, strength: float, rng: Rng) -> Assembly:
    """Copper left between a trace and its neighbour, under the mask."""
    x, y, angle = _spot_on_trace(rng)
    side = rng.choice([-1, 1]) * np.pi / 2
    bridge = np.zeros_like(part.copper)
    for offset in np.arange(0, 5.6, 0.7):
        at_x, at_y = (
            float(v) for v in (x + np.cos(angle + side) * offset, y + np.sin(angle + side) * offset)
        )
        _dot(
            bridge,
            at_x + rng.normal(0, 0.3),
            at_y + rng.normal(0, 0.3),
            (0.6 + 2.2 * strength) * rng.uniform(0.7, 1.2),
        )
    return replace(part, copper=np.maximum(part.copper, cv2.GaussianBlur(bridge, (0, 0), 0.7)))


def _missing_part(part: Assembly, strength: float, rng: Rng) -> Assembly:
    """A part that was not placed, or fell off: its pads with their solder lie open."""
    clear = ("can", "soic", "inductor", "crystal", "tantalum", "sot")
    faint = ("capacitor", "resistor", "led", "sot")
    lost = _pick(part, clear if strength > 0.6 else faint, rng)
    keep = [index for index in range(len(part.parts)) if index != lost]
    parts, gains = tuple(part.parts[i] for i in keep), tuple(part.part_gain[i] for i in keep)
    return replace(part, parts=parts, part_gain=gains)


def _rotated_part(part: Assembly, strength: float, rng: Rng) -> Assembly:
    """A part that turned and slid before its solder set."""
    index = _pick(part, ("capacitor", "resistor", "led", "sot", "soic", "tantalum", "crystal"), rng)
    old = part.parts[index]
    turn = rng.choice([-1, 1]) * (5 + 40 * strength + rng.uniform(0, 6))
    slide = rng.normal(0, 0.5 + 1.2 * strength, 2)
    new = replace(old, angle=old.angle + float(turn), x=old.x + float(slide[0]), y=old.y + float(slide[1]))
    return replace(part, parts=(*part.parts[:index], new, *part.parts[index + 1 :]))


def _pick(part: Assembly, sprites: tuple[str, ...], rng: Rng) -> int:
    return int(rng.choice([index for index, placed in enumerate(part.parts) if placed.sprite in sprites]))


def _solder_splash(part: Assembly, strength: float, rng: Rng) -> Assembly:
    """Balls and smears of solder where none belongs."""
    x, y = _spot_free(rng, 4)
    solder = part.solder.copy()
    for index in range(1 + int(6 * strength)):
        away, angle = (rng.exponential(4 + 5 * strength) if index else 0.0), rng.uniform(0, 2 * np.pi)
        radius = (0.8 + 3.2 * strength) * (1.0 if index == 0 else rng.uniform(0.2, 0.55))
        drop = np.zeros_like(solder)
        _dot(drop, x + float(np.cos(angle) * away), y + float(np.sin(angle) * away), radius)
        solder = np.maximum(solder, drop)
    return replace(part, solder=np.maximum(part.solder, cv2.GaussianBlur(solder, (0, 0), 0.7)))


def _scratch(part: Assembly, strength: float, rng: Rng) -> Assembly:
    """Solder mask scraped pale; when deep, down to bright copper."""
    middle = UNITS / 2
    x, y = _spot_free(rng, 3)
    points = wander(rng, (x - middle, y - middle), rng.uniform(0, 2 * np.pi), 25 + 80 * strength, bend=0.08)
    pressure = np.interp(np.linspace(0, 1, len(points)), (0, 0.3, 0.8, 1), (0.3, 1, 0.9, 0.2))
    drawn = stroke(points * np.float32(SIZE / UNITS), (pressure * (0.5 + 1.0 * strength)).astype(np.float32))
    on_picture = cv2.warpAffine(drawn, part.pose.matrix(SIZE), (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    chatter = 1 + 0.25 * smooth_noise(rng, 3)
    opacity = np.clip(on_picture * np.float32(0.22 + 0.6 * strength) * chatter, 0, 1)
    deep = (0.80, 0.56, 0.36) if strength > 0.75 and rng.random() < 0.6 else (0.50, 0.66, 0.52)
    return replace(part, scratched=np.maximum(part.scratched, opacity), scratch_colour=deep)


_DEFECTS: dict[str, Callable[[Assembly, float, Rng], Assembly]] = {
    "missing_part": _missing_part,
    "open_trace": _open_trace,
    "rotated_part": _rotated_part,
    "scratch": _scratch,
    "short": _short,
    "solder_splash": _solder_splash,
}
