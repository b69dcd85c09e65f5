"""A 2/2 twill of two yarns, seen from above.

Every pixel knows which warp and which weft thread it lies on and how far across each; the weave decides
which one is on top. Drawn at twice the picture's size and averaged down, or the threads would alias.
"""

from __future__ import annotations

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

_FINE = 2 * SIZE
_BAND = 64  # rows; divides _FINE
_PITCH = 6.4  # pixels of the picture per thread
_THREADS = 96  # numbered from -48 to 47 across the picture, with room for pose
_WARP = np.array([0.330, 0.415, 0.495], np.float32)
_WEFT = np.array([0.690, 0.685, 0.645], np.float32)
_TABLE = (0.055, 0.055, 0.06)


@dataclass(frozen=True)
class Cloth:
    """One piece of cloth. Fields are SIZE x SIZE; positions count threads from the middle."""

    across_warp: Array  # which warp thread, as a real number
    across_weft: Array
    yarn: Array  # brightness by thread and place along it, 2 * _THREADS x 64: all warp threads, then all weft
    slimness: Array  # by thread, about 1, more for a thinner one
    folds: Array  # relative brightness
    fuzz: Array  # _FINE x _FINE, fibres
    wrong_shed: Array  # where above 0.5, weft and warp have changed places
    thinned: Array  # how much of the warp thread is gone, 0..1
    tint: Array  # SIZE x SIZE x 3
    open: Array  # 1 where the cloth is missing
    overlays: tuple[tuple[Array, Array, tuple[float, float, float]], ...] = ()  # opacity, shadow, colour


class Fabric:
    """Draws the cloth."""

    name = "fabric"
    kinds = ("broken_thread", "crease", "foreign_thread", "hole", "mispick", "oil")

    def draw(self, rng: Rng) -> Cloth:
        pose = Pose.draw(rng, shift=12.0, degrees=1.5)
        x, y = pose.to_part(X, Y)
        drape = [0.35 * smooth_noise(rng, 110) + 0.07 * smooth_noise(rng, 16) for _ in range(2)]
        zero = np.zeros((SIZE, SIZE), np.float32)
        return Cloth(
            across_warp=x / np.float32(_PITCH) + drape[0],
            across_weft=y / np.float32(_PITCH) + drape[1],
            yarn=_yarn(rng),
            slimness=np.clip(rng.normal(1.0, 0.07, 2 * _THREADS), 0.85, 1.2).astype(np.float32),
            folds=0.022 * smooth_noise(rng, 90) + 0.015 * cloud(rng, 24, octaves=3),
            fuzz=_fuzz(rng),
            wrong_shed=zero,
            thinned=zero,
            tint=np.ones((SIZE, SIZE, 3), np.float32),
            open=zero,
        )

    def spoil(self, part: Cloth, kind: str, strength: float, rng: Rng) -> Cloth:
        return _DEFECTS[kind](part, strength, rng)

    def render(self, part: Cloth) -> Array:
        woven = _weave(part)
        woven = woven * (1 + part.folds)[..., None] * part.tint
        if part.open.any():
            rim = cv2.GaussianBlur(part.open, (0, 0), 3.0)
            table = np.asarray(_TABLE, np.float32) * (0.35 + 0.65 * rim)[..., None]
            woven = mix(woven * (1 - 0.25 * rim)[..., None], table, part.open)
        for opacity, shadow, colour in part.overlays:
            woven = mix(woven * (1 - np.float32(0.55) * shadow)[..., None], colour, opacity)
        return woven


def _yarn(rng: Rng) -> Array:
    """Each thread's own shade, and slubs along it."""
    own = rng.normal(0, 0.045, (2 * _THREADS, 1)).astype(np.float32)
    slubs = cv2.GaussianBlur(
        rng.standard_normal((2 * _THREADS, 64), dtype=np.float32), (0, 1), sigmaX=2.0, sigmaY=0.1
    )
    return 1 + own + 0.07 * slubs


def _fuzz(rng: Rng) -> Array:
    grain = rng.standard_normal((_FINE, _FINE), dtype=np.float32)
    return np.asarray(cv2.blur(grain, (3, 3)) * np.float32(0.13))


def _finer(field: Array) -> Array:
    return cv2.resize(field, (_FINE, _FINE), interpolation=cv2.INTER_LINEAR)


def _weave(part: Cloth) -> Array:
    """The threads, SIZE x SIZE x 3, drawn in bands of rows: a band's fields stay in the processor's cache."""
    across_warp, across_weft = _finer(part.across_warp), _finer(part.across_weft)
    wrong_shed = _finer(part.wrong_shed) if part.wrong_shed.any() else None
    thinned = _finer(part.thinned) if part.thinned.any() else None
    woven = np.empty((SIZE, SIZE, 3), np.float32)
    for top in range(0, _FINE, _BAND):
        rows = slice(top, top + _BAND)
        woven[top // 2 : (top + _BAND) // 2] = _woven_rows(
            part,
            across_warp[rows],
            across_weft[rows],
            part.fuzz[rows],
            None if wrong_shed is None else wrong_shed[rows],
            None if thinned is None else thinned[rows],
        )
    return woven


