"""One listing of pictures for every command: hidden files, links, other suffixes, what is said of them."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.cameras.folder import find_pictures
from edgead.datasets import open_dataset
from edgead.errors import DataError
from edgead.inspection.files import find_images
from edgead.picture_files import pictures_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures to find, one of them below, and what lies about in folders of users."""
    root = tmp_path / "parts"
    (root / "cam2").mkdir(parents=True)
    (root / ".ipynb_checkpoints").mkdir()
    content = cv2.imencode(".jpg", np.full((40, 40, 3), 90, np.uint8))[1].tobytes()
    for name in ("a.jpg", "b.jfif", "c.JPE", "cam2/d.jpeg", ".ipynb_checkpoints/a.jpg", "._a.jpg"):
        (root / name).write_bytes(content)
    (root / "notes.txt").write_text("of the shift")
    (root / "gone.png").symlink_to("/nowhere/x.png")
    (root / "cam2" / "round").symlink_to(root, target_is_directory=True)
    os.mkfifo(root / "pipe.png")
    return root


BELOW = {"a.jpg", "b.jfif", "c.JPE", "d.jpeg"}


def test_every_search_finds_the_same(folder: Path):
    assert {path.name for path in pictures_in(folder, below=True).pictures} == BELOW
    assert {path.name for path in find_images([str(folder)]).pictures} == BELOW
    assert {path.name for path in find_pictures(str(folder))} == BELOW


def test_a_linked_folder_is_searched(folder: Path, tmp_path: Path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "p").symlink_to(folder, target_is_directory=True)
    assert {path.name for path in find_images([str(tmp_path / "links")]).pictures} == BELOW


def test_what_is_left_out_is_said_with_the_reason(folder: Path):
    found = pictures_in(folder, below=True)
    words = found.describe(folder)
    assert words.startswith("3 left out (")
    for part in ("1 a link to nothing", "1 no picture by its name", "1 no file", "gone.png", "notes.txt"):
        assert part in words
    assert "ipynb" not in words


def test_a_folder_without_pictures_says_what_it_has(tmp_path: Path):
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(DataError, match=r"found none; 1 left out \(1 no picture by its name\): a.xyz"):
        find_images([str(tmp_path)])


def test_a_plain_folder_is_a_data_set_of_its_own_pictures(folder: Path):
    dataset = open_dataset(folder)
    assert [sample.path.name for sample in dataset.train] == ["a.jpg", "b.jfif", "c.JPE"]
    assert "1 a folder" in dataset.ignored_in_words


@pytest.mark.parametrize("good", ["good", "Good", "OK", "ok", "normal", "NORMAL"])
def test_good_parts_by_any_of_their_names(folder: Path, tmp_path: Path, good: str):
    root = tmp_path / "d"
    for name in (f"train/{good}", f"test/{good}", "test/NG", "ground_truth/other"):
        (root / name).mkdir(parents=True)
        (root / name / "1.jpg").write_bytes((folder / "a.jpg").read_bytes())
    dataset = open_dataset(root)
    assert sorted(sample.is_anomalous for sample in dataset.test) == [False, True]
    assert len(dataset.train) == 1
    assert "ground_truth/other" in dataset.ignored_in_words


def test_two_folders_of_good_parts_are_one_too_many(folder: Path, tmp_path: Path):
    for name in ("good", "OK"):
        (tmp_path / "d" / "train" / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"one folder 'good'.*found OK, good"):
        open_dataset(tmp_path / "d")
