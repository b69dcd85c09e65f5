"""The graph in half precision: the same answers within its ten bits, the same inputs and outputs."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from edgead.compiler.half import half_onnx_from_onnx
from edgead.errors import CompileError
from tests.runtime.tiny_bundle import tiny_answer, tiny_onnx


def test_answers_and_types():
    session = onnxruntime.InferenceSession(
        half_onnx_from_onnx(tiny_onnx()), providers=["CPUExecutionProvider"]
    )
    assert [port.type for port in session.get_inputs()] == ["tensor(uint8)"]
    assert {port.type for port in session.get_outputs()} == {"tensor(float)"}
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    anomaly_map, score = session.run(["anomaly_map", "score"], {"image": image[None]})
    expected_map, expected_score = tiny_answer(image)
    np.testing.assert_allclose(anomaly_map[0], expected_map, atol=2e-3)
    assert float(score[0]) == pytest.approx(expected_score, abs=2e-3)


@pytest.mark.parametrize("content", [b"", b"junk", tiny_onnx()[:200]], ids=["empty", "junk", "truncated"])
def test_what_is_no_graph(content: bytes):
    with pytest.raises(CompileError, match="half precision"):
        half_onnx_from_onnx(content)