def _woven_rows(
    part: Cloth, u: Array, v: Array, fuzz: Array, wrong_shed: Array | None, thinned: Array | None
) -> Array:
    """Some rows of the weave at twice the picture's size in, the same rows of the picture out."""
    i, j = np.floor(u), np.floor(v)
    step = (i.astype(np.int32) + j.astype(np.int32)) & 3
    if wrong_shed is not None:
        step = (step + 2 * (wrong_shed > 0.5)) & 3
    warp_on_top = step < 2
    if thinned is not None:
        warp_on_top &= thinned < 0.5
    # Blending by a 0/1 field picks the upper thread three times faster than np.where does.
    top = warp_on_top.astype(np.float32)
    fu, fv = u - i, v - j
    across = fv + (fu - fv) * top
    along = (fu + fv - across + (step & 1).astype(np.float32)) * np.float32(0.5)
    number = j + _THREADS + (i - j - _THREADS) * top
    place = i + (j - i) * top  # along a thread, places count the threads it crosses
    level = _thread(across, along, number, place, part) * (1 + fuzz)
    if thinned is not None:  # without its warp, a cell shows weft that sags, in its neighbours' shade
        level *= 1 - np.float32(0.55) * thinned
    # Averaging down before colouring gives the same and takes a third.
    half = (SIZE, u.shape[0] // 2)
    warp = cv2.resize(level * top, half, interpolation=cv2.INTER_AREA)
    both = cv2.resize(level, half, interpolation=cv2.INTER_AREA)
    return np.asarray(both[..., None] * _WEFT + warp[..., None] * (_WARP - _WEFT))


def _thread(across: Array, along: Array, number: Array, place: Array, part: Cloth) -> Array:
    """Brightness of a round thread over its float: dark flanks, dark where it dives, twisted fibres."""
    index = np.clip(number.astype(np.int32) + _THREADS // 2, 0, 2 * _THREADS - 1)
    offset = (2 * across - 1) * part.slimness[index]
    dive = 2 * along - 1
    dive *= dive
    dive *= dive
    twist = np.sin(across * np.float32(5.0) + place * np.float32(2.1) + along * np.float32(6.0))
    level = np.float32(0.44) + np.float32(0.64) * np.maximum(1 - offset * offset, 0) - np.float32(0.34) * dive
    level += np.float32(0.06) * twist - np.float32(0.10) * offset
    yarn = part.yarn.ravel()[index * 64 + (place.astype(np.int32) & 63)]
    return np.asarray(np.maximum(level, np.float32(0.12)) * yarn)


def _middle(rng: Rng, margin: float = 45.0) -> tuple[float, float]:
    reach = SIZE / 2 - margin
    return float(rng.uniform(-reach, reach)), float(rng.uniform(-reach, reach))


def _hole(part: Cloth, strength: float, rng: Rng) -> Cloth:
    """A tear: threads pushed aside, cut ends hanging into it."""
    cx, cy = _middle(rng)
    x, y = X - np.float32(cx), Y - np.float32(cy)
    radius = 3.0 + 10.0 * strength
    away = blob(rng, x, y, radius, raggedness=0.3)
    push = np.float32(0.5 + 0.8 * strength) * ramp(7.0 + 8.0 * strength, 0.0, away)
    length = np.hypot(x, y) + 1
    torn = replace(
        part,
        across_warp=part.across_warp - push * x / length,
        across_weft=part.across_weft - push * y / length,
        open=np.clip(0.5 - away, 0, 1)
        * np.where(smooth_noise(rng, 2.2) > 1.1, np.float32(0.75), np.float32(1)),
    )
    for _ in range(int(4 + 8 * strength)):
        angle = rng.uniform(0, 2 * np.pi)
        start = (cx + np.cos(angle) * radius * 1.15, cy + np.sin(angle) * radius * 1.15)
        inward = angle + np.pi + rng.normal(0, 0.9)
        torn = _laid_on(
            torn,
            wander(rng, start, inward, rng.uniform(0.5, 1.3) * radius, bend=0.35, step=1.5),
            0.9,
            _yarn_colour(rng),
        )
    return torn


def _yarn_colour(rng: Rng) -> tuple[float, float, float]:
    colour = (_WARP if rng.random() < 0.5 else _WEFT) * rng.uniform(0.85, 1.15)
    return float(colour[0]), float(colour[1]), float(colour[2])


def _laid_on(part: Cloth, points: Array, width: float, colour: tuple[float, float, float]) -> Cloth:
    """A loose thread on top, round in section, with its shadow on the cloth."""
    opacity = stroke(points, width)
    lifted = cv2.warpAffine(opacity, np.array([[1, 0, 1.2], [0, 1, 1.5]], np.float32), (SIZE, SIZE))
    shadow = cv2.GaussianBlur(lifted, (0, 0), 1.1)
    core = stroke(points - np.array([0.25 * width, 0.25 * width], np.float32), width * 0.4)
    light = (
        min(1.0, colour[0] * 1.35 + 0.04),
        min(1.0, colour[1] * 1.35 + 0.04),
        min(1.0, colour[2] * 1.35 + 0.04),
    )
    layers = ((opacity, shadow, colour), (core * np.float32(0.6), np.zeros_like(core), light))
    return replace(part, overlays=part.overlays + layers)


def _broken_thread(part: Cloth, strength: float, rng: Rng) -> Cloth:
    """A warp thread missing over a length, its end curled up on the cloth; when faint, only thinned."""
    cx, cy = _middle(rng)
    row, column = int(cy + SIZE / 2), int(cx + SIZE / 2)
    number = np.floor(part.across_warp[row, column])
    half = np.float32(14 + 55 * strength)
    along = ramp(float(half), float(half) - 3, np.abs(Y - np.float32(cy)))
    on_thread = np.floor(part.across_warp) == number
    thinned = on_thread * along * np.float32(0.28 + 0.72 * strength)
    broken = replace(part, thinned=np.maximum(part.thinned, thinned))
    if strength < 0.4:
        return broken
    end = wander(
        rng,
        (cx, cy + float(half) - 4),
        -np.pi / 2 + rng.normal(0, 0.5),
        14 + 30 * strength,
        bend=0.45,
        step=2,
    )
    colour = _WARP * np.float32(1.05)
    return _laid_on(broken, end, 2.6, (float(colour[0]), float(colour[1]), float(colour[2])))


def _foreign_thread(part: Cloth, strength: float, rng: Rng) -> Cloth:
    """A thread that does not belong; the fainter, the closer to the cloth's own colour and the finer."""
    strange = np.array([(0.62, 0.10, 0.08), (0.05, 0.05, 0.06), (0.80, 0.74, 0.30), (0.90, 0.90, 0.88)])[
        rng.integers(4)
    ]
    alike = (_WARP + _WEFT) / 2 * 1.1
    colour = alike + (strange - alike) * (0.35 + 0.65 * strength)
    points = wander(rng, _middle(rng, 60), rng.uniform(0, 2 * np.pi), 35 + 110 * strength, bend=0.22)
    width = 1.1 + 1.3 * strength
    return _laid_on(part, points, width, (float(colour[0]), float(colour[1]), float(colour[2])))


def _mispick(part: Cloth, strength: float, rng: Rng) -> Cloth:
    """Weft in the wrong shed: one pick, or two, crosses on the wrong side over a length."""
    cx, cy = _middle(rng)
    row, column = int(cy + SIZE / 2), int(cx + SIZE / 2)
    offset = np.floor(part.across_weft) - np.floor(part.across_weft[row, column])
    picks = 2 if strength > 0.6 else 1
    along = np.abs(X - np.float32(cx)) < 12 + 130 * strength
    wrong = (offset >= 0) & (offset < picks) & along
    return replace(part, wrong_shed=np.maximum(part.wrong_shed, wrong.astype(np.float32)))


def _crease(part: Cloth, strength: float, rng: Rng) -> Cloth:
    """A fold that was pressed in: one flank towards the light, one away, threads drawn together."""
    cx, cy = _middle(rng, 70)
    angle = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = X - np.float32(cx), Y - np.float32(cy)
    along, across = c * x + s * y, c * y - s * x + 2.5 * smooth_noise(rng, 80)
    width = np.float32(rng.uniform(3.5, 6.5))
    half = float(35 + 80 * strength)
    depth = ramp(half, half * 0.55, np.abs(along)) * np.float32(0.10 + 0.32 * strength)
    t = across / width
    flank = t * np.exp(-0.5 * t * t) * np.float32(1.6)
    ridge = np.exp(-2.5 * t * t) * np.float32(0.5)
    pull = depth * np.tanh(t) * ramp(2.6, 0.5, np.abs(t)) * np.float32(0.4 + 0.9 * strength)
    return replace(
        part,
        folds=part.folds + depth * (flank + ridge),
        across_warp=part.across_warp - pull * s,
        across_weft=part.across_weft + pull * c,
    )


def _oil(part: Cloth, strength: float, rng: Rng) -> Cloth:
    """Oil drawn in by the yarn: darker, yellower, wicking along the threads, densest at its border."""
    cx, cy = _middle(rng)
    away = blob(rng, X - np.float32(cx), Y - np.float32(cy), rng.uniform(12, 26), raggedness=0.28)
    wick = 1.6 * np.sin(np.float32(2 * np.pi) * part.across_warp) + 1.6 * np.sin(
        np.float32(2 * np.pi) * part.across_weft
    )
    away = away + wick
    soaked = ramp(3.5, -4.0, away)
    density = soaked * (0.8 + 0.10 * cloud(rng, 14, octaves=3)) + 0.25 * np.exp(-(((away + 2) / 3) ** 2))
    density = np.clip(density, 0, 1.2) * np.float32(0.12 + 0.42 * strength)
    return replace(part, tint=part.tint * (1 - density[..., None] * np.array([0.82, 0.90, 1.12], np.float32)))


_DEFECTS: dict[str, Callable[[Cloth, float, Rng], Cloth]] = {
    "broken_thread": _broken_thread,
    "crease": _crease,
    "foreign_thread": _foreign_thread,
    "hole": _hole,
    "mispick": _mispick,
    "oil": _oil,
}
