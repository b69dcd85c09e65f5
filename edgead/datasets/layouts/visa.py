"""VisA as published: Data/Images/{Normal,Anomaly}, Data/Masks/Anomaly, the split in ../split_csv/1cls.csv.

(Prepared with its authors' script, VisA is in the layout of MVTec AD.) Masks hold numbers of classes.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from edgead.datasets.layouts.base import Layout
from edgead.datasets.listing import first_few
from edgead.datasets.samples import GOOD, ImageDataset, Sample
from edgead.errors import DataError
from edgead.files import read_file

_SPLIT = "split_csv/1cls.csv"
_COLUMNS = ("object", "split", "label", "image", "mask")


def _read(root: Path, name: str) -> ImageDataset:
    table = root.parent / _SPLIT
    if not table.is_file():
        raise DataError(
            f"{root} is a product of VisA, and {table}, which says what is trained and what is tested on, is "
            "missing. Unpack the whole archive, or copy split_csv beside the products."
        )
    train: list[Sample] = []
    test: list[Sample] = []
    for row in _rows(table, root.resolve().name):
        is_good = row["label"] == "normal"
        image = root.parent / row["image"]
        mask = None if is_good or not row["mask"] else root.parent / row["mask"]
        sample = Sample(image, GOOD if is_good else "anomaly", mask, has_class_numbers=mask is not None)
        if row["split"] == "test":
            test.append(sample)
        elif is_good:
            train.append(sample)
        else:
            raise DataError(f"{table} trains on {row['image']}, an anomaly. Use 1cls.csv as published.")
    _require_files(table, [*train, *test])
    if not train:
        raise DataError(
            f"{table} has no training images of '{root.resolve().name}'. Keep the folders' names."
        )
    return ImageDataset(name, root, VISA.name, tuple(train), tuple(test))


def _rows(table: Path, product: str) -> list[dict[str, str]]:
    try:
        text = read_file(table).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table} cannot be read: {error}. Copy it again.") from error
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{table} should have the columns {', '.join(_COLUMNS)}; {first_few(missing)} is missing."
            )
        try:
            return [row for row in reader if row["object"] == product]
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{table} cannot be read: {error}. Copy it again.") from error


def _require_files(table: Path, samples: list[Sample]) -> None:
    wanted = [path for sample in samples for path in (sample.path, sample.mask_path) if path is not None]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(wanted)} files that {table} names are missing: {first_few(missing)}. "
            "Unpack the archive again."
        )


VISA = Layout("visa", "VisA", ("Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly"), _read)
