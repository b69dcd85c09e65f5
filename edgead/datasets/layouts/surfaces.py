"""Magnetic tiles and KolektorSDD2: one product in the whole folder, pictures and masks side by side.

Magnetic Tile   MT_Free/Imgs, MT_Blowhole/Imgs, ...: <name>.jpg and its mask <name>.png. Nobody published a
                split: a fifth of the good images, by a hash of their names, is tested on.
KolektorSDD2    train, test: 10000.png and its mask 10000_GT.png; a mask without a white pixel is a good part.
                Training takes the good ones of train; masks are decoded to know which these are.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from edgead.datasets.layouts.base import Layout, good_samples
from edgead.datasets.listing import first_few, folders_in, images_in
from edgead.datasets.samples import GOOD, ImageDataset, Sample
from edgead.errors import DataError

_TEST_SHARE = 0.2
_PICTURE, _MASK = ".jpg", ".png"
_TRUTH = "_GT"


def _read_tiles(root: Path, name: str) -> ImageDataset:
    train: list[Sample] = []
    test: list[Sample] = []
    ignored: list[Path] = []
    for folder in folders_in(root):
        if not folder.name.startswith("MT_"):
            ignored.append(folder)
            continue
        kind = folder.name.removeprefix("MT_").lower()
        images, others = images_in(folder / "Imgs") if (folder / "Imgs").is_dir() else ([], [])
        pictures = [image for image in images if image.suffix.lower() == _PICTURE]
        ignored += others
        if kind == "free":
            tested = [picture for picture in pictures if _share(picture.stem) < _TEST_SHARE]
            test += good_samples(tested)
            train += good_samples(picture for picture in pictures if picture not in set(tested))
        else:
            test += [Sample(picture, kind, _tile_mask(picture)) for picture in pictures]
    if not train:
        raise DataError(f"{root / 'MT_Free' / 'Imgs'} holds no .jpg pictures of good tiles. Copy it again.")
    return ImageDataset(name, root, MAGNETIC_TILE.name, tuple(train), tuple(test), tuple(ignored))


def _tile_mask(picture: Path) -> Path:
    mask = picture.with_suffix(_MASK)
    if not mask.is_file():
        raise DataError(f"{picture} has no mask {mask.name} beside it. Copy the data set again.")
    return mask


def _share(stem: str) -> float:
    """A number in 0..1 that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(stem.encode()).digest()[:8], "big") / 2**64


def _read_kolektor(root: Path, name: str) -> ImageDataset:
    train = _kolektor_samples(root / "train")
    good = tuple(sample for sample in train if not sample.is_anomalous)
    if not good:
        raise DataError(f"{root / 'train'} has no good image: no {_TRUTH} mask is black. Copy it again.")
    left_out = tuple(sample.path for sample in train if sample.is_anomalous)
    test = tuple(_kolektor_samples(root / "test"))
    return ImageDataset(name, root, KOLEKTOR_SDD2.name, good, test, left_out)


def _kolektor_samples(folder: Path) -> list[Sample]:
    images, _ = images_in(folder)
    masks = {image.stem.removesuffix(_TRUTH): image for image in images if image.stem.endswith(_TRUTH)}
    pictures = [image for image in images if not image.stem.endswith(_TRUTH)]
    missing = [picture.name for picture in pictures if picture.stem not in masks]
    if missing:
        raise DataError(f"{len(missing)} images in {folder} have no {_TRUTH} mask: {first_few(missing)}.")
    samples = []
    for picture in pictures:
        mask = masks[picture.stem]
        is_defective = _has_white(mask)
        samples.append(Sample(picture, "defect" if is_defective else GOOD, mask if is_defective else None))
    return samples


def _has_white(mask: Path) -> bool:
    levels = (
        cv2.imdecode(np.fromfile(mask, dtype=np.uint8), cv2.IMREAD_GRAYSCALE) if mask.stat().st_size else None
    )
    if levels is None:
        raise DataError(f"{mask} cannot be decoded. Copy it again.")
    return bool(levels.any())


MAGNETIC_TILE = Layout(
    "magnetic-tile", "Magnetic Tile", ("MT_Free/Imgs", "MT_Blowhole/Imgs", "MT_Crack/Imgs"), _read_tiles
)
KOLEKTOR_SDD2 = Layout("kolektor-sdd2", "KolektorSDD2", ("train/*_GT.png", "test/*_GT.png"), _read_kolektor)
