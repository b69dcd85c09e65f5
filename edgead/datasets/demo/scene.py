"""What the three drawn products share: pose, noise, light and camera, strokes and blobs, exact masks.

Pictures are float32 in 0..1, SIZE x SIZE (x 3 RGB), until the camera turns them into uint8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

SIZE = 320
_SURELY_SEEN = 9.0  # levels of 255: what a look at the pair of pictures side by side finds
_JUST_SEEN = 4.0  # the rim of such a place still counts down to here; below, camera noise hides it
_FEWEST_PIXELS = 12  # a defect with less to see is drawn again, stronger

Array = npt.NDArray[Any]  # float32; OpenCV's stubs promise no dtype for what its functions return
Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Rng = np.random.Generator

Y, X = (axis.astype(np.float32) - (SIZE - 1) / 2 for axis in np.mgrid[:SIZE, :SIZE])


class DrawnProduct(Protocol):
    """A product that can be drawn good, or with a defect of strength 0..1 (faint to clear)."""

    @property
    def name(self) -> str:
        """Also the name of its folder."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of defect it can have."""

    def draw(self, rng: Rng) -> Any:
        """Everything that varies from one good part to the next; rendering it draws no random number."""

    def spoil(self, part: Any, kind: str, strength: float, rng: Rng) -> Any:
        """The same part with a defect; the part given is left as it was."""

    def render(self, part: Any) -> Array:
        """The part under its light, before the camera: SIZE x SIZE x 3."""


