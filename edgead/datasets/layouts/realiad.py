"""Real-IAD: <product>/{OK,NG/<kind>}/S0001/*.jpg, with the split in a JSON file beside the products' folder.

Five cameras see each part; a part's views are in one folder, S0001. The JSON file of a product is looked for
as <product>.json in ../realiad_jsons/realiad_jsons, ../../realiad_jsons/realiad_jsons and above each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgead.datasets.layouts.base import Layout
from edgead.datasets.listing import first_few
from edgead.datasets.samples import GOOD, ImageDataset, Sample
from edgead.errors import DataError
from edgead.records import read_json

_FOLDERS = ("realiad_jsons/realiad_jsons", "realiad_jsons", ".")


def _read(root: Path, name: str) -> ImageDataset:
    product = root.resolve().name
    table = _split_file(root.resolve(), product)
    split = _parsed(table)
    good = str(split.get("meta", {}).get("normal_class", "OK"))
    train = [_sample(root, entry, good, table) for entry in split["train"]]
    test = [_sample(root, entry, good, table) for entry in split["test"]]
    wanted = [path for sample in train + test for path in (sample.path, sample.mask_path) if path]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(wanted)} files that {table} names are missing: {first_few(missing)}. "
            "Unpack the product's archive again."
        )
    defective = [sample.path for sample in train if sample.is_anomalous]
    if defective or not train:
        found = f"{len(defective)} defective ones" if defective else "none"
        raise DataError(
            f"{table} should name good images to train on; found {found}. "
            "Use the unsupervised split (realiad_jsons), not one with defects in training "
            "(realiad_jsons_fuiad)."
        )
    return ImageDataset(name, root, REAL_IAD.name, tuple(train), tuple(test))


def _split_file(root: Path, product: str) -> Path:
    candidates = [
        above / folder / f"{product}.json" for above in (root.parent, root.parents[1]) for folder in _FOLDERS
    ]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise DataError(
            f"{root} is a product of Real-IAD, and its split, {product}.json, is missing; looked for "
            f"{candidates[0]} and {len(candidates) - 1} other places. Unpack realiad_jsons beside the "
            "products."
        )
    return found


def _parsed(table: Path) -> dict[str, Any]:
    split = read_json(table, what="table of Real-IAD", advice="Copy it again.")
    parts = (split.get("train"), split.get("test")) if isinstance(split, dict) else (None,)
    if not all(isinstance(part, list) for part in parts):
        raise DataError(f"{table} should hold the lists 'train' and 'test'. Copy it again.")
    return dict(split)


def _sample(root: Path, entry: Any, good: str, table: Path) -> Sample:
    try:
        kind, image, mask = entry["anomaly_class"], root / entry["image_path"], entry.get("mask_path")
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{table} should say 'anomaly_class' and 'image_path' of each image; found {str(entry)[:80]}."
        ) from error
    if not image.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{table} names {entry['image_path']}, outside of {root}. Copy it again.")
    part = image.parent.relative_to(root).as_posix()
    return Sample(image, GOOD if kind == good else str(kind), root / mask if mask else None, part=part)


REAL_IAD = Layout("real-iad", "Real-IAD", ("OK/S*", "NG"), _read)
