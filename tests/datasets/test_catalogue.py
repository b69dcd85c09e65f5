"""The catalogue against published sums, and copies of data sets against the catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgead.cli import main
from edgead.datasets import catalogue
from edgead.datasets.catalogue import check_copy, published_dataset, published_datasets
from edgead.datasets.layouts import LAYOUTS
from edgead.errors import DataError, UnknownNameError
from tests.datasets import tiny_layouts as tiny

# good to train on, good and defective to test on, as the papers state them over all products
SUMS = {
    "mvtec": (3629, 467, 1258),
    "mvtec-3d": (2656, 249, 948, 294),
    "mvtec-loco": (1778, 575, 993, 305),
    "visa": (8659, 962, 1200),
    "btad": (1799, 451, 290),
    "mpdd": (888, 176, 282),
}


@pytest.mark.parametrize("name", SUMS)
def test_products_add_up_to_the_published_sums(name: str) -> None:
    rows = published_dataset(name).counts.values()
    assert tuple(sum(column) for column in zip(*rows, strict=True)) == SUMS[name]


def test_every_entry_can_be_read_and_can_be_got() -> None:
    layouts = {layout.name for layout in LAYOUTS} | {catalogue.TEXTURES}
    entries = published_datasets()
    assert len(entries) == 13
    for entry in entries.values():
        assert entry.layout in layouts
        assert entry.url or entry.instructions
        assert entry.licence
        assert bool(entry.sha256 or entry.md5) == bool(entry.hash_source)
        assert len(entry.sha256) in (0, 64)
        assert len(entry.md5) in (0, 32)


def test_an_unknown_name_has_near_matches() -> None:
    with pytest.raises(UnknownNameError, match="mean mvtec"):
        published_dataset("mvtek")


def _as_published(monkeypatch: pytest.MonkeyPatch, name: str, **fields: object) -> None:
    """Pretend that tiny counts were published."""
    entry = published_dataset(name)
    small = catalogue.Published(**{**vars(entry), "counts": {}, "total": (), "together": (), **fields})  # type: ignore[arg-type]
    monkeypatch.setattr(catalogue, "published_datasets", lambda: {name: small})


def test_a_whole_copy_of_a_product_and_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    product = tiny.mvtec(tmp_path / "archive's own folder")
    _as_published(monkeypatch, "mvtec", counts={"bottle": (2, 1, 1)})
    for path in (product, product.parent, tmp_path):
        check = check_copy(path, "mvtec")
        assert (check.products, check.images, check.differences) == (("bottle",), 4, ())


def test_a_copy_with_images_lost_says_which_counts_differ(tmp_path: Path) -> None:
    product = tiny.mvtec(tmp_path)
    tiny.mvtec(tmp_path / "x").rename(tmp_path / "flask")
    check = check_copy(tmp_path, "mvtec")
    text = ". ".join(check.differences)
    assert "flask: no product of MVTec AD" in text
    assert "carpet, grid" in text
    assert "bottle: 2 good to train on where 209 were published; 1 good to test on where 20" in text
    assert len(check_copy(product, "mvtec").differences) == 1  # one product is compared with itself alone


def test_totals_and_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    product = tiny.deep_pcb(tmp_path)
    assert "1 good to train on where 1000" in check_copy(product, "deep-pcb").differences[0]
    _as_published(monkeypatch, "deep-pcb", total=(1, 1, 1), products=1)
    assert check_copy(product, "deep-pcb").differences == ()
    _as_published(monkeypatch, "deep-pcb", total=(1, 1, 1), products=3)
    assert check_copy(product, "deep-pcb").differences == ("1 of 3 products are there",)


def test_sets_without_a_published_split_are_counted_together(tmp_path: Path) -> None:
    (difference,) = check_copy(tiny.magnetic_tile(tmp_path), "magnetic-tile").differences
    assert difference == "all: 20 good where 952 were published; 2 bad where 392 were published"


def test_visa_in_both_layouts(tmp_path: Path) -> None:
    tiny.visa(tmp_path / "raw")
    assert "candle: 2 good" in ". ".join(check_copy(tmp_path / "raw", "visa").differences)
    tiny.mvtec(tmp_path / "prepared").rename(tmp_path / "prepared" / "candle")
    assert "candle: 2 good" in ". ".join(check_copy(tmp_path / "prepared", "visa").differences)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'btad', and MVTec AD in 'mvtec'"):
        check_copy(tiny.btad(tmp_path), "mvtec")


def test_textures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("banded", "woven"):
        tiny.picture(tmp_path / "dtd" / "images" / kind / "0.jpg")
    assert "2 kinds where 47" in check_copy(tmp_path / "dtd", "dtd").differences[0]
    _as_published(monkeypatch, "dtd", textures=(2, 2))
    assert check_copy(tmp_path, "dtd").differences == ()
    with pytest.raises(DataError, match="no folders of textures"):
        check_copy(tmp_path / "dtd" / "images" / "woven", "dtd")


def run(*arguments: object):
    return CliRunner().invoke(main, ["datasets", *map(str, arguments)])


def test_the_command_lists_shows_and_checks(tmp_path: Path) -> None:
    listed = run()
    assert all(name in listed.output for name in published_datasets())
    assert "CC BY-NC-SA 4.0" in listed.output
    shown = run("visa")
    assert "candle" in shown.output
    assert json.loads(run("visa", "--json", "-").stdout)["images"] == 10821
    assert len(json.loads(run("--json", "-").stdout)) == 13
    assert "recorded" in run("magnetic-tile").output
    product = tiny.mvtec(tmp_path)
    refused = run("check", "mvtec", product)
    assert refused.exit_code == 1
    assert "209 were published" in refused.output
    assert run("no-such-set").exit_code == 2


def test_what_cannot_be_downloaded_says_how_to_get_it(tmp_path: Path) -> None:
    for name, words in (("real-iad", "Apply on the page"), ("mvtec", "--accept-licence")):
        result = run("download", name, "--to", tmp_path)
        assert result.exit_code == 2
        assert words in result.output
    assert list(tmp_path.iterdir()) == []
