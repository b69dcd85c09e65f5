"""The drawn demo: reproducible, exact masks, defects that range from clear to faint, nothing half-drawn."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

import edgead.datasets.demo as demo
from edgead.datasets import draw_demo, open_dataset
from edgead.datasets.demo.scene import Camera, DrawnProduct, changed, photograph_defect, photograph_good
from edgead.datasets.masks import read_mask
from edgead.errors import DataError, UnknownNameError, UsageError
from edgead.images import read_image

EVERY_KIND = [(name, kind) for name, make in demo.PRODUCTS.items() for kind in make().kinds]


@pytest.fixture(params=list(demo.PRODUCTS))
def product(request: pytest.FixtureRequest) -> DrawnProduct:
    return demo.PRODUCTS[request.param]()


def _bytes(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def _small(root: Path, **changes: object) -> list[Path]:
    settings: dict[str, object] = {"train_images": 2, "test_images": 1, "defects_per_kind": 1, **changes}
    return draw_demo(root, **settings)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    _small(tmp_path / "a", seed=3)
    _small(tmp_path / "b", seed=3)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_another_seed_changes_every_picture(tmp_path: Path) -> None:
    (one,) = _small(tmp_path / "a", products=["board"], defects_per_kind=0, seed=1)
    (two,) = _small(tmp_path / "b", products=["board"], defects_per_kind=0, seed=2)
    first, second = _bytes(one), _bytes(two)
    assert not any(first[name] == second[name] for name in first)


def test_a_smaller_demo_is_a_part_of_a_larger_one(tmp_path: Path) -> None:
    (small,) = _small(tmp_path / "a", products=["metal"])
    (large,) = _small(tmp_path / "b", products=["metal"], train_images=3, defects_per_kind=2)
    few, many = _bytes(small), _bytes(large)
    assert {name for name in few if few[name] != many[name]} == {"demo.json"}


def test_the_demo_opens_as_a_dataset(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folders = _small(tmp_path, on_progress=lambda done, total: told.append((done, total)))
    assert [folder.name for folder in folders] == ["metal", "fabric", "board"]
    for folder in folders:
        dataset = open_dataset(folder)
        assert (dataset.layout, len(dataset.train), dataset.ignored) == ("mvtec", 2, ())
        assert len(dataset.kinds) >= 6  # good and five kinds
        for sample in dataset.test:
            image = read_image(sample.path)
            assert image.shape == (320, 320, 3)
            if sample.mask_path:
                assert 12 <= read_mask(sample.mask_path, (320, 320)).sum() < 0.3 * 320 * 320
    assert told == [(done, told[-1][1]) for done in range(1, told[-1][1] + 1)]


def test_good_parts_vary_within_bounds(product: DrawnProduct) -> None:
    pictures = [photograph_good(product, np.random.default_rng(seed)).astype(int) for seed in range(4)]
    for index, picture in enumerate(pictures):
        assert (picture == 255).mean() < 0.01
        assert 8 < picture.std() < 90
        others = [np.abs(picture - other).mean() for other in pictures[:index]]
        assert all(2 < difference < 60 for difference in others)


@pytest.mark.parametrize(("name", "kind"), EVERY_KIND)
def test_masks_are_exact(name: str, kind: str) -> None:
    """Outside its mask a defect leaves the picture as it was; the good part it was made from is untouched."""
    product = demo.PRODUCTS[name]()
    rng = np.random.default_rng(5)
    part, camera = product.draw(rng), Camera.draw(rng)
    clean = camera.expose(product.render(part))
    spoiled = camera.expose(product.render(product.spoil(part, kind, 0.9, rng)))
    np.testing.assert_array_equal(camera.expose(product.render(part)), clean)
    mask = changed(clean, spoiled)
    difference = np.abs(spoiled - clean).max(axis=2)
    assert mask.any()
    assert difference[~mask].mean() < 0.3
    assert np.quantile(difference[~mask], 0.999) < 10
    assert np.median(difference[mask]) > 4


@pytest.mark.parametrize(("name", "kind"), EVERY_KIND)
def test_even_the_faintest_defect_has_a_mask(name: str, kind: str) -> None:
    image, mask = photograph_defect(demo.PRODUCTS[name](), kind, 0.0, np.random.default_rng(8))
    assert image.dtype == np.uint8
    assert mask.sum() >= 12


def test_strength_shows(product: DrawnProduct) -> None:
    """Over the kinds and a few seeds, strong defects change more than faint ones."""
    changes = {}
    for strength in (0.2, 1.0):
        total = 0.0
        for number, kind in enumerate(product.kinds):
            rng = np.random.default_rng([11, number])
            part = product.draw(rng)
            difference = product.render(product.spoil(part, kind, strength, rng)) - product.render(part)
            total += float(np.abs(difference).mean())
        changes[strength] = total
    assert changes[1.0] > 2 * changes[0.2]


def test_changed_knows_nothing_and_a_square() -> None:
    clean = np.full((320, 320, 3), 100, np.float32)
    assert not changed(clean, clean).any()
    spoiled = clean.copy()
    spoiled[50:60, 70:90, 1] += 30
    mask = changed(clean, spoiled)
    assert mask[50:60, 70:90].all()
    assert mask.sum() <= 12 * 22


def test_a_finished_drawing_is_kept_and_another_is_refused(tmp_path: Path) -> None:
    (folder,) = _small(tmp_path, products=["metal"], defects_per_kind=0)
    before = (folder / "train" / "good" / "000.png").stat().st_mtime_ns
    _small(tmp_path, products=["metal"], defects_per_kind=0)
    assert (folder / "train" / "good" / "000.png").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="another drawing"):
        _small(tmp_path, products=["metal"], defects_per_kind=0, seed=1)
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "mine.txt").touch()
    with pytest.raises(DataError, match="not a drawn demo"):
        _small(tmp_path, products=["board"])


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = demo.write_image, []

    def full_disk(path: Path, picture: np.ndarray) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, picture)

    monkeypatch.setattr(demo, "write_image", full_disk)
    with pytest.raises(DataError, match="No space left"):
        _small(tmp_path, products=["board"])
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean metal"):
        draw_demo(tmp_path, products=["metall"])
    with pytest.raises(UsageError, match="train_images must be 0 or more"):
        draw_demo(tmp_path, train_images=-1)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be made"):
        _small(tmp_path / "file", products=["metal"])
