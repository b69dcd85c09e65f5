"""The changes that the source of subtle anomalies chooses from: each draws its content at full effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import cv2
import numpy as np
import numpy.typing as npt

from edgead.synthesis.patches import cut_patch

__all__ = ["CHANGES", "Change", "Effect", "Scene"]

Image = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.float32]  # H W of a grey product, H W 3 otherwise; 0..255
Generator = np.random.Generator

_AREAS: Mapping[str, float] = {
    "perlin": 0.3,
    "blob": 0.35,
    "band": 0.1,
    "half-plane": 0.1,
    "edge-break": 0.15,
}
_ANY: Mapping[str, float] = {"perlin": 0.2, "blob": 0.3, "stroke": 0.15, "crack": 0.15, "edge-break": 0.2}
_ANY_SINGLE: Mapping[str, float] = {"blob": 0.5, "stroke": 0.15, "crack": 0.1, "edge-break": 0.25}
_SMALL: Mapping[str, float] = {"blob": 0.6, "stroke": 0.15, "edge-break": 0.25}


class Effect(Enum):
    """What grows from nothing as the strength grows."""

    OPACITY = "opacity"  # the content shows through more and more
    DISTANCE = "distance"  # edges move further; `draw` reads the strength
    SIZE = "size"  # the mask widens from its core; the content covers it wholly


@dataclass(frozen=True)
class Scene:
    """What a change sees: the patch it replaces, its weights, and where else content may come from."""

    patch: Planes  # h w (3)
    weights: npt.NDArray[np.float32]  # h w, 0..1
    image: Image  # H W (3), the whole
    other: Image  # H W (3), another good image
    centre_yx: tuple[float, float]  # of the patch in the image
    rng: Generator
    strength: float

    @property
    def shape_hw(self) -> tuple[int, int]:
        return self.patch.shape[0], self.patch.shape[1]

    def towards_room(self) -> float:
        """+1 or -1 at random, but away from the end of the scale where the patch is close to it."""
        level = float(self.patch.mean())
        if level < 40 or level > 215:
            return 1.0 if level < 40 else -1.0
        return float(self.rng.choice([-1.0, 1.0]))


@dataclass(frozen=True)
class Change:
    """One change: its content at full effect, where it may lie and how often it is drawn."""

    draw: Callable[[Scene], Planes]
    share: float = 1.0
    families: Mapping[str, float] = field(default_factory=lambda: _AREAS)
    is_thin: bool = False  # lies along an anti-aliased line instead of a mask
    effect: Effect = Effect.OPACITY


def _local_mean(planes: Planes, radius: int) -> Planes:
    return np.asarray(cv2.blur(planes, (2 * radius + 1,) * 2), np.float32)


def _gain(scene: Scene) -> Planes:
    factor = float(scene.rng.uniform(0.3, 0.7))
    return np.asarray(scene.patch * np.float32(1 + factor * scene.towards_room()))


def _light(scene: Scene) -> Planes:
    """An offset that grows across the patch in a random direction."""
    height, width = scene.shape_hw
    angle, peak = (
        float(scene.rng.uniform(0, 2 * np.pi)),
        float(scene.rng.uniform(30, 90)) * scene.towards_room(),
    )
    y, x = np.linspace(-0.5, 0.5, height, dtype=np.float32), np.linspace(-0.5, 0.5, width, dtype=np.float32)
    slope = np.sin(angle) * y[:, None] + np.cos(angle) * x[None, :]
    offset = np.float32(peak) * (np.float32(0.6) + np.float32(0.55) * slope.astype(np.float32))
    return np.asarray(scene.patch + (offset[..., None] if scene.patch.ndim == 3 else offset))


def _contrast(scene: Scene) -> Planes:
    """Detail around the local mean nearly removed, or made two to three times as strong."""
    mean = _local_mean(scene.patch, int(scene.rng.integers(3, 12)))
    factor = 0.1 if scene.rng.random() < 0.5 else float(scene.rng.uniform(2, 3))
    return np.asarray(mean + (scene.patch - mean) * np.float32(factor))


def _blur(scene: Scene) -> Planes:
    radius = int(scene.rng.integers(1, 5))
    return _local_mean(_local_mean(scene.patch, radius), radius)


def _sharpen(scene: Scene) -> Planes:
    return np.asarray(
        scene.patch + np.float32(scene.rng.uniform(1.5, 3.0)) * (scene.patch - _local_mean(scene.patch, 1))
    )


def _grain(scene: Scene) -> Planes:
    """Noise of a random size of grain, of 15 to 45 levels."""
    noise = scene.rng.standard_normal(scene.shape_hw, dtype=np.float32)
    sigma = float(scene.rng.uniform(0, 2.5))
    if sigma > 0.4:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma), np.float32)
    noise *= np.float32(scene.rng.uniform(15, 45) / max(float(noise.std()), 1e-3))
    return scene.patch + (noise[..., None] if scene.patch.ndim == 3 else noise)


def _direction(scene: Scene) -> Planes:
    """The texture of the same place turned by 30 to 150 degrees, around the same local mean."""
    turned = cut_patch(
        scene.image, scene.shape_hw, centre_yx=scene.centre_yx, degrees=float(scene.rng.uniform(30, 150))
    )
    return _with_detail_of(scene.patch, turned.astype(np.float32))


def _other_texture(scene: Scene) -> Planes:
    """The texture of another good image, from another place, around the same local mean."""
    height, width = scene.other.shape[:2]
    centre_yx = (float(scene.rng.uniform(0, height)), float(scene.rng.uniform(0, width)))
    piece = cut_patch(
        scene.other,
        scene.shape_hw,
        centre_yx=centre_yx,
        degrees=float(scene.rng.choice([0.0, 90.0, scene.rng.uniform(-90, 90)])),
    )
    return _with_detail_of(scene.patch, piece.astype(np.float32))


def _with_detail_of(patch: Planes, piece: Planes, *, radius: int = 8) -> Planes:
    return _local_mean(patch, radius) + piece - _local_mean(piece, radius)


def _shift(scene: Scene) -> Planes:
    """The surface pushed aside by up to 6 % of the image, most in the middle of the mask."""
    height, width = scene.shape_hw
    reach = scene.strength * float(scene.rng.uniform(0.02, 0.06)) * min(scene.image.shape[:2]) + 0.3
    angle = float(scene.rng.uniform(0, 2 * np.pi))
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    map_x = columns + np.float32(reach * np.cos(angle)) * scene.weights
    map_y = rows + np.float32(reach * np.sin(angle)) * scene.weights
    moved = cv2.remap(scene.patch, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def _thicken(scene: Scene) -> Planes:
    """Bright structures grow over dark ones, or the other way round: edges move, gaps close, lines part."""
    reach = scene.strength * float(scene.rng.uniform(0.01, 0.03)) * min(scene.image.shape[:2])
    size = 2 * max(1, round(reach)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    grow = cv2.dilate if scene.rng.random() < 0.5 else cv2.erode
    grown = np.asarray(grow(scene.patch, kernel), np.float32)
    return np.asarray(
        scene.patch + np.float32(min(1.0, reach)) * (grown - scene.patch)
    )  # edges move by parts of a pixel


def _erase(scene: Scene) -> Planes:
    """What lies around the mask continued into it: a structure that is missing."""
    outside = (scene.weights <= 0).astype(np.float32)
    radius = max(2, min(scene.shape_hw) // 4)
    amount = np.asarray(cv2.blur(outside, (2 * radius + 1,) * 2), np.float32) + np.float32(1e-4)
    shaped = outside[..., None] if scene.patch.ndim == 3 else outside
    filled = np.asarray(cv2.blur(scene.patch * shaped, (2 * radius + 1,) * 2), np.float32)
    filled = filled / (amount[..., None] if scene.patch.ndim == 3 else amount)
    known = amount > 2e-4
    fill = np.where(known[..., None] if scene.patch.ndim == 3 else known, filled, scene.patch.mean((0, 1)))
    detail = np.float32(0.3) * (scene.patch - _local_mean(scene.patch, 1))  # a surface stays a surface
    return np.asarray(fill + detail, np.float32)


def _stain(scene: Scene) -> Planes:
    """A colour that occurs on the part, or black or white, over what is left of the detail."""
    y, x = int(scene.rng.integers(scene.other.shape[0])), int(scene.rng.integers(scene.other.shape[1]))
    colour = scene.other[y, x].astype(np.float32)
    if scene.rng.random() < 0.3:
        colour = np.full_like(colour, 255 if scene.towards_room() > 0 else 0)
    detail = scene.patch - _local_mean(scene.patch, 3)
    return np.asarray(colour + np.float32(scene.rng.uniform(0, 0.6)) * detail, np.float32)


def _line(scene: Scene) -> Planes:
    return np.asarray(scene.patch + np.float32(scene.towards_room() * scene.rng.uniform(50, 140)))


CHANGES: dict[str, Change] = {
    "gain": Change(_gain),
    "light": Change(_light),
    "contrast": Change(_contrast),
    "blur": Change(_blur, share=0.7),
    "sharpen": Change(_sharpen, share=0.5),
    "grain": Change(_grain),
    "direction": Change(_direction),
    "other-texture": Change(_other_texture),
    "shift": Change(_shift, families=_ANY, effect=Effect.DISTANCE),
    "thicken": Change(_thicken, families=_ANY, effect=Effect.DISTANCE),
    "erase": Change(_erase, share=0.8, families=_SMALL),
    "stain": Change(_stain, families=_ANY),
    "deposit": Change(_stain, share=1.5, families=_ANY_SINGLE, effect=Effect.SIZE),
    "gap": Change(_erase, share=0.8, families=_SMALL, effect=Effect.SIZE),
    "line": Change(_line, share=2.0, is_thin=True),
}
