"""COCO-AD from a small set in COCO's format: polygons, run lengths of both kinds, crowds, and broken "
"files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgead.cli import main
from edgead.datasets import open_dataset
from edgead.datasets.coco_ad import make_coco_ad
from edgead.datasets.masks import read_mask
from edgead.errors import DataError, UsageError
from tests.datasets.tiny_layouts import SIDE, picture

coco_mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")

SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]  # x, y: 4 x 4 pixels
CROWD = {"size": [SIDE, SIDE], "counts": [0, SIDE, SIDE * SIDE - SIDE]}  # the first column
CLASSES = [
    {"id": number, "name": f"class {number}"} for number in (1, 2, 3, 5, 7, 8, 9, 11)
]  # with gaps, as COCO


def packed() -> dict[str, Any]:
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[10:12, 10:13] = 1
    found = coco_mask.encode(mask)
    return {"size": found["size"], "counts": found["counts"].decode()}


def write(root: Path, name: str, contents: dict[int, list[tuple[int, Any]]], **changes: Any) -> None:
    """Images by number, each with its annotations: class and outline."""
    images = [
        {"id": number, "file_name": f"{number:012}.jpg", "width": SIDE, "height": SIDE} for number in contents
    ]
    for image in images:
        picture(root / name / image["file_name"])
    annotations = [
        {"id": 100 * number + k, "image_id": number, "category_id": category, "segmentation": outline,
         "iscrowd": int(isinstance(outline, dict))}
        for number, found in contents.items() for k, (category, outline) in enumerate(found)
    ]  # fmt: skip
    table = {"images": images, "annotations": annotations, "categories": CLASSES, **changes}
    path = root / "annotations" / f"instances_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    root = tmp_path / "coco"
    write(
        root,
        "train2017",
        {1: [(1, SQUARE)], 2: [(5, SQUARE)], 3: [(7, SQUARE), (2, SQUARE)], 4: [], 5: [(11, CROWD)]},
    )
    write(
        root, "val2017",
        {11: [(1, SQUARE), (2, CROWD), (7, packed())], 12: [(9, SQUARE)], 13: [], 14: [(7, packed())]},
    )  # fmt: skip
    return root


def stems(samples: Any) -> list[int]:
    return sorted(int(sample.path.stem) for sample in samples)


def test_a_split_is_a_data_set(coco: Path, tmp_path: Path) -> None:
    made = make_coco_ad(coco, tmp_path / "ad", split=0)  # classes 1 and 2
    assert made.anomalous_classes == ("class 1", "class 2")
    assert (made.train, made.test_good, made.test_anomalous) == (2, 2, 1)
    dataset = open_dataset(tmp_path / "ad")
    assert dataset.layout == "mvtec"
    assert stems(dataset.train) == [2, 5]  # 1 and 3 have an anomaly class, 4 no annotation
    assert stems(s for s in dataset.test if not s.is_anomalous) == [12, 14]
    (anomalous,) = (s for s in dataset.test if s.is_anomalous)
    mask = read_mask(anomalous.mask_path, (SIDE, SIDE))
    assert mask[2:6, 2:6].all()  # the polygon of class 1
    assert mask[:, 0].all()  # the crowd of class 2
    assert mask.sum() == 16 + SIDE  # and nothing of class 7
    assert anomalous.path.is_symlink()
    assert all(sample.path.is_symlink() for sample in dataset.train)


@pytest.mark.parametrize(
    ("split", "train", "anomalous"), [(1, [1, 3, 5], []), (2, [1, 2, 5], [11, 14]), (3, [1, 2, 3], [12])]
)
def test_the_other_splits(
    coco: Path, tmp_path: Path, split: int, train: list[int], anomalous: list[int]
) -> None:
    make_coco_ad(coco, tmp_path / "ad", split=split)
    dataset = open_dataset(tmp_path / "ad")
    assert stems(dataset.train) == train
    assert stems(s for s in dataset.test if s.is_anomalous) == anomalous


def test_run_lengths_as_text(coco: Path, tmp_path: Path) -> None:
    make_coco_ad(coco, tmp_path / "ad", split=2)
    mask = read_mask(tmp_path / "ad/ground_truth/anomalous/000000000014.png", (SIDE, SIDE))
    assert mask.sum() == 6
    assert mask[10:12, 10:13].all()


def _broken(coco: Path, how: str) -> None:
    if how == "picture lost":
        (coco / "val2017" / f"{12:012}.jpg").unlink()
    elif how == "not JSON":
        (coco / "annotations/instances_train2017.json").write_text("{")
    elif how == "no annotations":
        (coco / "annotations/instances_val2017.json").unlink()
    elif how == "two points":
        write(coco, "val2017", {11: [(1, [[1, 2, 3, 4]])]})
    elif how == "size":
        write(coco, "val2017", {11: [(1, {"size": [4, 4], "counts": [0, 16]})]})
    elif how == "sum":
        write(coco, "val2017", {11: [(1, {"size": [SIDE, SIDE], "counts": [0, 3]})]})
    elif how == "no such image":
        write(coco, "val2017", {11: [(1, SQUARE)]}, images=[])
    elif how == "path":
        bad = {"id": 11, "file_name": "../../evil.jpg", "width": SIDE, "height": SIDE}
        write(coco, "val2017", {11: [(1, SQUARE)]}, images=[bad])
    elif how == "classes":
        write(coco, "train2017", {1: [(1, SQUARE)]}, categories=CLASSES[:6])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("picture lost", r"names 1 of 3 images that are not in .*000000000012.jpg"),
        ("not JSON", "not valid JSON"),
        ("no annotations", r"instances_val2017.json is missing"),
        ("two points", "three points"),
        ("size", r"run lengths are for \[4, 4\]"),
        ("sum", "do not add up"),
        ("no such image", "is of image 11 and class 1"),
        ("path", "without folders"),
        ("classes", "lists 6 classes"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_left(
    coco: Path, tmp_path: Path, how: str, message: str
) -> None:
    _broken(coco, how)
    with pytest.raises(DataError, match=message):
        make_coco_ad(coco, tmp_path / "out" / "ad", split=0)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_splits_and_folders_in_use(coco: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 to 3"):
        make_coco_ad(coco, tmp_path / "ad", split=4)
    with pytest.raises(UsageError, match="not empty"):
        make_coco_ad(coco, coco, split=0)


def test_the_command_compares_only_coco_2017(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "ad"
    result = CliRunner().invoke(
        main, ["datasets", "coco-ad", "--coco", str(coco), "--split", "0", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert (
        "2 to train on, 2 good and 1 anomalous to test on (not COCO 2017: counts not compared)"
        in result.output
    )
    eighty = [{"id": number, "name": str(number)} for number in range(80)]
    for name in ("train2017", "val2017"):
        write(coco, name, {1: [(79, SQUARE)]}, categories=eighty)
    result = CliRunner().invoke(
        main,
        [
            "datasets",
            "coco-ad",
            "--coco",
            str(coco),
            "--split",
            "0",
            "--out",
            str(tmp_path / "b"),
            "--json",
            "-",
        ],
    )
    assert result.exit_code == 1
    assert "1 training images where 30438 were published; 1 test images where 4952" in result.stderr
