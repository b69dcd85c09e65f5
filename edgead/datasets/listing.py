"""Files of a folder in sorted order, and the mask that belongs to each image. Hidden files do not count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from edgead.datasets.samples import GOOD
from edgead.errors import DataError
from edgead.images import IMAGE_SUFFIXES
from edgead.picture_files import FOLDER, pictures_in

_NAMED = 5  # names in a message before it says how many more


def images_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files and other files directly in a folder, sorted by name; links to nothing are among these."""
    found = pictures_in(folder)
    return list(found.pictures), [path for path, reason in found.left_out if reason != FOLDER]


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def first_few(names: Iterable[object]) -> str:
    """The first names, and how many more."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more


def require_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """As `images_in`; raises DataError where the folder is missing or holds no image."""
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; expected a folder of images there. Copy the data set again.")
    images, others = images_in(folder)
    if not images:
        raise DataError(nothing_found(folder))
    return images, others


def nothing_found(folder: Path) -> str:
    """What to say of a folder without images."""
    others = images_in(folder)[1]
    folders = [entry.name for entry in folders_in(folder)]
    found = [f"{len(others)} other files (such as {others[0].name})"] if others else []
    found += [f"the folders {', '.join(folders[:_NAMED])}"] if folders else []
    suffixes = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    return (
        f"{folder} holds no images ({suffixes}); found {' and '.join(found) or 'nothing'}. "
        f"Name a folder of images of good parts, or one with train/{GOOD} in it."
    )


def paired_masks(images: Sequence[Path], masks: Sequence[Path], truth: Path) -> dict[Path, Path]:
    """The mask of every image; one missing or two for one image is an error, never a guess.

    A mask is called as its image, with or without _mask; it may be a folder.
    """
    by_stem: dict[str, list[Path]] = {}
    for mask in masks:
        by_stem.setdefault(mask.stem, []).append(mask)
    pairs: dict[Path, Path] = {}
    taken: set[Path] = set()
    missing: list[str] = []
    for image in images:
        found = by_stem.get(f"{image.stem}_mask", []) + by_stem.get(image.stem, [])
        if len(found) > 1:
            raise DataError(f"{image} has {len(found)} masks, {found[0]} and {found[1]}. Keep one of them.")
        if found and found[0] in taken:
            raise DataError(
                f"Mask {found[0]} fits {image} and another image of that name. Rename one of them."
            )
        if found:
            pairs[image] = found[0]
            taken.add(found[0])
        else:
            missing.append(image.name)
    if missing:
        example = f"{Path(missing[0]).stem}_mask.png"
        raise DataError(
            f"{len(missing)} of {len(images)} images of kind '{truth.name}' have no mask in {truth}: "
            f"{first_few(missing)}. "
            f"Add {example} and the like, or remove the whole folder if this kind has no masks at all."
        )
    return pairs
