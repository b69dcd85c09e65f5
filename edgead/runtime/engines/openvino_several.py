"""Several images at once on a CPU: a stream of inference per group of cores, not all cores on one image."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from edgead.errors import EngineError
from edgead.runtime.engines.base import IMAGE_INPUT, MAP_OUTPUT, SCORE_OUTPUT

Answers = list[tuple[NDArray[np.float32], float]]
_WORTH_IT = 0.95  # of the time of one after the other; a smaller gain is not worth a second compiled model
_SAME = 1e-3  # of a map's range: the order of sums may differ


class SeveralImages:
    """The model compiled for throughput, with a queue of requests. Not thread-safe."""

    def __init__(self, model: Any, settings: Mapping[str, Any]) -> None:
        throughput = {**settings, "PERFORMANCE_HINT": "THROUGHPUT"}
        self._compiled = openvino.Core().compile_model(model, "CPU", throughput)
        self._queue = openvino.AsyncInferQueue(self._compiled)
        self._queue.set_callback(self._keep)
        self._answers: dict[int, tuple[NDArray[np.float32], float]] = {}

    @property
    def requests(self) -> int:
        """How many images are worked on at once."""
        return len(self._queue)

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> Answers:
        """Map and score of each, in their order; raises EngineError when the device fails."""
        self._answers.clear()
        try:
            for number, image in enumerate(images):
                self._queue.start_async({IMAGE_INPUT: np.ascontiguousarray(image)[None]}, number)
            self._queue.wait_all()
        except RuntimeError as error:
            raise EngineError(f"openvino failed on an image: {error}. Open the bundle again.") from error
        return [self._answers.pop(number) for number in range(len(images))]

    def _keep(self, request: Any, number: int) -> None:
        anomaly_map = request.get_tensor(MAP_OUTPUT).data[0].copy()
        self._answers[number] = (anomaly_map, float(request.get_tensor(SCORE_OUTPUT).data[0]))


def is_worth_it(
    several: Callable[[Sequence[NDArray[np.uint8]]], Answers],
    one: Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], float]],
    images: Sequence[NDArray[np.uint8]],
) -> bool:
    """Whether `several` gives the answers of `one`, and clearly sooner: the best of three turns of each."""
    expected = [one(image) for image in images]
    if not all(_is_same(*pair) for pair in zip(several(images), expected, strict=True)):
        return False
    together, in_turn = [], []
    for _ in range(3):
        began = time.perf_counter_ns()
        several(images)
        between = time.perf_counter_ns()
        for image in images:
            one(image)
        together.append(between - began)
        in_turn.append(time.perf_counter_ns() - between)
    return min(together) < _WORTH_IT * min(in_turn)


def _is_same(first: tuple[NDArray[np.float32], float], second: tuple[NDArray[np.float32], float]) -> bool:
    (map_a, score_a), (map_b, score_b) = first, second
    allowed = _SAME * max(float(np.ptp(map_b)), abs(score_b), 1e-6)
    return bool(np.abs(map_a - map_b).max() <= allowed and abs(score_a - score_b) <= allowed)
