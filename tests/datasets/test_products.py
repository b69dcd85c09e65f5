"""Several products for one model: names, splits, and folders that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgead.datasets import open_products
from edgead.errors import DataError, UsageError
from tests.training.small_training import draw_good


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("products")
    draw_good(root / "screw" / "train" / "good", count=10)
    draw_good(root / "nut", count=4, seed=1)
    return root


def opened(*paths: Path):
    return open_products(paths, validation_fraction=0.2, seed=0)


def test_one_product_is_what_it_was_without_others(root: Path):
    alone, together = opened(root / "nut"), opened(root / "screw", root / "nut")
    assert alone.name == "nut"
    assert together.name == "screw+nut"
    assert alone.digest == alone.products[0].split.digest
    assert together.products[1].split == alone.products[0].split
    assert together.digest != alone.digest


def test_each_product_has_images_held_out(root: Path):
    products = opened(root / "screw", root / "nut")
    assert [len(own) for own in products.train] == [8, 3]
    assert [len(own) for own in products.validation] == [2, 1]


def test_files_of_equal_name_are_told_apart_by_their_product(root: Path):
    products = opened(root / "screw", root / "nut")
    names = [
        products.file_name(number, sample)
        for number in (0, 1)
        for sample in (*products.train[number], *products.validation[number])
    ]
    assert len(set(names)) == 14
    assert "screw/train/good/000.png" in names
    assert "nut/000.png" in names
    assert len(products.hashes) == 14


def test_folders_called_alike_get_the_folder_above_in_their_names(tmp_path: Path):
    for name in ("a", "b"):
        draw_good(tmp_path / name / "good", count=3, seed=ord(name))
    products = opened(tmp_path / "a" / "good", tmp_path / "b" / "good")
    assert [product.name for product in products.products] == ["a/good", "b/good"]


def test_the_order_of_the_products_is_that_of_the_training(root: Path):
    assert opened(root / "nut", root / "screw").digest != opened(root / "screw", root / "nut").digest


def test_the_same_folder_twice(root: Path):
    with pytest.raises(UsageError, match="given twice"):
        opened(root / "nut", root / "screw", root / "." / "nut")


def test_no_folder():
    with pytest.raises(UsageError, match="one or more"):
        open_products([], validation_fraction=0.2, seed=0)


def test_a_product_without_good_images_is_named(root: Path, tmp_path: Path):
    (tmp_path / "clip" / "train" / "good").mkdir(parents=True)
    with pytest.raises(DataError, match="clip"):
        opened(root / "nut", tmp_path / "clip")


def test_a_product_with_one_good_image_is_named(root: Path, tmp_path: Path):
    draw_good(tmp_path / "clip", count=1)
    with pytest.raises(DataError, match=r"clip: .* at least 2"):
        opened(root / "nut", tmp_path / "clip")
