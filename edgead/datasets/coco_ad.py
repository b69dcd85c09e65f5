"""COCO-AD (arXiv 2404.10760): COCO 2017, a quarter of its classes as anomalies, in the layout of MVTec AD.

The classes, in the order of their numbers, are cut in four groups; split i calls group i anomalous. Training
takes the annotated train2017 images without any instance of those classes; testing takes every annotated
val2017 image, anomalous where such an instance is in it, with the union of their outlines as its mask. Images
without annotations are left out. Pictures are linked, not copied.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgead.datasets.listing import first_few
from edgead.datasets.samples import GOOD
from edgead.errors import DataError, UsageError
from edgead.files import write_json
from edgead.images import write_image
from edgead.records import read_json

SPLITS = 4
ANOMALOUS = "anomalous"
SUMMARY_FILE = "coco-ad.json"
_CLASSES = 80
_TRAIN_IMAGES = (30438, 65133, 79083, 77580)  # by the authors' logs
_TEST_IMAGES = 4952


@dataclass(frozen=True)
class CocoAd:
    """What was made: counts, the classes that count as anomalies, and how it differs from the published."""

    split: int
    train: int
    test_good: int
    test_anomalous: int
    anomalous_classes: tuple[str, ...]
    is_coco_2017: bool
    differences: tuple[str, ...]


def make_coco_ad(
    coco: Path, out: Path, *, split: int, on_progress: Callable[[float], None] = lambda share: None
) -> CocoAd:
    """Write split `split` (0 to 3) of the COCO 2017 in `coco` to the new folder `out`, whole or not at all.

    `coco` holds train2017/, val2017/ and annotations/instances_{train,val}2017.json. Raises UsageError for
    another split or a folder in use, DataError for annotations that cannot be used or name missing files.
    """
    if split not in range(SPLITS):
        raise UsageError(f"COCO-AD has the splits 0 to {SPLITS - 1}, not {split}.")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty. Name another folder, or remove it.")
    train = _read(coco, "train2017")
    test = _read(coco, "val2017")
    chosen = _anomalous_classes(train, split)
    good = [image for image, annotations in train.annotated() if not _of(annotations, chosen)]
    tested = [(image, _of(annotations, chosen)) for image, annotations in test.annotated()]
    _require_files(train, good)
    _require_files(test, [image for image, _ in tested])
    if not good:
        raise DataError(f"{train.table}: every annotated image has an anomalous class; nothing to train on.")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.parent / f".{out.name}.{secrets.token_hex(4)}"
    try:
        _link(train, good, beside / "train" / GOOD)
        _write_test(test, tested, beside, on_progress)
        made = _summary(train, split, len(good), tested, chosen)
        write_json(beside / SUMMARY_FILE, asdict(made))
        if out.exists():
            out.rmdir()
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return made


@dataclass(frozen=True)
class _Half:
    """The images of train2017 or val2017 and what is annotated in them."""

    folder: Path
    table: Path
    images: Mapping[int, Mapping[str, Any]]
    annotations: Mapping[int, Sequence[Mapping[str, Any]]]
    classes: Mapping[int, str]

    def annotated(self) -> list[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
        return [(self.images[number], found) for number, found in sorted(self.annotations.items())]


def _read(coco: Path, name: str) -> _Half:
    table = coco / "annotations" / f"instances_{name}.json"
    if not table.is_file() or not (coco / name).is_dir():
        missing = table if not table.is_file() else coco / name
        raise DataError(
            f"{missing} is missing; expected train2017/, val2017/ and "
            "annotations/instances_train2017.json and "
            f"instances_val2017.json in {coco}. Download COCO 2017 and unpack it there."
        )
    try:
        found = read_json(table, what="table of COCO", advice="Download it again.")
        images = {int(image["id"]): image for image in found["images"]}
        classes = {int(entry["id"]): str(entry["name"]) for entry in found["categories"]}
        annotations: dict[int, list[Mapping[str, Any]]] = {}
        for annotation in found["annotations"]:
            if int(annotation["image_id"]) not in images or int(annotation["category_id"]) not in classes:
                raise DataError(
                    f"{table}: annotation {annotation.get('id')} is of image {annotation['image_id']} and "
                    f"class {annotation['category_id']}, which the file does not list. Download it again."
                )
            annotations.setdefault(int(annotation["image_id"]), []).append(annotation)
        for image in images.values():
            _checked_image(table, image)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{table} is no file of COCO annotations ({error!r}). Download it again.") from error
    return _Half(coco / name, table, images, annotations, classes)


def _checked_image(table: Path, image: Mapping[str, Any]) -> None:
    name = str(image["file_name"])
    if Path(name).name != name or name in ("", ".", ".."):
        raise DataError(f"{table} names the image '{name}'; expected a file name without folders.")
    if not (0 < int(image["width"]) < 65536 and 0 < int(image["height"]) < 65536):
        raise DataError(f"{table} says that {name} is {image['width']} x {image['height']} pixels.")


def _anomalous_classes(train: _Half, split: int) -> frozenset[int]:
    numbers = sorted(train.classes)
    if not numbers or len(numbers) % SPLITS:
        raise DataError(
            f"{train.table} lists {len(numbers)} classes; expected {_CLASSES}, or a multiple of {SPLITS}."
        )
    size = len(numbers) // SPLITS
    return frozenset(numbers[split * size : (split + 1) * size])


def _of(annotations: Sequence[Mapping[str, Any]], chosen: frozenset[int]) -> list[Mapping[str, Any]]:
    return [annotation for annotation in annotations if int(annotation["category_id"]) in chosen]


def _require_files(half: _Half, images: Sequence[Mapping[str, Any]]) -> None:
    missing = [image["file_name"] for image in images if not (half.folder / image["file_name"]).is_file()]
    if missing:
        raise DataError(
            f"{half.table} names {len(missing)} of {len(images)} images that are not in {half.folder}: "
            f"{first_few(missing)}. Unpack the pictures again."
        )


def _link(half: _Half, images: Sequence[Mapping[str, Any]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source = half.folder.resolve()
    for image in images:
        (folder / image["file_name"]).symlink_to(source / image["file_name"])


def _write_test(
    half: _Half,
    tested: Sequence[tuple[Mapping[str, Any], list[Mapping[str, Any]]]],
    folder: Path,
    on_progress: Callable[[float], None],
) -> None:
    masks = folder / "ground_truth" / ANOMALOUS
    masks.mkdir(parents=True)
    _link(half, [image for image, found in tested if not found], folder / "test" / GOOD)
    _link(half, [image for image, found in tested if found], folder / "test" / ANOMALOUS)
    for done, (image, found) in enumerate(tested, start=1):
        if found:
            mask = _mask(half.table, image, found)
            write_image(masks / f"{Path(image['file_name']).stem}.png", mask * np.uint8(255))
        on_progress(done / len(tested))


def _mask(table: Path, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The union of the outlines, uint8 H W of 0 and 1; a crowd's run lengths count as the others."""
    from pycocotools import mask as coco_mask

    height, width = int(image["height"]), int(image["width"])
    found = np.zeros((height, width), dtype=np.uint8)
    for annotation in annotations:
        try:
            encoded = _run_lengths(coco_mask, annotation["segmentation"], height, width)
            found |= coco_mask.decode(encoded)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise DataError(
                f"{table}: the outline of annotation {annotation.get('id')} in {image['file_name']} "
                f"({width} x {height}) cannot be used: {error}. Download the annotations again."
            ) from error
    return found


