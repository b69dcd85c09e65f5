"""Many models on many data sets: real bundles on drawn parts, the tables, the plot, and what is missing."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgead.cli import main
from edgead.errors import DataError
from edgead.evaluation.model_table import ModelTable, TableRow, find_datasets, find_models
from edgead.images import write_image
from edgead.metrics import ADER_METRICS
from edgead.report.model_table import html, latency_plots, markdown
from tests.datasets import tiny_layouts as tiny
from tests.runtime.tiny_bundle import write_tiny_bundle

pytest.importorskip("openvino", reason="openvino is not installed")


def draw_product(root: Path, *, spot: int, seed: int = 0) -> Path:
    """Dark good parts, and parts with a spot of this brightness, which the tiny bundle finds by it."""
    rng = np.random.default_rng(seed)
    for folder, bright in (("train/good", 0), ("test/good", 0), ("test/spot", spot)):
        (root / folder).mkdir(parents=True)
        for number in range(3):
            image = rng.integers(20, 60, (32, 32, 3)).astype(np.uint8)
            image[8:16, 8:16] = np.maximum(image[8:16, 8:16], bright)
            write_image(root / folder / f"{number}.png", image)
    (root / "ground_truth" / "spot").mkdir(parents=True)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:16, 8:16] = 255
    for number in range(3):
        write_image(root / "ground_truth" / "spot" / f"{number}.png", mask)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw_product(tmp_path / "data" / "first" / "bolt", spot=255)
    draw_product(tmp_path / "data" / "first" / "nut", spot=0, seed=1)  # not to be seen
    draw_product(tmp_path / "data" / "second" / "clip", spot=200, seed=2)
    (tmp_path / "data" / "notes").mkdir()
    return tmp_path / "data"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "single").mkdir(parents=True)
    write_tiny_bundle(folder / "tiny.edgead")
    for product in ("bolt", "nut"):
        write_tiny_bundle(folder / "single" / f"{product}.edgead")
    return folder


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_one_table_of_all(models: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = evaluate(models, data, "--table", out, "--size", 32)
    assert result.exit_code == 1  # the single models have none for clip, and everything else is there
    assert "1 of 6 have no answer. single on clip" in result.stderr
    assert "none for 'clip'" in result.stderr
    answer = json.loads((out / "table.json").read_text())
    rows = {(row["model"], row["dataset"]): row for row in answer["rows"]}
    assert set(rows) == {("single", "first"), ("single", "second"), ("tiny", "first"), ("tiny", "second")}
    mean, entries = rows["tiny", "first"]["figures"], [e for e in answer["entries"] if e["model"] == "tiny"]
    bolt, nut = (next(e["figures"] for e in entries if e["product"] == name) for name in ("bolt", "nut"))
    for name in (metric.key for metric in ADER_METRICS):
        assert mean[name] == pytest.approx((bolt[name] + nut[name]) / 2)
    assert bolt["image_auroc"] == 1 > nut["image_auroc"]
    seven = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "grid_f1_max", "au_pro")
    assert bolt["mad"] == pytest.approx(np.mean([bolt[name] for name in seven]))
    assert bolt["iou_max"] >= bolt["grid_iou_max"] > 0
    assert bolt["latency_ms"] > 0
    assert mean["images"] == 12
    one, two = rows["tiny", "first"]["figures"]["megabytes"], rows["single", "first"]["figures"]["megabytes"]
    assert two == pytest.approx(2 * one)
    assert any("notes" in reason for reason in answer["left_out"])


def test_the_tables_agree(models: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(models / "tiny.edgead", data / "first", "--table", out, "--size", 32).exit_code == 0
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    headings = (out / "table.md").read_text().split("\n## ")[1].splitlines()[2]
    assert headings.split(" | ")[3:15] == [metric.column for metric in ADER_METRICS]
    page = (out / "table.html").read_text()
    for row in rows:
        assert f"{100 * float(row['image_auroc']):.1f}" in page
    assert ElementTree.fromstring((out / "latency-0.svg").read_text()).tag.endswith("svg")
    assert "http" not in page.replace("http-equiv", "").split("<style>")[0]


def test_views_of_parts_have_columns_of_their_own(tmp_path: Path, models: Path) -> None:
    product = tiny.real_iad(tmp_path / "iad")
    result = evaluate(models / "tiny.edgead", product, "--table", tmp_path / "out", "--json", "-")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"][0]["figures"]["part_auroc"] == 0.5  # every picture is the same
    assert "AUROC_S" in (tmp_path / "out" / "table.md").read_text()


def test_names_are_shown_as_they_are() -> None:
    nasty = "<script>|$x$"
    costs = {"latency_ms": 2.0, "megabytes": 1.0, "images": 3.0, "seconds": 1.0}
    entry = TableRow(nasty, nasty, nasty, {"image_auroc": 0.5, "au_pro": None, **costs})
    comparison = ModelTable((entry, TableRow("b", nasty, "p", failure="<b>no</b>")))
    assert "<script>" not in html(comparison)
    assert "\\|$x$" in markdown(comparison)
    assert "b / " in markdown(comparison)
    assert len(latency_plots(comparison)) == 1
    assert latency_plots(ModelTable((TableRow("b", "d", "p", failure="no"),))) == []


def test_what_is_not_there_is_said(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_models(tmp_path / "none")
    with pytest.raises(DataError, match=r"no \.edgead file and no run folder"):
        find_models(data)
    with pytest.raises(DataError, match="products or data sets"):
        find_datasets(data / "notes")
    with pytest.raises(DataError, match="no product has labelled test images"):
        find_datasets(data / "first" / "bolt" / "train" / "good")
    result = evaluate(tmp_path, data, "--table", tmp_path / "out", "--report", tmp_path / "r.html")
    assert result.exit_code == 2
