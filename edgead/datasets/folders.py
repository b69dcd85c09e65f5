"""Opens a folder of images: good ones alone, the layout of MVTec AD, or that of another published data set.

    plain folder          MVTec AD layout
    part-001.png          train/good/000.png
    part-002.png          test/good/000.png             (test/ may be absent)
    ...                   test/<kind>/000.png
                          ground_truth/<kind>/000_mask.png, or 000.png

The others are in `edgead.datasets.layouts`. `OK` and `normal` stand for `good`, in any case of letters.
Which files are pictures is said in `edgead.picture_files`; all else is listed as ignored.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgead.datasets.layouts import layout_at, resemblance
from edgead.datasets.layouts.mvtec import read_mvtec
from edgead.datasets.listing import first_few, folders_in, images_in, nothing_found
from edgead.datasets.samples import GOOD, ImageDataset, Sample, is_good_name
from edgead.errors import DataError

__all__ = ["GOOD", "ImageDataset", "Sample", "open_collection", "open_dataset"]


def open_dataset(path: str | os.PathLike[str]) -> ImageDataset:
    """The dataset in a folder, in sorted order; images are not decoded yet.

    Raises `DataError` saying what was expected and found: no such folder, no images, masks missing; of a
    folder in no layout, which one it resembles and what of that is missing.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist; expected a folder of images. Check the path.")
    if not root.is_dir():
        raise DataError(f"{root} is a file; expected a folder of images. Did you mean {root.parent}?")
    name = root.resolve().name
    layout = layout_at(root)
    if layout is not None:
        return layout.read(root, name)
    images, ignored = images_in(root)
    if (root / "train").is_dir():
        return _with_resemblance(root, name)
    if not images:
        raise DataError(_not_a_product(root))
    samples = tuple(Sample(image) for image in images)
    ignored += folders_in(root)
    return ImageDataset(name, root, "folder", train=samples, ignored=tuple(ignored))


def open_collection(path: str | os.PathLike[str]) -> tuple[ImageDataset, ...]:
    """The products in a folder: the folder itself where it is one, else each folder in it that is.

    Raises `DataError` where there is none, and where a folder is in a layout and cannot be read.
    """
    root = Path(path)
    if not root.is_dir() or _is_product(root) or images_in(root)[0]:
        return (open_dataset(root),)
    products = tuple(open_dataset(folder) for folder in folders_in(root) if _is_product(folder))
    if not products:
        raise DataError(_not_a_product(root))
    return products


def _is_product(folder: Path) -> bool:
    return layout_at(folder) is not None or _has_good(folder)


def _has_good(folder: Path) -> bool:
    return any(is_good_name(inside.name) for inside in folders_in(folder / "train"))


def _with_resemblance(root: Path, name: str) -> ImageDataset:
    """A folder with train/ in it: MVTec AD's, perhaps without test/; or an error that names the likeness."""
    try:
        return read_mvtec(root, name)
    except DataError as error:
        if _has_good(root):
            raise
        likeness = resemblance(root)
        raise DataError(f"{error} {likeness}".strip()) from error


def _not_a_product(root: Path) -> str:
    inside = [folder.name for folder in folders_in(root) if _is_product(folder)]
    if inside:
        return (
            f"{root} holds no images, but the folders of {len(inside)} products: {first_few(inside)}. "
            f"Name one of them, such as {root / inside[0]}."
        )
    return f"{nothing_found(root)} {resemblance(root)}".strip()
