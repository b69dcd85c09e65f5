"""Which of ONNX Runtime's providers a bundle gets, and what happens where the GPU's does not start."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnxruntime
import pytest

from edgead.errors import EngineError
from edgead.runtime.engines import create_engine
from edgead.runtime.engines.onnxruntime import providers_for
from tests.runtime.tiny_bundle import tiny_manifest, tiny_onnx

GPU = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def test_a_bundle_for_tensorrt_takes_the_gpu_first():
    wanted = providers_for(tiny_manifest(engine="tensorrt"), GPU)
    assert [name for name, _ in wanted] == GPU
    assert [name for name, _ in providers_for(tiny_manifest(engine="tensorrt"), GPU[1:])] == GPU[1:]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_bundle_for_a_cpu_stays_there(engine: str):
    assert providers_for(tiny_manifest(engine=engine), GPU) == [("CPUExecutionProvider", {})]


@pytest.mark.parametrize(
    ("precision", "int8", "half"), [("int8", "1", "1"), ("f16", "0", "1"), ("f32", "0", "0")]
)
def test_precisions_are_those_of_the_bundle(
    precision: str, int8: str, half: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    manifest = dataclasses.replace(tiny_manifest(engine="tensorrt"), precision=precision)
    providers = dict(providers_for(manifest, GPU))
    options = providers["TensorrtExecutionProvider"]
    assert (options["trt_int8_enable"], options["trt_fp16_enable"]) == (int8, half)
    assert options["trt_engine_cache_path"] == str(tmp_path / "onnxruntime")
    assert providers["CUDAExecutionProvider"] == {"use_tf32": "0"}


def test_a_gpu_provider_that_does_not_start_is_no_silent_cpu(monkeypatch: pytest.MonkeyPatch):
    """What onnxruntime-gpu without its CUDA libraries does: it lists the provider, and runs on the CPU."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this installation has the provider")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: GPU[1:])
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), pytest.raises(EngineError) as caught:
        create_engine("onnxruntime", threads=1).load(
            {"model.onnx": tiny_onnx()}, tiny_manifest(engine="tensorrt")
        )
    assert "expected CUDAExecutionProvider, found CPUExecutionProvider alone" in str(caught.value)
    assert "onnxruntime-gpu" in str(caught.value)


def test_without_a_gpu_provider_the_cpu_answers():
    if len(onnxruntime.get_available_providers()) > 2:
        pytest.skip("this installation has a GPU's provider")
    engine = create_engine("onnxruntime", threads=1)
    engine.load({"model.onnx": tiny_onnx()}, tiny_manifest(engine="tensorrt"))
    assert engine.describe()["device"] == "CPUExecutionProvider"


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: GPU)
    with pytest.raises(EngineError, match="export EDGEAD_CACHE"):
        create_engine("onnxruntime", threads=1).load(
            {"model.onnx": tiny_onnx()}, tiny_manifest(engine="tensorrt")
        )
