"""The demo's parts: how it divides its time, what it clears, and the page that joins its reports."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from edgead.cli import main
from edgead.demo import run as demo
from edgead.report.index import IndexEntry, index_page


def result(seconds: float, training_seconds: float) -> Any:
    return SimpleNamespace(seconds=seconds, training_seconds=training_seconds)


@pytest.mark.parametrize(
    ("left", "products", "results", "wanted_seconds"),
    [
        (300.0, 3, [], 55.0),
        (200.0, 2, [result(100, 60)], 60.0),
        (200.0, 2, [result(100, 60), result(100, 30)], 30.0),
        (10.0, 1, [], 20.0),
        (-50.0, 1, [], 20.0),
    ],
    ids=["as expected", "by what the first took", "by the slowest", "hardly any left", "none left"],
)
def test_what_is_left_is_for_training(left: float, products: int, results: list[Any], wanted_seconds: float):
    assert demo._training_minutes(left, products, results) * 60 == pytest.approx(wanted_seconds)


def test_only_the_run_of_an_earlier_demo_is_cleared(tmp_path: Path):
    for name in ("run.json", "weights.safetensors", "checkpoint.safetensors", "thesis.txt"):
        (tmp_path / name).write_text("x")
    demo._clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    demo._clear(tmp_path / "nothing")


def test_the_index_holds_every_report_and_loads_nothing():
    inner = '<!DOCTYPE html><html><body title="a & b">metal\'s <b>report</b></body></html>'
    entries = [
        IndexEntry("metal", {"image_auroc": 0.98765, "au_pro": None}, inner),
        IndexEntry("<script>", {"image_auroc": 0.5}, inner),
    ]
    page = index_page("edgead demo", entries, means={"image_auroc": 0.74}, machine={"processor": "x"})
    assert page.count("<iframe") == 2
    assert "0.9877" in page
    assert "not measured" in page
    assert "<script>" not in page  # names and pages are escaped
    assert "&lt;b&gt;report&lt;/b&gt;" in page
    for outside in ("http://", "https://", 'src="/', "@import"):
        assert outside not in page
    assert "default-src 'none'" in page


def test_one_product_has_no_means():
    page = index_page("t", [IndexEntry("metal", {}, "")], means={}, machine={})
    assert "mean</th>" not in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--product", "wood"], "wood"), (["--minutes", "0"], "--minutes"), (["--steps", "0"], "--steps")],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], words: str):
    done = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo"), *arguments])
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "demo").exists()


def test_the_summary_has_means_only_of_what_all_products_have():
    assert demo._mean([1.0, 2.0]) == 1.5
    assert demo._mean([1.0, None]) is None
    assert demo._drop({"a": 0.9}, {"a": 0.8}, "a") == pytest.approx(0.1)
    assert demo._drop({"a": None}, {"a": 0.8}, "a") is None
