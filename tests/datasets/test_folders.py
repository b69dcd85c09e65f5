"""Opening plain folders and the MVTec AD layout, and the messages for everything that is neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgead.datasets import open_dataset
from edgead.datasets.masks import read_mask
from edgead.errors import DataError
from edgead.images import read_image, write_image

GREY = np.full((6, 8, 3), 120, np.uint8)


def _fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_plain_folder_in_sorted_order_with_leftovers_reported(tmp_path: Path) -> None:
    _fill(tmp_path, "b.PNG", "a.jpeg", "c.TiF", ".hidden.png", "notes.txt", "sub/d.png")
    dataset = open_dataset(tmp_path)
    assert [sample.path.name for sample in dataset.train] == ["a.jpeg", "b.PNG", "c.TiF"]
    assert (dataset.layout, dataset.test, dataset.name) == ("folder", (), tmp_path.name)
    assert [path.name for path in dataset.ignored] == ["notes.txt", "sub"]
    assert not any(sample.is_anomalous for sample in dataset.train)


def test_one_image_is_a_dataset(tmp_path: Path) -> None:
    assert len(open_dataset(_fill(tmp_path, "a.webp")).train) == 1


def test_train_good_alone_is_enough(tmp_path: Path) -> None:
    dataset = open_dataset(_fill(tmp_path, "train/good/000.png"))
    assert (dataset.layout, len(dataset.train), dataset.test, dataset.kinds) == ("mvtec", 1, (), ())


@pytest.mark.parametrize("mask", ["000_mask.png", "000.png", "000_mask.BMP"])
def test_masks_are_found_by_name(tmp_path: Path, mask: str) -> None:
    root = _fill(
        tmp_path, "train/good/0.png", "test/good/0.png", "test/hole/000.JPG", f"ground_truth/hole/{mask}"
    )
    dataset = open_dataset(root)
    assert dataset.kinds == ("good", "hole")
    good, bad = dataset.test
    assert (good.is_anomalous, good.mask_path) == (False, None)
    assert (bad.is_anomalous, bad.mask_path) == (True, root / "ground_truth" / "hole" / mask)


def test_a_kind_without_any_masks_has_none(tmp_path: Path) -> None:
    root = _fill(tmp_path, "train/good/0.png", "test/bad/0.png", "test/hole/0.png", "ground_truth/hole/0.png")
    assert [sample.mask_path is None for sample in open_dataset(root).test] == [True, False]


def test_leftovers_of_the_mvtec_layout_are_reported(tmp_path: Path) -> None:
    root = _fill(
        tmp_path, "train/good/0.png", "train/bad/0.png", "train/good/Thumbs.db", "test/hole/0.png",
        "ground_truth/hole/0.png", "ground_truth/hole/9.png", "ground_truth/hole/read.me",
    )  # fmt: skip
    ignored = {path.relative_to(root).as_posix() for path in open_dataset(root).ignored}
    assert ignored == {
        "train/bad", "train/good/Thumbs.db", "ground_truth/hole/9.png", "ground_truth/hole/read.me",
    }  # fmt: skip


HOLE = "ground_truth/hole"
REFUSED = {
    "empty": ((), "found nothing"),
    "no image among files": (("a.txt",), r"1 other files \(such as a.txt\)"),
    "images one level down": (("good/a.png",), "the folders good"),
    "train without good": (("train/fine/a.png",), "found fine"),
    "train with images alone": (("train/a.png",), "found no folder"),
    "good without images": (("train/good/a.txt",), "holds no images"),
    "one mask missing": (
        ("train/good/a.png", "test/hole/1.png", "test/hole/2.png", f"{HOLE}/1.png"),
        "2.png",
    ),
    "all masks missing": (
        ("train/good/a.png", "test/hole/1.png", f"{HOLE}/.keep"),
        "1 of 1 images of kind 'hole'",
    ),
    "two masks": (
        ("train/good/a.png", "test/hole/1.png", f"{HOLE}/1.png", f"{HOLE}/1_mask.png"),
        "has 2 masks",
    ),
    "mask of two": (
        ("train/good/a.png", "test/hole/1.png", "test/hole/1.jpg", f"{HOLE}/1.png"),
        "another image",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_was_found(tmp_path: Path, case: str) -> None:
    names, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(_fill(tmp_path, *names))
    assert str(tmp_path) in str(caught.value)


def test_missing_folder_and_file_instead_of_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(tmp_path / "none")
    write_image(tmp_path / "a.png", GREY)
    with pytest.raises(DataError, match="is a file"):
        open_dataset(tmp_path / "a.png")


@pytest.mark.parametrize(("name", "train", "test"), [("mtd", 758, 586), ("pcb", 81, 52)])
def test_real_folders_open_and_read(shared_data: Path, name: str, train: int, test: int) -> None:
    dataset = open_dataset(shared_data / name)
    assert (len(dataset.train), len(dataset.test), dataset.ignored) == (train, test, ())
    for sample in dataset.train[::40] + dataset.test[::20]:
        image = read_image(sample.path)
        assert image.shape[2] == 3
        assert (sample.mask_path is not None) == sample.is_anomalous
        if sample.mask_path:
            assert read_mask(sample.mask_path, (image.shape[0], image.shape[1])).any()
