"""What a layout is: how it is recognised, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgead.datasets.listing import images_in, paired_masks
from edgead.datasets.samples import GOOD, ImageDataset, Sample


@dataclass(frozen=True)
class Layout:
    """One layout of a product's folder.

    `signs` are patterns below the folder (as in Path.glob), each of which every copy has. `read` takes the
    folder and the product's name.
    """

    name: str
    title: str
    signs: tuple[str, ...]
    read: Callable[[Path, str], ImageDataset]

    def missing(self, root: Path) -> tuple[str, ...]:
        """The signs that are not there."""
        return tuple(sign for sign in self.signs if not _is_there(root, sign))


def _is_there(root: Path, sign: str) -> bool:
    if "*" not in sign:
        return (root / sign).exists()
    return next(iter(root.glob(sign)), None) is not None


def good_samples(images: Iterable[Path]) -> tuple[Sample, ...]:
    return tuple(Sample(image) for image in images)


def kind_samples(folder: Path, truth: Path, *, kind: str) -> tuple[list[Sample], list[Path]]:
    """The samples of one kind with their masks, and what was left over; no masks where `truth` is missing."""
    images, ignored = images_in(folder)
    if kind == GOOD or not truth.is_dir():
        return [Sample(image, kind) for image in images], ignored
    masks, not_masks = images_in(truth)
    paired = paired_masks(images, masks, truth)
    orphans = sorted(set(masks) - set(paired.values()))
    return [Sample(image, kind, paired[image]) for image in images], ignored + not_masks + orphans
