"""Where an anomaly may lie: boolean masks of many sizes and shapes, drawn from a random generator.

Perlin masks follow RealNet (arXiv 2403.05897) and DRAEM: gradient noise with cells of 2^0 to 2^5 per side,
turned by up to 90 degrees, above a threshold. The other families draw what noise cannot: thin strokes and
branching cracks, single small blobs, bands and half planes, and pieces broken from the part's edge.

Lengths are relative to the image, so that the same product gives alike anomalies at every input size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from edgead.errors import UnknownNameError

__all__ = [
    "FAMILIES",
    "anchor_in",
    "draw_mask",
    "feather",
    "perlin_mask",
    "perlin_noise",
    "random_walk",
    "stroke_coverage",
]

Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]
Generator = np.random.Generator

_SUBPIXEL_BITS = 4  # cv2 draws polygons in sixteenths of a pixel
_ATTEMPTS = 4


def perlin_noise(
    shape_hw: tuple[int, int], rng: Generator, *, exponents_yx: tuple[int, int] | None = None
) -> Weights:
    """Gradient noise, float32 H W, about -1..1: 2^e cells along each side, e drawn from 0..5 unless given.

    Every pixel blends the ramps of the four corners of its cell with the fade 6t^5 - 15t^4 + 10t^3. Weights
    separate by axis, so the whole field is two products of small matrices, for any height and width.
    """
    if exponents_yx is None:
        exponents_yx = (int(rng.integers(0, 6)), int(rng.integers(0, 6)))
    cells_y, cells_x = (2**exponent for exponent in exponents_yx)
    angles = rng.random((cells_y + 1, cells_x + 1), dtype=np.float32) * np.float32(2 * np.pi)
    fade_y, ramp_y = _corner_weights(shape_hw[0], cells_y)
    fade_x, ramp_x = _corner_weights(shape_hw[1], cells_x)
    noise = fade_y @ np.cos(angles) @ ramp_x.T + ramp_y @ np.sin(angles) @ fade_x.T
    return np.asarray(np.float32(np.sqrt(2)) * noise, np.float32)


def _corner_weights(length: int, cells: int) -> tuple[Weights, Weights]:
    """Per pixel (rows) and corner (columns): the fade weight, and that weight times the distance."""
    position = np.arange(length, dtype=np.float32) * np.float32(cells / length)
    cell = np.minimum(position.astype(np.int64), cells - 1)
    t = position - cell.astype(np.float32)
    fade = t * t * t * (t * (t * 6 - 15) + 10)
    weights, ramps = np.zeros((2, length, cells + 1), np.float32)
    rows = np.arange(length)
    weights[rows, cell], weights[rows, cell + 1] = 1 - fade, fade
    ramps[rows, cell], ramps[rows, cell + 1] = (1 - fade) * t, fade * (t - 1)
    return weights, ramps


def perlin_mask(
    shape_hw: tuple[int, int], rng: Generator, *, threshold: float = 0.5, max_degrees: float = 90.0
) -> Mask:
    """Perlin noise turned by up to `max_degrees` either way, where it is above `threshold`; may be empty."""
    noise = perlin_noise(shape_hw, rng)
    height, width = shape_hw
    degrees = float(rng.uniform(-max_degrees, max_degrees))
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    # reflected, so that the corners of the image receive anomalies as well
    turned = cv2.warpAffine(noise, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned > threshold)


def random_walk(
    start_yx: tuple[float, float], rng: Generator, *, length: float, bend: float, heading: float | None = None
) -> npt.NDArray[np.float32]:
    """Points (N, 2) as y, x of a walk of `length` pixels whose heading drifts by `bend` radians in all."""
    steps = int(np.clip(length / 3, 2, 64))
    first = float(rng.uniform(0, 2 * np.pi)) if heading is None else heading
    drift = np.cumsum(rng.normal(0, bend / np.sqrt(steps), steps))
    headings = first + drift
    stride = length / steps
    moves = stride * np.stack([np.sin(headings), np.cos(headings)], axis=1)
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    points += np.asarray(start_yx) - points[steps // 2]  # the anchor is the middle of the walk
    return points.astype(np.float32)


def stroke_coverage(shape_hw: tuple[int, int], points_yx: npt.NDArray[np.float32], *, width: int) -> Weights:
    """How much of each pixel a line of `width` pixels covers, float32 H W in 0..1 (anti-aliased)."""
    canvas = np.zeros(shape_hw, np.uint8)
    cv2.polylines(canvas, [_fixed_point(points_yx)], False, 255, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    return np.asarray(canvas.astype(np.float32) / np.float32(255))


def anchor_in(foreground: Mask, rng: Generator) -> tuple[int, int]:
    """A pixel (y, x) of the foreground; any pixel when the foreground is empty."""
    height, width = foreground.shape
    for _ in range(16):  # nearly always enough, and cheaper than listing the foreground
        y, x = int(rng.integers(height)), int(rng.integers(width))
        if foreground[y, x]:
            return y, x
    inside = np.flatnonzero(foreground)
    chosen = int(inside[rng.integers(inside.size)]) if inside.size else int(rng.integers(foreground.size))
    return chosen // width, chosen % width


def _perlin(foreground: Mask, rng: Generator) -> Mask:
    return perlin_mask((foreground.shape[0], foreground.shape[1]), rng)


def _blob(foreground: Mask, rng: Generator) -> Mask:
    """One smooth closed shape, from a pixel to about half the image across."""
    side = min(foreground.shape)
    radius = _log_uniform(rng, 0.006 * side, 0.3 * side)
    return _closed_shape(foreground, anchor_in(foreground, rng), rng, radius=radius, roughness=0.25)


def _stroke(foreground: Mask, rng: Generator) -> Mask:
    side = min(foreground.shape)
    length = _log_uniform(rng, 0.05 * side, 0.9 * side)
    walk = random_walk(
        anchor_in(foreground, rng), rng, length=length, bend=float(rng.choice([0.2, 1.0, 2.5]))
    )
    return _line(foreground, [walk], _stroke_width(side, rng))


def _crack(foreground: Mask, rng: Generator) -> Mask:
    """A jagged walk with up to three branches, of one to three pixels at 256."""
    side = min(foreground.shape)
    length = _log_uniform(rng, 0.1 * side, 0.9 * side)
    trunk = random_walk(anchor_in(foreground, rng), rng, length=length, bend=2.5)
    trunk[1:-1] += rng.normal(0, 0.006 * side, trunk[1:-1].shape).astype(np.float32)
    walks = [trunk]
    for _ in range(int(rng.integers(0, 4))):
        y, x = trunk[rng.integers(len(trunk))]
        walks.append(
            random_walk((float(y), float(x)), rng, length=length * float(rng.uniform(0.1, 0.5)), bend=2.0)
        )
    return _line(foreground, walks, max(1, round(side / 256 * float(rng.uniform(0.6, 3.0)))))


def _half_plane(foreground: Mask, rng: Generator) -> Mask:
    """All on one side of a wavy line, at most about half of the image."""
    mask = _wavy_region(foreground, rng, thickness=4.0 * max(foreground.shape))
    return ~mask if mask.mean() > 0.5 else mask


def _band(foreground: Mask, rng: Generator) -> Mask:
    side = min(foreground.shape)
    return _wavy_region(foreground, rng, thickness=_log_uniform(rng, 0.01 * side, 0.3 * side))


def _edge_break(foreground: Mask, rng: Generator) -> Mask:
    """A jagged piece at the edge of the part, or of the picture when the part fills it."""
    side = min(foreground.shape)
    radius = _log_uniform(rng, 0.012 * side, 0.2 * side)
    return _closed_shape(
        foreground,
        _edge_anchor(foreground, rng),
        rng,
        radius=radius,
        roughness=0.45,
        corners=int(rng.integers(5, 12)),
    )


FAMILIES: dict[str, Callable[[Mask, Generator], Mask]] = {
    "perlin": _perlin,
    "blob": _blob,
    "stroke": _stroke,
    "crack": _crack,
    "half-plane": _half_plane,
    "band": _band,
    "edge-break": _edge_break,
}


def draw_mask(foreground: Mask, rng: Generator, *, families: Mapping[str, float]) -> Mask:
    """A mask of one of the weighted `families` within the foreground, never empty where that is not.

    Raises `UnknownNameError` for a family that does not exist.
    """
    names = list(families)
    for name in names:
        if name not in FAMILIES:
            raise UnknownNameError("mask family", name, FAMILIES)
    weights = np.asarray([families[name] for name in names], np.float64)
    family = FAMILIES[names[int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), "right"))]]
    for _ in range(_ATTEMPTS):
        mask = family(foreground, rng) & foreground
        if mask.any():
            return mask
    mask = _blob(foreground, rng) & foreground
    mask[anchor_in(foreground, rng)] = True
    return mask


def feather(mask: Mask, width: float) -> Weights:
    """Weights float32 H W in 0..1 that fall smoothly over `width` pixels inside the mask, 0 outside it."""
    if width < 0.5:
        return mask.astype(np.float32)
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    t = np.minimum(distance * np.float32(1 / (width + 1)), np.float32(1))
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _log_uniform(rng: Generator, low: float, high: float) -> float:
    low = max(low, 0.5)
    return float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))


def _stroke_width(side: int, rng: Generator) -> int:
    return max(1, round(_log_uniform(rng, 0.8 * side / 256, 6 * side / 256)))


def _line(foreground: Mask, walks: list[npt.NDArray[np.float32]], width: int) -> Mask:
    canvas = np.zeros(foreground.shape, np.uint8)
    lines = [_fixed_point(walk) for walk in walks]
    cv2.polylines(canvas, lines, False, 1, width, cv2.LINE_8, _SUBPIXEL_BITS)
    return canvas.view(np.bool_)


def _closed_shape(
    foreground: Mask,
    centre_yx: tuple[int, int],
    rng: Generator,
    *,
    radius: float,
    roughness: float,
    corners: int = 40,
) -> Mask:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    harmonics = np.arange(2, 6)
    phases = rng.uniform(0, 2 * np.pi, harmonics.size)
    sizes = rng.normal(0, roughness, harmonics.size) / (harmonics - 1)
    radii = radius * np.clip(
        1 + (sizes[:, None] * np.cos(np.outer(harmonics, angles) + phases[:, None])).sum(0), 0.25, 2.0
    )
    stretch, turn = float(np.exp(rng.uniform(-0.6, 0.6))), float(rng.uniform(0, np.pi))
    along, across = radii * stretch * np.cos(angles), radii / stretch * np.sin(angles)
    points = np.stack(
        [along * np.sin(turn) + across * np.cos(turn), along * np.cos(turn) - across * np.sin(turn)], axis=1
    ) + np.asarray(centre_yx)
    mask = _filled(foreground, points.astype(np.float32))
    mask[centre_yx] = True
    return mask


def _wavy_region(foreground: Mask, rng: Generator, *, thickness: float) -> Mask:
    """The strip of `thickness` on one side of a wavy line through a pixel of the foreground."""
    reach, turn = 1.5 * sum(foreground.shape), float(rng.uniform(0, np.pi))
    t = np.linspace(-reach, reach, 96)
    period = float(rng.uniform(0.3, 2.0)) * min(foreground.shape)
    wave = 0.04 * period * float(rng.random()) * np.sin(2 * np.pi * t / period + rng.uniform(0, 2 * np.pi))
    across = np.concatenate([wave, wave[::-1] + thickness])
    along = np.concatenate([t, t[::-1]])
    points = np.stack(
        [along * np.sin(turn) + across * np.cos(turn), along * np.cos(turn) - across * np.sin(turn)], axis=1
    )
    return _filled(foreground, (points + np.asarray(anchor_in(foreground, rng))).astype(np.float32))


def _edge_anchor(foreground: Mask, rng: Generator) -> tuple[int, int]:
    height, width = foreground.shape
    inner = cv2.erode(foreground.view(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    edge = np.flatnonzero(foreground & (inner == 0))
    if edge.size:
        chosen = int(edge[rng.integers(edge.size)])
        return chosen // width, chosen % width
    along = int(rng.integers(2 * (height + width)))
    if along < 2 * width:
        return (0 if along < width else height - 1), along % width
    along -= 2 * width
    return along % height, (0 if along < height else width - 1)


def _filled(foreground: Mask, points_yx: npt.NDArray[np.float32]) -> Mask:
    canvas = np.zeros(foreground.shape, np.uint8)
    cv2.fillPoly(canvas, [_fixed_point(points_yx)], 1, cv2.LINE_8, _SUBPIXEL_BITS)
    return canvas.view(np.bool_)


def _fixed_point(points_yx: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """As cv2 wants polygons: x before y, in sixteenths of a pixel."""
    return np.asarray(np.round(points_yx[:, ::-1] * 2**_SUBPIXEL_BITS), np.int32)
