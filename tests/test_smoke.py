"""The main path in a few seconds: `make smoke`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgead
from edgead.bundle import read_bundle
from tests.runtime.tiny_bundle import tiny_answer, write_tiny_bundle

pytestmark = pytest.mark.smoke


def test_a_bundle_opens_proves_its_answers_and_inspects(tmp_path: Path):
    path = write_tiny_bundle(tmp_path / "tiny.edgead", engine="onnxruntime")
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with edgead.open(path) as inspector:  # raises where this machine gives other answers
        result = inspector.inspect(image)
    assert result.score == pytest.approx(tiny_answer(image)[1], abs=1e-5)
    assert result.anomaly_map.shape == (32, 32)


def test_a_damaged_bundle_is_refused(tmp_path: Path):
    path = write_tiny_bundle(tmp_path / "tiny.edgead")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(edgead.EdgeadError):
        read_bundle(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads, see synthesis/samples.py
def test_two_steps_train_a_run(tmp_path: Path):
    from tests.training.small_training import draw_good, settings

    data = draw_good(tmp_path / "good")
    run = edgead.train(data, tmp_path / "run", settings=settings(steps=2))
    assert np.isfinite(run.threshold.score)
    assert (tmp_path / "run" / "run.json").is_file()
