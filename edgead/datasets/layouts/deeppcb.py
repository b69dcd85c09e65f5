"""DeepPCB: the templates are good boards, the tested ones defective; boxes in text files stand for masks.

    PCBData/trainval.txt   lines "group20085/20085/20085291.jpg group20085/20085_not/20085291.txt"
    PCBData/test.txt       the same for testing
    PCBData/group20085/20085/20085291_temp.jpg, 20085291_test.jpg

Training takes the templates of trainval.txt; testing takes template and tested board of test.txt.
"""

from __future__ import annotations

from pathlib import Path

from edgead.datasets.layouts.base import Layout
from edgead.datasets.listing import first_few
from edgead.datasets.samples import ImageDataset, Sample
from edgead.errors import DataError


def _read(root: Path, name: str) -> ImageDataset:
    train = [Sample(_picture(root / image, "temp")) for image, _ in _pairs(root, "trainval.txt")]
    test: list[Sample] = []
    for image, boxes in _pairs(root, "test.txt"):
        test.append(Sample(_picture(root / image, "temp")))
        test.append(Sample(_picture(root / image, "test"), "defect", root / boxes))
    wanted = [path for sample in train + test for path in (sample.path, sample.mask_path) if path]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(wanted)} files that trainval.txt and test.txt in {root} name are "
            f"missing: {first_few(missing)}. Copy the data set again."
        )
    return ImageDataset(name, root, DEEP_PCB.name, tuple(train), tuple(test))


def _pairs(root: Path, table: str) -> list[tuple[str, str]]:
    lines = [line.split() for line in (root / table).read_text(encoding="utf-8").splitlines() if line.strip()]
    bad = next((line for line in lines if len(line) != 2), None)
    if bad is not None or not lines:
        raise DataError(
            f"{root / table} should hold an image and a text file per line; found {bad or 'nothing'}."
        )
    for path in (path for line in lines for path in line):
        if not (root / path).resolve().is_relative_to(root.resolve()):
            raise DataError(f"{root / table} names {path}, outside of {root}. Copy it again.")
    return [(image, boxes) for image, boxes in lines]


def _picture(listed: Path, which: str) -> Path:
    return listed.with_name(f"{listed.stem}_{which}{listed.suffix}")


DEEP_PCB = Layout("deep-pcb", "DeepPCB", ("trainval.txt", "test.txt", "group*"), _read)
