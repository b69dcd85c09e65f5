"""Maps and scores of a model on a list of images, from each program that can run it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Manifest
from edgead.compiler.export import INPUT, OUTPUTS
from edgead.compiler.preparation import engine_that_answers
from edgead.errors import CompileError
from edgead.map_and_score import MapAndScore
from edgead.runtime.engines import create_engine


def answers_of_onnx(
    model: bytes, images: Sequence[NDArray[np.uint8]], *, threads: int | None = None
) -> list[MapAndScore]:
    """Answers of ONNX Runtime, which follows the letter of an ONNX graph: the yardstick of every stage."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Without the fusions that would turn Q/DQ into integer kernels, which round in ways of their own.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class of their own
        raise CompileError(f"ONNX Runtime refuses the exported graph: {str(error)[:300]}.") from error
    answers = []
    for image in images:
        anomaly_map, score = session.run(list(OUTPUTS), {INPUT: image[None]})
        answers.append(MapAndScore(anomaly_map[0], float(score[0])))
    return answers


def answers_of_engine(
    model: bytes, manifest: Manifest, images: Sequence[NDArray[np.uint8]], *, threads: int | None = None
) -> list[MapAndScore]:
    """Answers of the engine that the manifest names, loaded as on the device.

    TensorRT builds its engines on the device itself: for it ONNX Runtime answers, with its integer kernels.
    """
    engine = create_engine(engine_that_answers(manifest.engine), threads=threads)
    try:
        engine.load({"model.onnx": model}, manifest)
        return [MapAndScore(*engine.infer(np.ascontiguousarray(image))) for image in images]
    finally:
        engine.close()
