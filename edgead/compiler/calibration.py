"""The images that set INT8 ranges and those that judge the result, each known by its hash, kept apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgead.errors import CompileError


def image_sha256(image: NDArray[np.uint8]) -> str:
    """SHA-256 of an image's shape and pixels: the same whatever file it came from."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class PreparedImage:
    """An image at the model's size, and where it comes from.

    `image` is uint8 H W 3; `mask`, bool H W, marks the anomaly and is None for a good image. `name` is
    that of the file; `origin_sha256` the hash of the good image, at the model's size, under an anomaly.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None = None
    source: str = "good"
    seed: int | None = None
    strength: float | None = None
    origin_sha256: str | None = None

    @property
    def is_anomalous(self) -> bool:
        """Whether some pixel was altered; a synthesis may miss and leave the mask empty."""
        return self.mask is not None and bool(self.mask.any())

    @cached_property
    def sha256(self) -> str:
        """Hash of the pixels."""
        return image_sha256(self.image)

    @property
    def hashes(self) -> set[str]:
        """Its own hash and that of the good image under the anomaly."""
        return {self.sha256} | ({self.origin_sha256} if self.origin_sha256 else set())


def calibration_list(images: Iterable[PreparedImage]) -> bytes:
    """The list of calibration images as JSON: names, hashes, and for anomalies source, seed and strength."""
    rows = []
    for item in images:
        row: dict[str, object] = {"name": item.name, "sha256": item.sha256, "source": item.source}
        if item.origin_sha256 is not None:
            row |= {"seed": item.seed, "strength": item.strength, "origin_sha256": item.origin_sha256}
        rows.append(row)
    return json.dumps({"images": rows}, indent=1, ensure_ascii=False).encode() + b"\n"


def check_apart(
    calibration: Sequence[PreparedImage],
    gate: Sequence[PreparedImage],
    *,
    withheld: Mapping[str, str] | None = None,
) -> None:
    """Refuse calibration images that also judge the result, by pixels, whether plain or under an anomaly.

    `withheld` maps the hash of further images that must not calibrate (test images) to their names. Raises
    CompileError naming the first image in both.
    """
    judges = dict(withheld or {})
    for item in gate:
        judges |= dict.fromkeys(item.hashes, item.name)
    for item in calibration:
        for digest in item.hashes & judges.keys():
            raise CompileError(
                f"Calibration and evaluation images must be apart; '{item.name}' calibrates and "
                f"'{judges[digest]}' has the same pixels. Remove the duplicate, or split the data again."
            )


def image_sizes(images: Iterable[PreparedImage]) -> set[tuple[int, int]]:
    """The (height, width) that occur."""
    return {(item.image.shape[0], item.image.shape[1]) for item in images}
