"""Draws the images of a compile: which calibrate, which judge, and the anomalies synthesised on both."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgead.compiler.calibration import PreparedImage
from edgead.compiler.recipe import CalibrationSpec, GateSpec
from edgead.errors import CompileError
from edgead.synthesis import Synthesizer

NamedImage: TypeAlias = "tuple[str, NDArray[np.uint8]]"  # file name, H W 3 at the model's size


def draw_calibration(
    images: Sequence[NamedImage], *, spec: CalibrationSpec, apart_from: Collection[str] = ()
) -> list[PreparedImage]:
    """Good training images and anomalies synthesised on them, in the recipe's proportion.

    Images whose pixels are among `apart_from` (hashes) are left out. Raises CompileError when none is left.
    """
    good = [PreparedImage(name, image) for name, image in images]
    good = [item for item in good if item.sha256 not in apart_from]
    if not good:
        raise CompileError("Calibration needs training images that do not also judge the result; found none.")
    wanted = round(spec.images * (1 - spec.anomalous_share))
    order = np.random.default_rng(spec.seed).permutation(len(good))
    chosen = [good[i] for i in order[: max(wanted, 1)]]
    # A small data set keeps the recipe's share of anomalies rather than its number of images.
    share = spec.anomalous_share / max(1 - spec.anomalous_share, 1e-9)
    anomalous = min(round(len(chosen) * share), spec.images - wanted)
    return (chosen if wanted else []) + synthesise_on(good, count=anomalous, seed=spec.seed)


def draw_gate_set(images: Sequence[NamedImage], *, spec: GateSpec) -> list[PreparedImage]:
    """Held-out good images, and anomalies synthesised on them in turn, from nothing but these images."""
    good = [PreparedImage(name, image) for name, image in images[: spec.images]]
    if not good:
        raise CompileError("The accuracy gate needs good images held out of training; found none.")
    return good + synthesise_on(good, count=spec.anomalies, seed=spec.seed)


def synthesise_on(good: Sequence[PreparedImage], *, count: int, seed: int) -> list[PreparedImage]:
    """`count` anomalies, on the images in turn; each is drawn from a seed of its own, which it states."""
    synthesize = Synthesizer([item.image for item in good])
    made = []
    for number in range(count):
        item = good[number % len(good)]
        own_seed = seed * 1_000_003 + number
        sample = synthesize(item.image, np.random.default_rng(own_seed))
        made.append(
            PreparedImage(
                item.name,
                sample.image,
                sample.mask,
                source=sample.source,
                seed=own_seed,
                strength=sample.strength,
                origin_sha256=item.sha256,
            )
        )
    return made
