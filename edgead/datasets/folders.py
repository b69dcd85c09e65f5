"""Opens a folder of images: good ones alone, or the layout of MVTec AD.

    plain folder          MVTec AD layout
    part-001.png          train/good/000.png
    part-002.png          test/good/000.png             (test/ may be absent)
    ...                   test/<kind>/000.png
                          ground_truth/<kind>/000_mask.png, or 000.png

Extensions count in any case, hidden files do not count, every other file is listed as ignored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgead.errors import DataError
from edgead.images import IMAGE_SUFFIXES

GOOD = "good"


@dataclass(frozen=True)
class Sample:
    """One image file; `kind` is "good" or the name of the defect, `mask_path` where the defect is drawn."""

    path: Path
    kind: str = GOOD
    mask_path: Path | None = None

    @property
    def is_anomalous(self) -> bool:
        return self.kind != GOOD


@dataclass(frozen=True)
class ImageDataset:
    """The samples of one product: good ones to train on, and test samples if the folder has any."""

    name: str
    root: Path
    layout: str  # "folder" or "mvtec"
    train: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()
    ignored: tuple[Path, ...] = ()  # files that are no images, masks without an image, folders beside good/

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the test samples, "good" first."""
        found = {sample.kind for sample in self.test}
        return tuple(sorted(found, key=lambda kind: (kind != GOOD, kind)))


def open_dataset(path: str | os.PathLike[str]) -> ImageDataset:
    """The dataset in a folder, in sorted order; no image is decoded yet.

    Raises `DataError` saying what was expected and found: no such folder, no images, masks missing.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist; expected a folder of images. Check the path.")
    if not root.is_dir():
        raise DataError(f"{root} is a file; expected a folder of images. Did you mean {root.parent}?")
    name = root.resolve().name
    if (root / "train").is_dir():
        return _open_mvtec(root, name)
    images, ignored = _images_in(root)
    if not images:
        raise DataError(_nothing_found(root))
    samples = tuple(Sample(image) for image in images)
    return ImageDataset(name, root, "folder", train=samples, ignored=tuple(ignored))


def _open_mvtec(root: Path, name: str) -> ImageDataset:
    good = root / "train" / GOOD
    if not good.is_dir():
        found = ", ".join(folder.name for folder in _folders_in(root / "train")) or "no folder"
        raise DataError(
            f"{root / 'train'} should hold a folder '{GOOD}' with images of good parts; found {found}. "
            f"Move the good images to {good}."
        )
    images, ignored = _images_in(good)
    if not images:
        raise DataError(_nothing_found(good))
    ignored += [folder for folder in _folders_in(root / "train") if folder.name != GOOD]
    test: list[Sample] = []
    for folder in _folders_in(root / "test"):
        samples, left_over = _test_samples(folder, root / "ground_truth" / folder.name)
        test += samples
        ignored += left_over
    train = tuple(Sample(image) for image in images)
    return ImageDataset(name, root, "mvtec", train=train, test=tuple(test), ignored=tuple(ignored))


def _test_samples(folder: Path, truth: Path) -> tuple[list[Sample], list[Path]]:
    images, ignored = _images_in(folder)
    if folder.name == GOOD or not truth.is_dir():
        return [Sample(image, folder.name) for image in images], ignored
    masks, not_masks = _images_in(truth)
    paired = _paired(images, masks, truth)
    orphans = sorted(set(masks) - set(paired.values()))
    samples = [Sample(image, folder.name, paired[image]) for image in images]
    return samples, ignored + not_masks + orphans


def _paired(images: list[Path], masks: list[Path], truth: Path) -> dict[Path, Path]:
    """The mask of every image; one missing or two for one image is an error, never a guess."""
    by_stem: dict[str, list[Path]] = {}
    for mask in masks:
        by_stem.setdefault(mask.stem, []).append(mask)
    pairs: dict[Path, Path] = {}
    missing: list[str] = []
    for image in images:
        found = by_stem.get(f"{image.stem}_mask", []) + by_stem.get(image.stem, [])
        if len(found) > 1:
            raise DataError(f"{image} has {len(found)} masks, {found[0]} and {found[1]}. Keep one of them.")
        if found and found[0] in pairs.values():
            raise DataError(
                f"Mask {found[0]} fits {image} and another image of that name. Rename one of them."
            )
        if found:
            pairs[image] = found[0]
        else:
            missing.append(image.name)
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        example = f"{Path(missing[0]).stem}_mask.png"
        raise DataError(
            f"{len(missing)} of {len(images)} images of kind '{truth.name}' have no mask in {truth}: "
            f"{shown}. "
            f"Add {example} and the like, or remove the whole folder if this kind has no masks at all."
        )
    return pairs


def _images_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files and other files directly in a folder, sorted by name; hidden files are left out."""
    files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    return images, [file for file in files if file.suffix.lower() not in IMAGE_SUFFIXES]


def _folders_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _nothing_found(folder: Path) -> str:
    others = _images_in(folder)[1]
    folders = [entry.name for entry in _folders_in(folder)]
    found = [f"{len(others)} other files (such as {others[0].name})"] if others else []
    found += [f"the folders {', '.join(folders[:5])}"] if folders else []
    suffixes = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    return (
        f"{folder} holds no images ({suffixes}); found {' and '.join(found) or 'nothing'}. "
        f"Name a folder of images of good parts, or one with train/{GOOD} in it."
    )
