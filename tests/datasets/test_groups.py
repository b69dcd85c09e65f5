"""Images of one part stay together: by name, by file, by a data set's own names, or as near duplicates."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.datasets import Sample, open_dataset, split_good
from edgead.datasets.groups import EACH_ALONE, find_groups, joined, near_duplicates, resolved
from edgead.datasets.samples import ImageDataset
from edgead.datasets.thumbnails import ThumbnailControl, thumbnail_control, thumbnails
from edgead.errors import DataError, UsageError


def _samples(*names: str) -> list[Sample]:
    return [Sample(Path("parts") / name) for name in names]


def _tile(number: int, *, exposure: float = 1.0) -> np.ndarray:
    """A part of its own look (low-frequency shading) under an exposure."""
    coarse = np.random.default_rng(number).uniform(40, 160, (6, 6)).astype(np.float32)
    shaded = cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC) * exposure
    noise = np.random.default_rng([number, int(100 * exposure)]).normal(0, 2, (96, 96))
    return np.clip(shaded + noise, 0, 255).astype(np.uint8)


def _photographs(folder: Path, parts: range, exposures: tuple[float, ...] = (0.7, 1.0, 1.3)) -> list[Sample]:
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        for exposure in exposures:
            cv2.imwrite(str(folder / f"p{part:02}_e{exposure:g}.png"), _tile(part, exposure=exposure))
    return [Sample(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize(
    ("names", "group_by", "labels"),
    [
        (("a1_x.png", "a1_y.png", "b2_x.png"), r"^[a-z]\d", (0, 0, 1)),
        (("x-7.png", "y-7.png", "z-8.png"), r"-(\d)", (0, 0, 1)),
        (("x.png", "y.png"), EACH_ALONE, (0, 1)),
        (("kos01_Part1.jpg", "kos02_Part1.jpg", "kos01_Part8.jpg"), "content", (0, 1, 0)),
        (("0003_000_03_x0.png", "0003_000_03_x256.png", "0004_000_03_x0.png"), "content", (0, 0, 1)),
    ],
)
def test_names_state_groups(names: tuple[str, ...], group_by: str, labels: tuple[int, ...]):
    assert find_groups(_samples(*names), group_by).labels == labels


def test_the_layouts_parts_are_groups():
    samples = [Sample(Path(f"{n}.png"), part=part) for n, part in enumerate(("s1", "s2", "s1"))]
    assert find_groups(samples).labels == (0, 1, 0)


@pytest.mark.parametrize(
    ("group_by", "message"),
    [("(", "no regular expression"), (r"lot(\d+)", "does not match the name x.png")],
)
def test_expressions_that_cannot_group_are_refused(group_by: str, message: str):
    with pytest.raises(UsageError, match=message):
        find_groups(_samples("x.png", "lot1.png"), group_by)


def test_a_file_names_groups(tmp_path):
    table = tmp_path / "lots.csv"
    table.write_text("file,group\nb.png,two\na.png,one\nc.png,two\n")
    assert find_groups(_samples("a.png", "b.png", "c.png"), str(table)).labels == (0, 1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,group\na.png,one\n", "names no group of 1 images, such as b.png"),
        ("name,lot\na.png,one\n", "columns file and group; found name, lot"),
        ("", "found nothing"),
        ("file,group\na.png\n", "line 2: expected a file and its group"),
        ("file,group\na.png,one\na.png,two\n", "a.png has two groups"),
        (None, "cannot be read"),
    ],
)
def test_files_that_cannot_group_are_refused(tmp_path, text: str | None, message: str):
    table = tmp_path / "lots.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(DataError, match=message):
        find_groups(_samples("a.png", "b.png"), str(table))


def test_photographs_of_one_part_are_found_by_content(tmp_path):
    samples = _photographs(tmp_path / "good", range(30))
    found = find_groups(samples)
    parts = [sample.path.name[:3] for sample in samples]
    assert found.found_by == "near duplicates"
    assert found.count == 30
    assert len(set(zip(found.labels, parts, strict=True))) == 30


def test_blocks_of_rows_join_as_one_table_would(tmp_path, monkeypatch):
    images = thumbnails(sample.path for sample in _photographs(tmp_path / "good", range(7)))
    whole = near_duplicates(images)
    monkeypatch.setattr("edgead.datasets.groups._ROWS_AT_ONCE", 2)
    assert near_duplicates(images) == whole


def test_parts_that_all_look_alike_stay_alone_and_it_is_said(tmp_path):
    _photographs(tmp_path / "good", range(1), tuple(1 + n / 100 for n in range(12)))
    samples = _photographs(tmp_path / "good", range(1, 3), (1.0,))
    found = find_groups(samples)
    assert found.count == len(samples) == 14
    assert "too alike" in found.found_by


def test_labels_join_over_chains():
    assert joined((0, 0, 1, 2), ("a", "b", "b", "c")) == (0, 0, 0, 1)


def test_no_group_is_on_both_sides(tmp_path):
    samples = _photographs(tmp_path / "good", range(30))
    split = split_good(samples, validation_fraction=0.2, group_by="content")
    trained, held = ({s.path.name[:3] for s in side} for side in (split.train, split.validation))
    assert held
    assert not trained & held
    assert len(set(split.validation_groups)) == len(held)
    assert not set(split.train_groups) & set(split.validation_groups)
    assert len(split.validation) == 18


def test_one_group_cannot_be_split(tmp_path):
    samples = _photographs(tmp_path / "good", range(3))
    with pytest.raises(DataError, match="of one group"):
        split_good(samples, group_by="^p")


def _dataset(folder: Path, *, same_parts: bool) -> ImageDataset:
    train = tuple(_photographs(folder / "train", range(30), (0.8, 1.2)))
    good = tuple(_photographs(folder / "test", range(10) if same_parts else range(40, 50), (1.0,)))
    _photographs(folder / "hole", range(60, 70), (1.0,))
    bad = tuple(Sample(path, kind="hole") for path in sorted((folder / "hole").iterdir()))
    return ImageDataset("tiles", folder, "folder", train=train, test=good + bad)


def test_the_control_shows_parts_that_are_in_training_and_test(tmp_path):
    leaking = thumbnail_control(_dataset(tmp_path / "leaking", same_parts=True))
    assert leaking is not None
    assert leaking.auroc is not None
    assert leaking.auroc > 0.95
    assert leaking.good_share > 0.9
    assert "near duplicate in training" in leaking.warning
    clean = thumbnail_control(_dataset(tmp_path / "clean", same_parts=False))
    assert clean is not None
    assert clean.auroc is not None
    assert 0.2 < clean.auroc < 0.8
    assert clean.good_share < 0.2


def test_the_control_warns_of_thumbnails_that_see_the_defects():
    assert "0.816" in ThumbnailControl(0.816, 0.7, 0.6).warning
    assert ThumbnailControl(0.55, 0.3, 0.3).warning == ""
    assert ThumbnailControl(None, 0.0, 0.0).warning == ""


def test_without_training_images_there_is_no_control(tmp_path):
    samples = tuple(_photographs(tmp_path / "good", range(2)))
    assert thumbnail_control(ImageDataset("x", tmp_path, "folder", train=(), test=samples)) is None


def test_flat_images_are_like_no_other(tmp_path):
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((64, 64), 40 * number, np.uint8))
    assert find_groups(open_dataset(tmp_path).train).count == 4


def test_a_file_of_groups_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lots.csv").write_text("file,group\na.png,1\n")
    monkeypatch.chdir(tmp_path)
    assert resolved("lots.csv") == str(tmp_path / "lots.csv")
    assert [resolved(text) for text in ("image", r"lot-(\d+)")] == ["image", r"lot-(\d+)"]
    with pytest.raises(DataError, match=r"no file .*lot\.csv"):
        resolved("lot.csv")


def test_the_control_in_parts_is_that_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for folder, parts in (("train/good", range(6)), ("test/good", range(4, 9)), ("test/bad", range(20, 25))):
        _photographs(tmp_path / folder, parts)
    dataset = open_dataset(tmp_path)
    whole = thumbnail_control(dataset)
    monkeypatch.setattr("edgead.datasets.thumbnails._ROWS_AT_ONCE", 2)
    assert whole is not None
    assert thumbnail_control(dataset) == whole
