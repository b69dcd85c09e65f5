"""Every published layout, tiny: recognised, read, its masks decoded; and what is said of a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgead.datasets import open_collection, open_dataset
from edgead.datasets.masks import read_mask
from edgead.errors import DataError
from tests.datasets import tiny_layouts as tiny

# make, layout, good to train on, good and defective to test on, set apart, pixels of the masks
LAYOUTS = {
    "MVTec AD": (tiny.mvtec, "mvtec", 2, 1, 1, 0, 16),
    "MVTec 3D": (tiny.mvtec_3d, "mvtec-3d", 2, 1, 1, 1, 16),
    "MVTec LOCO": (tiny.mvtec_loco, "mvtec-loco", 2, 1, 2, 1, 48),
    "BTAD": (tiny.btad, "btad", 2, 1, 1, 0, 16),
    "VisA": (tiny.visa, "visa", 2, 1, 1, 0, 16),
    "Real-IAD": (tiny.real_iad, "real-iad", 2, 2, 2, 0, 32),
    "KolektorSDD2": (tiny.kolektor, "kolektor-sdd2", 2, 2, 1, 0, 16),
    "DeepPCB": (tiny.deep_pcb, "deep-pcb", 1, 1, 1, 0, 24),
    "VAD": (tiny.vad, "mvtec", 2, 1, 1, 0, 0),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_layout_is_recognised_and_read(tmp_path: Path, case: str) -> None:
    make, layout, train, good, bad, apart, pixels = LAYOUTS[case]
    product = make(tmp_path)
    for dataset in (open_dataset(product), open_collection(product)[0], open_collection(product.parent)[0]):
        assert (dataset.name, dataset.layout) == (product.name, layout)
        defective = [sample for sample in dataset.test if sample.is_anomalous]
        counts = (len(dataset.train), len(dataset.test) - len(defective), len(defective))
        assert (*counts, len(dataset.validation)) == (train, good, bad, apart)
        assert not any(sample.is_anomalous for sample in dataset.train)
        assert all(sample.path.is_file() for sample in (*dataset.train, *dataset.test))
        masks = [
            read_mask(s.mask_path, (tiny.SIDE, tiny.SIDE), has_class_numbers=s.has_class_numbers)
            for s in defective
            if s.mask_path
        ]
        assert sum(int(mask.sum()) for mask in masks) == pixels


def test_magnetic_tiles_are_split_by_name_alone(tmp_path: Path) -> None:
    first, second = (open_dataset(tiny.magnetic_tile(tmp_path / name)) for name in ("a", "b"))
    names = [sample.path.name for sample in first.train]
    assert names == [sample.path.name for sample in second.train]
    assert first.kinds == ("good", "blowhole", "crack")
    assert len(names) + sum(not s.is_anomalous for s in first.test) == 20
    assert 10 <= len(names) < 20


def test_views_of_a_part_belong_together(tmp_path: Path) -> None:
    dataset = open_dataset(tiny.real_iad(tmp_path))
    assert {sample.part for sample in dataset.test} == {"OK/S0002", "NG/AK/S0003"}


def _without(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.unlink() if path.is_file() else path.rename(path.with_name(f".{path.name}"))
    return root


def _wrong_json(root: Path) -> Path:
    product = tiny.real_iad(root)
    table = root / "realiad_jsons/realiad_jsons/audiojack.json"
    split = json.loads(table.read_text())
    split["train"][0]["image_path"] = "../../../etc/passwd"
    table.write_text(json.dumps(split))
    return product


def _defects_in_training(root: Path) -> Path:
    product = tiny.real_iad(root)
    table = root / "realiad_jsons/realiad_jsons/audiojack.json"
    split = json.loads(table.read_text())
    table.write_text(json.dumps({"train": split["test"], "test": split["train"]}))
    return product


REFUSED = {
    "BTAD without ok": (lambda r: _without(tiny.btad(r), "train/ok"), "layout of BTAD, and train/ok"),
    "VisA without masks": (
        lambda r: _without(tiny.visa(r), "Data/Masks/Anomaly"), "layout of VisA, and Data/Masks"),
    "VisA without split": (lambda r: _without(tiny.visa(r), "../split_csv"), r"1cls.csv.*missing"),
    "VisA with a file lost": (
        lambda r: _without(tiny.visa(r), "Data/Images/Normal/0000.JPG"), "1 of 5 files .*0000.JPG"),
    "VisA with another split": (
        lambda r: tiny.text(r / "split_csv/1cls.csv", "a,b\n1,2\n") and _visa_again(r), "columns object"),
    "LOCO with a mask lost": (
        lambda r: _without(tiny.mvtec_loco(r), "ground_truth/logical_anomalies/000"), "1 of 1 images"),
    "Real-IAD without split": (lambda r: _without(tiny.real_iad(r), "../../realiad_jsons"), "audiojack.json"),
    "Real-IAD pointing outside": (_wrong_json, "outside of"),
    "Real-IAD with defects to train on": (_defects_in_training, "2 defective ones"),
    "Kolektor with a mask lost": (
        lambda r: _without(tiny.kolektor(r), "train/10000_GT.png"), "1 images .*10000"),
    "DeepPCB with a board lost": (
        lambda r: _without(tiny.deep_pcb(r), "group00041/00041/00041001_test.jpg"), "1 of 4 files"),
    "DeepPCB with a strange list": (
        lambda r: tiny.text(tiny.deep_pcb(r) / "test.txt", "only-one\n").parent, "an image and a text file"),
    "a folder of products": (lambda r: tiny.mvtec(r).parent, r"folders of 1 products: bottle"),
}  # fmt: skip


def _visa_again(root: Path) -> Path:
    tiny.visa(root)
    tiny.text(root / "split_csv/1cls.csv", "a,b\n1,2\n")
    return root / "candle"


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said(tmp_path: Path, case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        open_dataset(make(tmp_path))


def test_a_collection_of_nothing_says_what_it_resembles(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing"):
        open_collection(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        open_collection(tmp_path / "none")


def test_boxes_and_folders_stand_for_masks(tmp_path: Path) -> None:
    boxes = tiny.text(tmp_path / "a.txt", "1 2 3 4 5\n\n0,0,16,1,2\n")
    found = read_mask(boxes, (16, 16))
    assert found.sum() == 4 + 16
    assert found[2:4, 1:3].all()
    for content, message in (
        ("1 2 3", "line 1: expected left"),
        ("0 0 17 2", "outside"),
        ("x y z w", "line 1"),
    ):
        with pytest.raises(DataError, match=message):
            read_mask(tiny.text(tmp_path / "b.txt", content), (16, 16))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        read_mask(tmp_path / "empty", (16, 16))


def test_class_numbers_need_to_be_announced(tmp_path: Path) -> None:
    path = tiny.mask(tmp_path / "m.png", value=3)
    with pytest.raises(DataError, match="numbers of classes"):
        read_mask(path, (16, 16))
    assert read_mask(path, (16, 16), has_class_numbers=True).sum() == 16
    assert not np.any(read_mask(tiny.mask(tmp_path / "n.png", value=0), (16, 16), has_class_numbers=True))
