"""`edgead evaluate` on a real bundle and on folders that cannot be evaluated."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from edgead.cli import main
from edgead.images import write_image
from tests.runtime.tiny_bundle import write_tiny_bundle


@pytest.fixture
def data(tmp_path):
    """Dark good parts and parts with a bright spot, which the tiny bundle calls anomalous."""
    root = tmp_path / "parts"
    rng = np.random.default_rng(0)
    for folder, spot in (("train/good", 0), ("test/good", 0), ("test/spot", 255)):
        (root / folder).mkdir(parents=True)
        for i in range(3):
            image = rng.integers(20, 60, (32, 32, 3)).astype(np.uint8)
            image[8:16, 8:16] = np.maximum(image[8:16, 8:16], spot)
            write_image(root / folder / f"{i}.png", image)
    (root / "ground_truth" / "spot").mkdir(parents=True)
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[8:16, 8:16] = 255
    for i in range(3):
        write_image(root / "ground_truth" / "spot" / f"{i}.png", mask)
    return root


def evaluate(*arguments):
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_a_bundle_is_measured_and_reported(tmp_path, data):
    pytest.importorskip("openvino", reason="openvino is not installed")
    bundle = write_tiny_bundle(tmp_path / "tiny.edgead")
    report = tmp_path / "report.html"
    result = evaluate(bundle, data, "--size", 32, "--report", report, "--json", tmp_path / "answer.json")
    assert result.exit_code == 0, result.output
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["metrics"]["image_auroc"] == 1
    assert answer["metrics"]["au_pro"] > 0.9
    assert answer["at_threshold"] == {
        "threshold": 0.75, "caught": 3, "missed": 0, "false_alarms": 0, "passed": 3,
    }  # fmt: skip
    assert "3 of 3 defects caught (0 missed: escapes), 0 of 3 good parts rejected" in result.output
    text = report.read_text(encoding="utf-8")
    assert "No defective part was missed." in text
    assert "image AUROC" in text


def test_json_to_stdout_is_nothing_but_json(tmp_path, data):
    pytest.importorskip("openvino", reason="openvino is not installed")
    result = evaluate(write_tiny_bundle(tmp_path / "tiny.edgead"), data, "--json", "-")
    assert json.loads(result.stdout)["by_kind"]["spot"]["count"] == 3


def test_a_leaking_split_is_warned_of_beside_json_too(tmp_path, data):
    pytest.importorskip("openvino", reason="openvino is not installed")
    for number in range(3):  # the same good parts in training and test
        shutil.copy(data / f"train/good/{number}.png", data / f"test/good/{number}.png")
    bundle = write_tiny_bundle(tmp_path / "tiny.edgead")
    report = tmp_path / "report.html"
    result = evaluate(bundle, data, "--json", "-", "--report", report)
    assert "without any network" in report.read_text(encoding="utf-8")
    assert json.loads(result.stdout)["thumbnail_control"]["good_share"] == 1
    assert "Split by part" in result.stderr


def test_good_images_alone_cannot_be_evaluated(tmp_path, data):
    result = evaluate(tmp_path / "any.edgead", data / "train" / "good")
    assert result.exit_code == 1
    assert "expected labelled images in test/good" in result.output


def test_engine_options_are_for_bundles(tmp_path, data):
    result = evaluate(tmp_path, data, "--engine", "openvino")
    assert result.exit_code == 2
    assert "for bundles" in result.output
