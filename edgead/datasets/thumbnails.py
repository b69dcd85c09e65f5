"""Images as thumbnails: which are near duplicates, and how well thumbnails alone tell good from defective.

The second is the control of a data set. A nearest neighbour on thumbnails sees no defect that is small: where
it finds the defective parts all the same, the good test images resemble training's for another reason, the
same parts in both or another position of the defective ones, and a detector's figures owe something to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgead.datasets.samples import ImageDataset
from edgead.images import read_image, resize_image

SIDE = 48  # pixels
# Cosines of two thumbnails above which they may show one part. The first alone joins all aligned parts of one
# product, the second alone, of what an image has beside the product's mean image, is noisy where parts vary.
_SAME_PICTURE, _SAME_REMAINDER = 0.9, 0.8
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_LEAST_NORM = 1e-6
_ROWS_AT_ONCE = 1024  # of a matrix of cosines

Vectors: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Thumbnails:
    """Grey thumbnails of N images as vectors of length 1, N SIDE^2: plain, and less the mean of a reference.

    Both are free of each image's own mean, so that brightness does not count.
    """

    pictures: Vectors
    remainders: Vectors
    mean: Vectors  # of the reference, SIDE^2

    def __len__(self) -> int:
        return len(self.pictures)

    def near(self, rows: slice, others: Thumbnails | None = None) -> npt.NDArray[np.bool_]:
        """Which of `others` (itself by default) are near duplicates of the images in `rows`."""
        other = self if others is None else others
        alike: npt.NDArray[np.bool_] = np.greater(self.pictures[rows] @ other.pictures.T, _SAME_PICTURE)
        alike &= np.greater(self.remainders[rows] @ other.remainders.T, _SAME_REMAINDER)
        return alike


def thumbnails(paths: Iterable[Path], *, like: Thumbnails | None = None) -> Thumbnails:
    """Read images as thumbnails; `like` gives the mean of the reference, by default they are it themselves.

    Raises DataError naming a file that cannot be read.
    """
    pixels = np.stack([_grey(path) for path in paths])
    mean = pixels.mean(axis=0) if like is None else like.mean
    return Thumbnails(_unit(pixels), _unit(pixels - mean), mean)


@dataclass(frozen=True)
class ThumbnailControl:
    """How far a test resembles its training by thumbnails alone.

    `auroc` is the image AUROC of the cosine distance to the nearest training thumbnail; None where the test
    has images of one sort alone. `good_share` and `anomalous_share` are the shares of the test's good and
    anomalous images that have a near duplicate in training.
    """

    auroc: float | None
    good_share: float
    anomalous_share: float

    @property
    def text(self) -> str:
        """The control as one line."""
        value = "not defined" if self.auroc is None else f"{self.auroc:.4f} (near 0.5: a clean split)"
        return f"Control, nearest training thumbnail without any network: image AUROC {value}"

    @property
    def warning(self) -> str:
        """What to know before the figures of this test are believed; "" where there is nothing."""
        if self.good_share > self.anomalous_share + _MORE_DUPLICATES:
            return (
                f"{self.good_share:.0%} of the good test images have a near duplicate in training, of the "
                f"anomalous ones {self.anomalous_share:.0%}: the same parts may be in both, and the figures "
                "then promise too much. Split by part, tile or lot, not by image."
            )
        if self.auroc is not None and self.auroc > _SUSPICIOUS:
            return (
                f"Thumbnails of {SIDE} x {SIDE} alone reach an image AUROC of {self.auroc:.3f}: the "
                "anomalous test images differ from training by more than their defects (position, light, "
                "camera), or the same good parts are in training and test. Read the figures beside it."
            )
        return ""


_SUSPICIOUS = 0.7  # .5 is a clean split; a small test reaches .6 by chance
_MORE_DUPLICATES = 0.2


def thumbnail_control(dataset: ImageDataset) -> ThumbnailControl | None:
    """The control of a data set's test images; None where it lacks training or test images.

    Raises DataError naming a file that cannot be read.
    """
    if not dataset.train or not dataset.test:
        return None
    from sklearn.metrics import roc_auc_score

    known = thumbnails(sample.path for sample in dataset.train)
    seen = thumbnails((sample.path for sample in dataset.test), like=known)
    labels: npt.NDArray[np.bool_] = np.array([sample.is_anomalous for sample in dataset.test])
    starts = range(0, len(seen), _ROWS_AT_ONCE)
    parts = [slice(start, start + _ROWS_AT_ONCE) for start in starts]
    distances = np.concatenate([1.0 - (seen.pictures[rows] @ known.pictures.T).max(axis=1) for rows in parts])
    doubled: npt.NDArray[np.bool_] = np.concatenate([seen.near(rows, known).any(axis=1) for rows in parts])
    both = bool(labels.any() and not labels.all())
    return ThumbnailControl(
        auroc=float(roc_auc_score(labels, distances)) if both else None,
        good_share=float(doubled[~labels].mean()) if not labels.all() else 0.0,
        anomalous_share=float(doubled[labels].mean()) if labels.any() else 0.0,
    )


def _grey(path: Path) -> Vectors:
    image = resize_image(read_image(path), SIDE, SIDE).astype(np.float32)
    grey: Vectors = (image @ _GREY).ravel()
    return grey


def _unit(rows: Vectors) -> Vectors:
    centred = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    # A flat thumbnail shows nothing to compare: it is like no other, not like every other.
    unit: Vectors = np.where(lengths > _LEAST_NORM * SIDE, centred / np.maximum(lengths, _LEAST_NORM), 0.0)
    return unit
