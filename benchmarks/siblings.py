"""Training images that show the same part as a good test image, found by what the images show.

In the magnetic tiles the same tile was photographed at several exposures; a random split of the good images
puts some into training and others into the test. A model may then know a tile rather than tiles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.images import read_image

LEAST_CORRELATION = 0.85
# The tiles' running numbers: pairs up to 150 apart correlate (median 0.85) and hardly ever share the exposure
# in front of the number; pairs further apart do neither (median 0.33).
NEAREST_NUMBERS = 150
_SIDE = 64
_SHIFT = 6  # pixels of the small image, each way
_NUMBER = re.compile(r"exp\d+_num_(\d+)$")

Correlations = NDArray[np.float32]


def find_siblings(test: Sequence[Path], train: Sequence[Path]) -> dict[Path, tuple[Path, ...]]:
    """For each test image the training images that show the same part; most often none or a few."""
    correlations = gradient_correlations(test, train)
    near = correlations >= LEAST_CORRELATION
    near |= number_distances(test, train) <= NEAREST_NUMBERS
    return {
        path: tuple(train[int(column)] for column in np.flatnonzero(row))
        for path, row in zip(test, near, strict=True)
    }


def gradient_correlations(first: Sequence[Path], second: Sequence[Path]) -> Correlations:
    """Correlation of the gradient magnitudes of all pairs, len(first) len(second), over small shifts.

    Gradients, because exposures change brightness; shifts, because the crops differ by some pixels.
    """
    left = np.fft.rfft2(np.stack([_gradient(path) for path in first]))
    right = np.fft.rfft2(np.stack([_gradient(path) for path in second]))
    rows = []
    shifts = np.r_[0 : _SHIFT + 1, -_SHIFT:0]
    for spectrum in left:
        shifted = np.fft.irfft2(right * spectrum.conj(), s=(_SIDE, _SIDE))
        rows.append(shifted[:, shifts][:, :, shifts].max(axis=(1, 2)))
    return np.stack(rows).astype(np.float32)


def number_distances(first: Sequence[Path], second: Sequence[Path]) -> NDArray[np.float64]:
    """Distance of the running numbers in the names of all pairs; infinite where a name has none."""
    left, right = (np.array([_number(path) for path in paths]) for paths in (first, second))
    distances = np.abs(left[:, None] - right[None])
    return np.where(np.isfinite(distances), distances, np.inf)


def _number(path: Path) -> float:
    found = _NUMBER.search(path.stem)
    return float(found.group(1)) if found else np.nan


def _gradient(path: Path) -> NDArray[np.float32]:
    """Gradient magnitude of the image at 64 x 64: strongest cut off, mean 0, norm 1."""
    grey = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 1.0)
    magnitude = np.hypot(cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1))
    magnitude = np.minimum(magnitude, np.percentile(magnitude, 95))  # else the edge of the part decides
    magnitude = magnitude - magnitude.mean()
    return np.asarray(magnitude / max(float(np.linalg.norm(magnitude)), 1e-9), np.float32)
