from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgead.compiler import quantize
from edgead.compiler.answers import answers_of_onnx
from edgead.compiler.gate import map_correlation
from edgead.compiler.pipeline import ImageSets
from edgead.compiler.quantize import (
    first_operations,
    head_operations,
    int8_onnx_from_onnx,
    kept_operations,
    matching_operations,
    quantized_operations,
    revert_operations,
)
from edgead.compiler.recipe import QuantizationSpec, load_recipe
from edgead.errors import CompileError, UsageError

ROOT = Path(__file__).resolve().parents[2]


def _graph(content: bytes) -> onnx.ModelProto:
    return onnx.load_model_from_string(content)


def test_every_convolution_but_the_one_behind_the_stem_and_the_head_is_int8(
    original: bytes, quantized: bytes
) -> None:
    convolutions = {node.name for node in _graph(original).graph.node if node.op_type == "Conv"}
    head, first = head_operations(_graph(original), 1), first_operations(_graph(original), 1)
    assert convolutions - head - first <= set(quantized_operations(_graph(quantized)))
    assert not (head | first) & set(quantized_operations(_graph(quantized)))
    assert len(first) == 1
    assert {"/head/head.1/Conv", "/AveragePool", "/ReduceMax_1"} <= head


def test_operations_are_found_by_pattern(original: bytes) -> None:
    assert matching_operations(original, ["/head/*"]) >= {"/head/head.1/Conv"}
    assert matching_operations(original, ["/nothing/*"]) == set()


def test_weights_have_a_scale_per_channel(quantized: bytes) -> None:
    graph = _graph(quantized).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]
    assert weights
    for node in weights:
        assert constants[node.input[0]].dtype == np.int8
        assert constants[node.input[1]].size == constants[node.input[0]].shape[0]


def test_int8_answers_resemble_those_of_float(original: bytes, quantized: bytes, images: ImageSets) -> None:
    probes = [item.image for item in images.gate]
    correlation = map_correlation(answers_of_onnx(original, probes), answers_of_onnx(quantized, probes))
    assert correlation > 0.9


def test_quantizing_again_gives_the_same_bytes(original: bytes, quantized: bytes, images: ImageSets) -> None:
    calibrating = [item.image for item in images.calibration]
    assert int8_onnx_from_onnx(original, calibrating, spec=QuantizationSpec(keep_first_layers=1)) == quantized


def test_reverting_everything_gives_the_float_model_exactly(
    original: bytes, quantized: bytes, images: ImageSets
) -> None:
    reverted = revert_operations(quantized, original, quantized_operations(_graph(quantized)))
    assert not quantized_operations(_graph(reverted))
    probes = [item.image for item in images.gate[:3]]
    for (first, score), (second, other) in zip(
        answers_of_onnx(original, probes), answers_of_onnx(reverted, probes), strict=True
    ):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)
        assert score == pytest.approx(other, rel=1e-5)


def test_reverting_one_operation_leaves_the_others(original: bytes, quantized: bytes) -> None:
    before = quantized_operations(_graph(quantized))
    after = quantized_operations(_graph(revert_operations(quantized, original, [before[3]])))
    assert after == [name for name in before if name != before[3]]


def test_reverting_an_unknown_operation_is_an_error(original: bytes, quantized: bytes) -> None:
    with pytest.raises(CompileError, match="/nowhere"):
        revert_operations(quantized, original, ["/nowhere"])


def test_the_recipe_for_tensorrt_gives_signed_ranges_per_tensor(original: bytes, images: ImageSets) -> None:
    spec = load_recipe("tensorrt").quantization
    content = int8_onnx_from_onnx(original, [i.image for i in images.calibration[:4]], spec=spec)
    graph = _graph(content).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    for node in quantizers:
        assert constants[node.input[1]].shape == ()
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    onnx.checker.check_model(_graph(content), full_check=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"keep_layers": ("/recon1/*",)}, "/recon1/recon1.2/Conv"),
        ({"keep_kinds": ("Resize",)}, "/Resize"),
        ({"keep_head_layers": 2}, "/head/head.0/head.0.0/Conv"),
    ],
)
def test_a_recipe_keeps_operations_in_float(original: bytes, change: dict, expected: str) -> None:
    spec = dataclasses.replace(QuantizationSpec(), **change)
    assert expected in kept_operations(_graph(original), spec)
    assert expected not in kept_operations(_graph(original), QuantizationSpec())


def test_a_pattern_that_fits_nothing_is_an_error_with_the_layers(original: bytes) -> None:
    spec = QuantizationSpec(keep_layers=("/decoder/*",))
    with pytest.raises(UsageError, match=r"'/decoder/\*' fits no operation.*Layers: /stem/stem.0/Conv"):
        kept_operations(_graph(original), spec)


def test_reverting_brings_back_what_quantization_left_out(original: bytes, quantized: bytes) -> None:
    model = _graph(quantized)
    operation = next(node for node in model.graph.node if node.name == "/recon1/recon1.2/Conv")
    source = next(node for node in _graph(original).graph.node if node.name == operation.name)
    between = next(node for node in model.graph.node if source.input[0] in node.output)
    between.output[0] = "renamed"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = "renamed" if name == source.input[0] else name
    reverted = _graph(revert_operations(model.SerializeToString(), original, [operation.name]))
    onnx.checker.check_model(reverted)  # wants every node after what it reads
    assert any(source.input[0] in node.output for node in reverted.graph.node)


def test_the_quantizer_sends_no_reports(tmp_path: Path) -> None:
    """In a process of its own: NNCF sends nothing under pytest, whatever it is told."""
    code = (
        "import os\n"
        "from edgead.compiler.quantize import _import_nncf\n"
        "_import_nncf()\n"
        "from nncf.telemetry import wrapper\n"
        "assert isinstance(wrapper.telemetry, wrapper.NNCFTelemetryStub), 'reports are on'\n"
        "assert 'NNCF_CI' not in os.environ, 'the environment was left changed'\n"
    )
    home = {name: value for name, value in os.environ.items() if name != "NNCF_CI"} | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=home, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "intel").exists()


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        pytest.param(["avx2"], "enable", id="before VNNI"),
        pytest.param(["avx2", "avx512f", "avx512_vnni"], "disable", id="VNNI"),
        pytest.param(["avx2", "avx_vnni"], "disable", id="VNNI without AVX-512"),
        pytest.param(["asimd"], "disable", id="ARM"),
        pytest.param([], "disable", id="not known"),
    ],
)
def test_weights_take_half_the_range_where_sums_would_saturate(
    flags: list[str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgead.device.machine.cpu_flags", lambda: flags)
    assert quantize._overflow_fix("auto") == wanted
    assert quantize._overflow_fix("full") == "disable"
    assert quantize._overflow_fix("half") == "enable"
