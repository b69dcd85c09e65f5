"""Evaluation over a small folder whose right answers are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edgead.datasets import Sample, open_dataset
from edgead.errors import DataError
from edgead.evaluation.evaluator import evaluate_samples
from edgead.images import write_image
from edgead.map_and_score import MapAndScore

SIZE = (32, 32)


@pytest.fixture
def dataset(tmp_path):
    """Good images are dark; scratches (bright) and dents (half as bright) fill their masks exactly."""
    rng = np.random.default_rng(0)
    for folder, count in (("train/good", 2), ("test/good", 4), ("test/scratch", 3), ("test/dent", 2)):
        for i in range(count):
            image = rng.integers(0, 20, (32, 40, 3)).astype(np.uint8)
            mask = np.zeros((32, 40, 3), np.uint8)
            if "good" not in folder:
                mask[4 : 12 + i, 8:24] = 255
                image[mask > 0] = 250 if "scratch" in folder else 120
                truth = tmp_path / "ground_truth" / folder.split("/")[1]
                truth.mkdir(parents=True, exist_ok=True)
                write_image(truth / f"{i}.png", mask)
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / folder / f"{i}.png", image)
    return open_dataset(tmp_path)


def by_brightness(image):
    values = image[..., 0].astype(np.float32) / 255
    return MapAndScore(values, float(values.max()))


def test_a_perfect_predictor_reaches_one_everywhere(dataset):
    found = evaluate_samples(by_brightness, dataset.test, size=(32, 40))
    assert set(found.summary().values()) == {1.0}
    assert {kind: m.count for kind, m in found.by_kind.items()} == {"scratch": 3, "dent": 2}
    assert all(set(kind.figures.values()) == {1.0} for kind in found.by_kind.values())
    assert found.pixel is not None
    assert (found.pixel.images, found.pixel.regions) == (9, 5)


def test_kinds_are_measured_apart(dataset):
    def blind_to_dents(image):
        bright = np.where(image[..., 0] > 200, 1, 0).astype(np.float32)
        return MapAndScore(bright, float(bright.max()))

    found = evaluate_samples(blind_to_dents, dataset.test, size=SIZE)
    assert found.by_kind["scratch"].figures["image_auroc"] == 1
    assert found.by_kind["dent"].figures["image_auroc"] == 0.5
    assert found.by_kind["dent"].figures["au_pro"] == pytest.approx(0.15)
    assert 0.5 < found.image.auroc < 1


def test_maps_on_a_coarse_grid_are_resized(dataset):
    def coarse(image):
        return MapAndScore(image[::4, ::4, 0].astype(np.float32), float(image.max()))

    found = evaluate_samples(coarse, dataset.test, size=SIZE, keep_maps=True)
    assert found.pixel is not None
    assert found.pixel.auroc > 0.95
    assert {r.anomaly_map.shape for r in found.records} == {(8, 10)}
    assert all(r.seconds > 0 for r in found.records)


def test_json_holds_no_nan_and_progress_counts(dataset):
    good = [s for s in dataset.test if not s.is_anomalous]
    seen = []
    found = evaluate_samples(by_brightness, good, size=SIZE, on_progress=lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert math.isnan(found.image.auroc)
    assert found.pixel is None
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(text)["metrics"]["image_auroc"] is None
    assert "records" not in found.to_json(records=False)


def test_anomalous_images_without_mask_count_in_image_metrics_alone(dataset):
    bare = [Sample(s.path, s.kind) if s.kind == "dent" else s for s in dataset.test]
    found = evaluate_samples(by_brightness, bare, size=SIZE)
    assert found.without_mask == 2
    assert found.by_kind["dent"].figures["image_auroc"] == 1
    assert found.by_kind["dent"].figures["au_pro"] is None
    assert found.pixel is not None
    assert found.pixel.images == 7


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (MapAndScore(np.zeros((4, 4)), math.nan), r"finite score for .*0\.png, found nan"),
        (MapAndScore(np.full((4, 4), math.nan), 1.0), r"finite anomaly map for .*0\.png"),
        (MapAndScore(np.zeros((1, 4, 4)), 1.0), r"shape h w for .*0\.png, found \(1, 4, 4\)"),
    ],
)
def test_bad_predictions_name_the_image(dataset, prediction, message):
    with pytest.raises(DataError, match=message):
        evaluate_samples(lambda image: prediction, dataset.test, size=SIZE)


def test_no_samples():
    with pytest.raises(DataError, match="found none"):
        evaluate_samples(by_brightness, [])
