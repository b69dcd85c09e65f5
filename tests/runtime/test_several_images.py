"""Several images at once: the same answers in the same order, and chosen only where that is faster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgead
from tests.runtime.tiny_bundle import tiny_answer, tiny_onnx, write_tiny_bundle

pytest.importorskip("openvino")

from edgead.runtime.engines import openvino as engine_file
from edgead.runtime.engines.openvino_several import SeveralImages, is_worth_it

IMAGES = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8) for seed in range(20)]


def test_the_answers_in_their_order():
    import openvino

    model = openvino.Core().read_model(tiny_onnx())
    several = SeveralImages(model, {"INFERENCE_PRECISION_HINT": "f32"})
    assert several.requests >= 1  # as many as the cores allow
    for images in (IMAGES, IMAGES[:1], []):
        for (anomaly_map, score), image in zip(several.infer(images), images, strict=True):
            expected_map, expected_score = tiny_answer(image)
            np.testing.assert_allclose(anomaly_map, expected_map, atol=1e-4)
            assert score == pytest.approx(expected_score, abs=1e-4)


def slow(image: np.ndarray) -> tuple[np.ndarray, float]:
    time.sleep(0.005)
    return tiny_answer(image)


def at_once(images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
    time.sleep(0.001)
    return [tiny_answer(image) for image in images]


def test_it_is_taken_where_it_is_faster_and_right():
    assert is_worth_it(at_once, slow, IMAGES[:4])
    assert not is_worth_it(lambda images: [slow(image) for image in images], tiny_answer, IMAGES[:4])
    assert not is_worth_it(lambda images: at_once(images[::-1]), slow, IMAGES[:4])


def test_an_engine_that_has_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The choice is forced here; whichever was made, the answers are those of `infer`."""
    monkeypatch.setattr(engine_file, "usable_cores", lambda: 2)
    monkeypatch.setattr(SeveralImages, "requests", 2)
    with edgead.open(write_tiny_bundle(tmp_path / "tiny.edgead")) as inspector:
        engine: Any = inspector.engine
        for choice in (False, True):
            engine._is_tuned = False
            monkeypatch.setattr(engine_file, "is_worth_it", lambda *_, choice=choice: choice)
            engine.tune_many(IMAGES)
            assert ("images_at_once" in engine.describe()) is choice
            for (anomaly_map, score), image in zip(engine.infer_many(IMAGES), IMAGES, strict=True):
                one_map, one_score = engine.infer(image)
                np.testing.assert_allclose(anomaly_map, one_map, atol=1e-6)
                assert score == pytest.approx(one_score, abs=1e-6)


def test_one_core_has_one_way(tmp_path: Path):
    with edgead.open(write_tiny_bundle(tmp_path / "tiny.edgead"), threads=1) as inspector:
        inspector.engine.tune_many(IMAGES)
        assert "images_at_once" not in inspector.engine.describe()