@dataclass(frozen=True)
class Pose:
    """How a part lies under the camera: shift in pixels, angle in radians, scale."""

    dx: float
    dy: float
    angle: float
    scale: float

    @staticmethod
    def draw(rng: Rng, *, shift: float, degrees: float, zoom: float = 1.0) -> Pose:
        dx, dy = rng.uniform(-shift, shift, 2)
        angle = np.radians(np.clip(rng.normal(0, degrees / 2), -degrees, degrees))
        return Pose(float(dx), float(dy), float(angle), float(zoom * rng.uniform(0.988, 1.012)))

    def to_part(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Coordinates on the part, in pixels from its centre, of picture coordinates from its centre."""
        c, s = np.float32(np.cos(self.angle) / self.scale), np.float32(np.sin(self.angle) / self.scale)
        x, y = x - np.float32(self.dx), y - np.float32(self.dy)
        return c * x + s * y, c * y - s * x

    def matrix(self, side: int, out: int = SIZE) -> Array:
        """2 x 3 for warpAffine, from a drawing of the part of `side` pixels to a picture of `out` pixels."""
        zoom = self.scale * out / side
        c, s = np.cos(self.angle) * zoom, np.sin(self.angle) * zoom
        middle, target = (side - 1) / 2, (out - 1) / 2
        move_x = target + self.dx * out / SIZE - c * middle + s * middle
        move_y = target + self.dy * out / SIZE - s * middle - c * middle
        return np.array([[c, -s, move_x], [s, c, move_y]], np.float32)


@dataclass(frozen=True)
class Camera:
    """Light, lens and sensor of one exposure."""

    gain: float
    tilt: tuple[float, float]  # relative change of light from the middle to the right and to the lower border
    vignette: float
    warmth: float
    blur: float  # sigma in pixels
    noise: float
    noise_seed: int

    @staticmethod
    def draw(rng: Rng) -> Camera:
        tilt = rng.normal(0, 0.05, 2)
        return Camera(
            gain=float(rng.uniform(0.93, 1.07)),
            tilt=(float(tilt[0]), float(tilt[1])),
            vignette=float(rng.uniform(0.06, 0.14)),
            warmth=float(rng.normal(0, 0.012)),
            blur=float(rng.uniform(0.45, 0.75)),
            noise=float(rng.uniform(0.006, 0.010)),
            noise_seed=int(rng.integers(2**31)),
        )

    def expose(self, scene: Array) -> Array:
        """The picture on the sensor without noise, levels 0..255."""
        half = np.float32(SIZE / 2)
        light = 1 + (X * np.float32(self.tilt[0]) + Y * np.float32(self.tilt[1])) / half
        light -= np.float32(self.vignette / 2) * (X * X + Y * Y) / (half * half)
        light *= np.float32(self.gain)
        white = np.array([1 + self.warmth, 1, 1 - self.warmth], np.float32)
        seen = cv2.GaussianBlur(scene * (light[..., None] * white), (0, 0), self.blur)
        # A soft shoulder instead of hard clipping: sensors are tuned so that metal does not burn out.
        over = np.maximum(seen - np.float32(0.75), 0)
        seen = np.minimum(seen, np.float32(0.75)) + over / (1 + over * np.float32(3.2))
        return np.asarray(np.clip(seen, 0, 1) * np.float32(255))

    def develop(self, exposed: Array) -> Picture:
        """Adds shot and read noise, a little correlated as after demosaicing, and rounds to uint8."""
        rng = np.random.default_rng(self.noise_seed)
        grain = rng.standard_normal(exposed.shape, dtype=np.float32)
        grain = cv2.blur(grain, (2, 2)) * 1.4
        sigma = np.sqrt(exposed * np.float32(1 / 255) + np.float32(0.08)) * np.float32(self.noise * 255)
        return np.asarray(np.clip(np.rint(exposed + grain * sigma), 0, 255), np.uint8)


def photograph_good(product: DrawnProduct, rng: Rng) -> Picture:
    """One picture of a good part, uint8 SIZE x SIZE x 3 RGB."""
    part = product.draw(rng)
    camera = Camera.draw(rng)
    return camera.develop(camera.expose(product.render(part)))


def photograph_defect(product: DrawnProduct, kind: str, strength: float, rng: Rng) -> tuple[Picture, Mask]:
    """One picture of a bad part and its mask: the pixels that the defect, and nothing else, has changed.

    The part is exposed twice, without and with the defect, under the same light and noise.
    """
    part = product.draw(rng)
    camera = Camera.draw(rng)
    clean = camera.expose(product.render(part))
    defect_seed = int(rng.integers(2**63))
    while True:
        spoiled = product.spoil(part, kind, strength, np.random.default_rng(defect_seed))
        exposed = camera.expose(product.render(spoiled))
        mask = changed(clean, exposed)
        if np.count_nonzero(mask) >= _FEWEST_PIXELS:
            return camera.develop(exposed), mask
        # Stronger, and elsewhere: a scratch may have met only holes.
        strength, defect_seed = min(1.0, strength + 0.1), defect_seed + 1


def changed(clean: Array, exposed: Array) -> Mask:
    """Pixels seen to differ, H W: hysteresis on the largest difference of a channel, pinholes closed."""
    difference = np.abs(exposed - clean).max(axis=2)
    difference = cv2.GaussianBlur(difference, (3, 3), 0.6)  # the eye, too, joins neighbouring grains
    weak = (difference > _JUST_SEEN).astype(np.uint8)
    weak = cv2.morphologyEx(weak, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    count, labels = cv2.connectedComponents(weak, connectivity=8)
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, np.asarray(labels, np.int32).ravel(), difference.ravel())
    sizes = np.bincount(labels.ravel(), minlength=count)
    keep = (peaks > _SURELY_SEEN) & (sizes >= 4)
    if keep[1:].sum() == 0 and count > 1:  # a faint defect has no sure pixel; keep its largest place
        keep[1 + int(np.argmax(sizes[1:]))] = True
    keep[0] = False
    return np.asarray(keep[labels])


def smooth_noise(rng: Rng, cell: float, *, shape: tuple[int, int] = (SIZE, SIZE)) -> Array:
    """Noise of unit variance about, with features of `cell` pixels."""
    rows, columns = (max(2, int(np.ceil(side / cell)) + 2) for side in shape)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    big = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    y, x = (
        int(rng.integers(0, max(1, have - want + 1))) for have, want in zip(big.shape, shape, strict=True)
    )
    return np.ascontiguousarray(big[y : y + shape[0], x : x + shape[1]])


def cloud(rng: Rng, cell: float, *, octaves: int = 4, shape: tuple[int, int] = (SIZE, SIZE)) -> Array:
    """Fractal noise: each octave half the size and a bit over half the height of the last."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        if cell / 2**octave >= 1:
            total += smooth_noise(rng, cell / 2**octave, shape=shape) * np.float32(0.55**octave)
    return total


def ramp(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between; falling where `low` is above `high`."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def blob(rng: Rng, x: Array, y: Array, radius: float, *, raggedness: float = 0.35, octaves: int = 3) -> Array:
    """Signed distance, about, to an irregular round shape at the origin of `x`, `y`: negative inside."""
    angle = rng.uniform(0, np.pi)
    stretch = np.float32(rng.uniform(1.0, 1.7))
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = (c * x + s * y) / stretch, (c * y - s * x) * stretch
    wobble = cloud(rng, max(2.0, radius * 0.9), octaves=octaves, shape=(x.shape[0], x.shape[1]))
    return np.asarray(
        np.sqrt(along * along + across * across) - np.float32(radius) * (1 + raggedness * wobble)
    )


def wander(
    rng: Rng, start: tuple[float, float], angle: float, length: float, *, bend: float, step: float = 3.0
) -> Array:
    """Points N x 2 (x, y) of a line that starts somewhere and turns a little at every step."""
    count = max(3, int(length / step))
    turns = cv2.GaussianBlur(rng.normal(0, bend, (count, 1)).astype(np.float32), (1, 7), 2.0)
    angles = angle + np.cumsum(turns)
    moves = np.stack([np.cos(angles), np.sin(angles)], axis=1) * step
    return (np.array(start) + np.cumsum(moves, axis=0)).astype(np.float32)


def stroke(points: Array, width: float | Array, *, zoom: float = 1.0, side: int = SIZE) -> Array:
    """Coverage 0..1 of a line through points counted from the middle, antialiased, tapered if `width` varies.

    Lines thinner than a pixel are drawn one pixel wide and made fainter by that ratio.
    """
    fine = 4
    canvas = np.zeros((side * 2, side * 2), np.uint8)
    widths = np.broadcast_to(np.asarray(width, np.float32), (len(points),))
    place = ((points * zoom + (side - 1) / 2) * 2 + 0.5) * 2**fine
    corners = np.rint(place).astype(np.int64)
    for index in range(len(points) - 1):
        thick = float(widths[index]) * zoom * 2
        value = int(255 * min(1.0, max(0.0, thick)))
        a, b = (tuple(int(v) for v in corners[index + end]) for end in (0, 1))
        segment = max(1, round(thick))
        cv2.line(canvas, a, b, value, segment, cv2.LINE_AA, fine)
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small.astype(np.float32) / np.float32(255))


def mix(base: Array, top: Array | tuple[float, float, float], alpha: Array) -> Array:
    """`top` over `base` (H W 3) with opacity `alpha` (H W)."""
    colour = np.asarray(top, np.float32)
    return base + (colour - base) * alpha[..., None]
