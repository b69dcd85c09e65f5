"""Foreign textures: a drawn set of many families, or the pictures of a folder such as DTD."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgead.errors import DataError
from edgead.images import IMAGE_SUFFIXES, read_image
from edgead.picture_files import pictures_in
from edgead.synthesis.masks import perlin_noise, random_walk

__all__ = ["DRAWN_FAMILIES", "TextureBank"]

Image = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Generator = np.random.Generator

_DRAWN_SIDE = 320
_DRAWN_COUNT = 56
_LONGEST_SIDE = 384  # pictures of a folder are kept no larger: a texture needs no more at 256
_CACHED = 512


class TextureBank:
    """Textures by number, made or read when first used and kept; a pickled bank starts empty again."""

    def __init__(self, *, folder: str | os.PathLike[str] | None = None, seed: int = 0) -> None:
        """Lists the pictures under `folder`, or plans the drawn set of `seed`; nothing is read or drawn yet.

        Raises `DataError` when the folder does not exist or holds no pictures.
        """
        self._paths = None if folder is None else _pictures_under(Path(folder))
        self._seed = seed
        self._cache: dict[int, Image] = {}

    def __len__(self) -> int:
        return _DRAWN_COUNT if self._paths is None else len(self._paths)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}

    def __getitem__(self, index: int) -> Image:
        """The texture of a number in 0..len-1 as uint8 H W 3; treat it as read only."""
        if index not in self._cache:
            if len(self._cache) >= _CACHED:
                self._cache.pop(next(iter(self._cache)))
            self._cache[index] = self._make(index)
        return self._cache[index]

    def window(self, shape_hw: tuple[int, int], rng: Generator) -> Image:
        """A random part of a random texture, uint8 of `shape_hw` by 3, at up to twice its own scale."""
        texture = self[int(rng.integers(len(self)))]
        zoom = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
        cut_hw = [
            min(have, max(1, round(want / zoom)))
            for have, want in zip(texture.shape[:2], shape_hw, strict=True)
        ]
        top, left = (
            int(rng.integers(have - cut + 1)) for have, cut in zip(texture.shape[:2], cut_hw, strict=True)
        )
        part = texture[top : top + cut_hw[0], left : left + cut_hw[1]]
        return np.asarray(
            cv2.resize(part, (shape_hw[1], shape_hw[0]), interpolation=cv2.INTER_LINEAR), np.uint8
        )

    def _make(self, index: int) -> Image:
        if self._paths is None:
            rng = np.random.default_rng([self._seed, index])
            draw = list(DRAWN_FAMILIES.values())[index % len(DRAWN_FAMILIES)]
            return _coloured(draw(_DRAWN_SIDE, rng), rng)
        picture = read_image(self._paths[index])
        scale = min(1.0, _LONGEST_SIDE / max(picture.shape))
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _pictures_under(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(
            f"Texture folder {folder} does not exist. Name a folder of pictures, or leave it out."
        )
    paths = list(pictures_in(folder, below=True).pictures)
    if not paths:
        raise DataError(f"Texture folder {folder} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return paths


def _clouds(side: int, rng: Generator) -> Field:
    """Noise of several scales, each with half the weight of the coarser one."""
    first = int(rng.integers(1, 4))
    octaves = [
        perlin_noise((side, side), rng, exponents_yx=(e, e)) * 0.6 ** (e - first) for e in range(first, 7)
    ]
    return np.asarray(np.sum(octaves, axis=0, dtype=np.float32))


def _marble(side: int, rng: Generator) -> Field:
    return np.asarray(
        np.sin(_ramp(side, rng, float(rng.uniform(2, 14))) + 4 * _clouds(side, rng)), np.float32
    )


def _stripes(side: int, rng: Generator) -> Field:
    bent = _ramp(side, rng, float(rng.uniform(6, 60))) + 2 * perlin_noise(
        (side, side), rng, exponents_yx=(1, 1)
    )
    return np.asarray(np.tanh(float(rng.uniform(0.5, 6)) * np.sin(bent)), np.float32)


def _weave(side: int, rng: Generator) -> Field:
    cycles = float(rng.uniform(8, 40))
    y, x = _ramp(side, rng, cycles, turn=0.0), _ramp(side, rng, cycles, turn=np.pi / 2)
    over = np.sign(np.sin(y / 2) * np.sin(x / 2))
    return np.where(over > 0, np.abs(np.sin(y / 2)), 0.6 * np.abs(np.sin(x / 2))).astype(np.float32)


def _cells(side: int, rng: Generator) -> Field:
    """Distance to the nearest of many points: scales, pebbles, grains."""
    seeds = np.ones((side, side), np.uint8)
    points = rng.integers(0, side, (int(rng.integers(20, 500)), 2))
    seeds[points[:, 0], points[:, 1]] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
    tone = rng.random(int(labels.max()) + 1, dtype=np.float32)[labels]
    return np.asarray(float(rng.random()) * tone + distance / max(float(distance.max()), 1.0), np.float32)


def _dots(side: int, rng: Generator) -> Field:
    canvas = np.zeros((side, side), np.float32)
    largest = int(rng.integers(2, side // 12))
    for y, x in rng.integers(0, side, (int(rng.integers(40, 400)), 2)):
        radius = int(rng.integers(1, largest + 1))
        cv2.circle(canvas, (int(x), int(y)), radius, float(rng.uniform(0.3, 1)), -1, cv2.LINE_8)
    return canvas


def _fibres(side: int, rng: Generator) -> Field:
    canvas = np.zeros((side, side), np.float32)
    heading, spread = float(rng.uniform(0, np.pi)), float(rng.choice([0.1, 0.5, 3.0]))
    for _ in range(int(rng.integers(60, 300))):
        start = (float(rng.uniform(0, side)), float(rng.uniform(0, side)))
        walk = random_walk(
            start,
            rng,
            length=float(rng.uniform(0.1, 0.8)) * side,
            bend=1.0,
            heading=heading + float(rng.normal(0, spread)),
        )
        points = np.round(walk[:, ::-1] * 16).astype(np.int32)
        cv2.polylines(
            canvas, [points], False, float(rng.uniform(0.2, 1)), int(rng.integers(1, 4)), cv2.LINE_8, 4
        )
    return canvas


def _grain(side: int, rng: Generator) -> Field:
    """White noise smoothed by different amounts along the two axes: brushed or sandy."""
    sigmas = np.exp(rng.uniform(np.log(0.4), np.log(8), 2))
    noise = rng.standard_normal((side, side), dtype=np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), float(sigmas[0]), sigmaY=float(sigmas[1])), np.float32)


DRAWN_FAMILIES: dict[str, Callable[[int, Generator], Field]] = {
    "clouds": _clouds,
    "marble": _marble,
    "stripes": _stripes,
    "weave": _weave,
    "cells": _cells,
    "dots": _dots,
    "fibres": _fibres,
    "grain": _grain,
}


def _ramp(side: int, rng: Generator, cycles: float, *, turn: float | None = None) -> Field:
    """A phase that grows by `cycles` turns across the picture in a random direction."""
    angle = float(rng.uniform(0, np.pi)) if turn is None else turn
    t = np.arange(side, dtype=np.float32) * np.float32(2 * np.pi * cycles / side)
    return np.asarray(np.sin(angle) * t[:, None] + np.cos(angle) * t[None, :], np.float32)


def _coloured(field: Field, rng: Generator) -> Image:
    """The field through a palette of a few random colours, with a little noise."""
    low, high = np.quantile(field, [0.01, 0.99])
    level = np.clip((field - low) / max(float(high - low), 1e-6), 0, 1) * 255
    stops = np.sort(np.concatenate([[0.0, 255.0], rng.uniform(20, 235, int(rng.integers(0, 4)))]))
    colours = rng.uniform(0, 255, (stops.size, 3))
    colours += 0.6 * (colours.mean(axis=1, keepdims=True) - colours)  # real surfaces are seldom vivid
    palette = np.stack([np.interp(np.arange(256), stops, colours[:, c]) for c in range(3)], axis=1)
    picture = palette[level.astype(np.uint8)] + rng.normal(0, 3, (*field.shape, 1))
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)
