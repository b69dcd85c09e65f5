"""The model in half precision, without Q/DQ: what a device with TensorRT runs where INT8 is the slower."""

from __future__ import annotations

import warnings

import onnx
from onnxruntime.transformers import float16
from onnxruntime.transformers.onnx_model import OnnxModel

from edgead.errors import CompileError


def half_onnx_from_onnx(content: bytes) -> bytes:
    """A float ONNX graph with weights and activations in float16; inputs and outputs keep their types.

    Types are in the graph, so that TensorRT 11, which knows no other precision, runs it as older versions do.
    Raises CompileError for a graph that cannot be converted.
    """
    try:
        model = onnx.load_model_from_string(content)
        with warnings.catch_warnings():  # one for each weight that float16 rounds to nothing
            warnings.simplefilter("ignore")
            half = float16.convert_float_to_float16(model, keep_io_types=True)
        OnnxModel(half).topological_sort()  # the converter puts its casts at the end
        onnx.checker.check_model(half, full_check=True)
    except Exception as error:  # onnx and its checker share no base class
        raise CompileError(f"The graph cannot be had in half precision: {str(error)[:300]}.") from error
    return bytes(half.SerializeToString(deterministic=True))