def _run_lengths(coco_mask: Any, outline: Any, height: int, width: int) -> Any:
    if isinstance(outline, list):
        bad = [polygon for polygon in outline if len(polygon) < 6 or len(polygon) % 2]
        if bad or not outline:
            raise ValueError("a polygon needs three points or more")
        return coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
    if list(outline["size"]) != [height, width]:
        raise ValueError(f"its run lengths are for {outline['size']}")
    if isinstance(outline["counts"], list):
        if sum(outline["counts"]) != height * width or min(outline["counts"], default=0) < 0:
            raise ValueError("its run lengths do not add up to the image")
        return coco_mask.frPyObjects(outline, height, width)
    return outline


def _summary(
    train: _Half, split: int, good: int, tested: Sequence[tuple[Any, list[Any]]], chosen: frozenset[int]
) -> CocoAd:
    is_coco = len(train.classes) == _CLASSES
    differences = []
    if is_coco and good != _TRAIN_IMAGES[split]:
        differences.append(f"{good} training images where {_TRAIN_IMAGES[split]} were published")
    if is_coco and len(tested) != _TEST_IMAGES:
        differences.append(f"{len(tested)} test images where {_TEST_IMAGES} were published")
    anomalous = sum(bool(found) for _, found in tested)
    names = tuple(train.classes[number] for number in sorted(chosen))
    return CocoAd(split, good, len(tested) - anomalous, anomalous, names, is_coco, tuple(differences))
