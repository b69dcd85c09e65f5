"""The layouts of MVTec AD and its relatives, one folder per product.

MVTec AD, MPDD, VAD,   train/good, test/good, test/<kind>, ground_truth/<kind>/<image>_mask.png or <image>.png
VisA prepared, COCO-AD
MVTec 3D-AD            train/good/rgb, validation/good/rgb, test/<kind>/rgb, test/<kind>/gt (and xyz)
MVTec LOCO AD          as MVTec AD, with validation/good and ground_truth/<kind>/<image>/000.png, 001.png, ...
BTAD                   train/ok, test/ok, test/ko, ground_truth/ko/<image>.png
"""

from __future__ import annotations

from pathlib import Path

from edgead.datasets.layouts.base import Layout, good_samples, kind_samples
from edgead.datasets.listing import folders_in, images_in, paired_masks, require_images
from edgead.datasets.samples import GOOD, ImageDataset, Sample, is_good_name
from edgead.errors import DataError


def read_mvtec(root: Path, name: str) -> ImageDataset:
    """A product of MVTec AD; raises DataError where train/good is missing or empty, or a mask is."""
    inside = folders_in(root / "train")
    good = [folder for folder in inside if is_good_name(folder.name)]
    if len(good) != 1:
        found = ", ".join(folder.name for folder in inside) or "no folder"
        raise DataError(
            f"{root / 'train'} should hold one folder '{GOOD}' with images of good parts; found {found}. "
            f"Move the good images to {root / 'train' / GOOD}."
        )
    images, ignored = require_images(good[0])
    ignored += [folder for folder in inside if folder != good[0]]
    test: list[Sample] = []
    for folder in folders_in(root / "test"):
        kind = GOOD if is_good_name(folder.name) else folder.name
        samples, left_over = kind_samples(folder, root / "ground_truth" / folder.name, kind=kind)
        test += samples
        ignored += left_over
    ignored += _without_images(root / "ground_truth", {folder.name for folder in folders_in(root / "test")})
    return ImageDataset(name, root, "mvtec", good_samples(images), tuple(test), tuple(ignored))


def _without_images(truth: Path, kinds: set[str]) -> list[Path]:
    """Folders of masks that belong to no folder of test images."""
    return [folder for folder in folders_in(truth) if folder.name not in kinds]


def _read_3d(root: Path, name: str) -> ImageDataset:
    """The colour pictures; heights (xyz) are left alone."""
    images, ignored = require_images(root / "train" / GOOD / "rgb")
    test: list[Sample] = []
    for folder in folders_in(root / "test"):
        samples, left_over = kind_samples(folder / "rgb", folder / "gt", kind=folder.name)
        test += samples
        ignored += left_over if folder.name != GOOD else []
    apart = root / "validation" / GOOD / "rgb"
    validation = good_samples(images_in(apart)[0] if apart.is_dir() else [])
    return ImageDataset(
        name, root, MVTEC_3D.name, good_samples(images), tuple(test), tuple(ignored), validation
    )


def _read_loco(root: Path, name: str) -> ImageDataset:
    images, ignored = require_images(root / "train" / GOOD)
    test: list[Sample] = []
    for folder in folders_in(root / "test"):
        found, others = images_in(folder)
        truth = root / "ground_truth" / folder.name
        ignored += others
        if folder.name == GOOD:
            test += [Sample(image) for image in found]
            continue
        masks = folders_in(truth)  # a folder for each image, a picture for each region
        paired = paired_masks(found, masks, truth)
        ignored += sorted(set(masks) - set(paired.values()))
        test += [Sample(image, folder.name, paired[image]) for image in found]
    validation = good_samples(images_in(root / "validation" / GOOD)[0])
    return ImageDataset(
        name, root, MVTEC_LOCO.name, good_samples(images), tuple(test), tuple(ignored), validation
    )


def _read_btad(root: Path, name: str) -> ImageDataset:
    images, ignored = require_images(root / "train" / "ok")
    test: list[Sample] = []
    for folder, kind in (("ok", GOOD), ("ko", "ko")):
        samples, left_over = kind_samples(root / "test" / folder, root / "ground_truth" / folder, kind=kind)
        test += samples
        ignored += left_over
    return ImageDataset(name, root, BTAD.name, good_samples(images), tuple(test), tuple(ignored))


MVTEC = Layout("mvtec", "MVTec AD", ("train/good/*.*", "test/good"), read_mvtec)
MVTEC_3D = Layout("mvtec-3d", "MVTec 3D-AD", ("train/good/rgb", "test/good/rgb"), _read_3d)
MVTEC_LOCO = Layout(
    "mvtec-loco",
    "MVTec LOCO AD",
    ("train/good", "validation/good", "test/logical_anomalies", "test/structural_anomalies"),
    _read_loco,
)
BTAD = Layout("btad", "BTAD", ("train/ok", "test/ok", "test/ko", "ground_truth/ko"), _read_btad)
