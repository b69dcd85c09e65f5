"""What an engine is: load a model once, then answer images one at a time."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Manifest, Reference
from edgead.errors import EngineError, UsageError

ModelFiles = Mapping[str, bytes | memoryview]

HALF_MODEL = "model.f16.onnx"  # in a bundle in INT8: the same model in half precision, without Q/DQ

# Names in the deployed graph, the same for every engine.
IMAGE_INPUT, MAP_OUTPUT, SCORE_OUTPUT = "image", "anomaly_map", "score"

# Arithmetic of the layers that are not quantized. An INT8 model computes them in float32: that is what its
# accuracy was measured with, and a CPU with bfloat16 units would otherwise choose these by itself.
FLOAT_ARITHMETIC = {"int8": "f32", "f32": "f32", "bf16": "bf16", "f16": "f16"}


class Engine(abc.ABC):
    """One model on one device. Not thread-safe: give each thread its own."""

    name: ClassVar[str]

    def __init__(self, *, threads: int | None = None) -> None:
        if threads is not None and (type(threads) is not int or threads < 1):
            raise UsageError(
                f"threads: expected an integer from 1, or None for all cores; found {threads!r}."
            )
        self.threads = threads

    def prove_with(self, reference: Reference) -> None:  # noqa: B027 - most engines have no choice to make
        """Before `load`: the answers by which an engine that builds in several ways picks a right one."""

    @abc.abstractmethod
    def load(self, files: ModelFiles, manifest: Manifest) -> None:
        """Build the model from the bundle's files, in memory; raises EngineError."""

    @abc.abstractmethod
    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Map (float32 h w, the caller's own) and score of an image (uint8 H W 3 RGB, the model's size)."""

    def infer_many(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[NDArray[np.float32], float]]:
        """The answers of `infer` for several images, in their order; an engine may work on some at once."""
        return [self.infer(image) for image in images]

    def tune_many(self, images: Sequence[NDArray[np.uint8]]) -> None:  # noqa: B027 - most have one way alone
        """Find by trial the fastest way for `infer_many` on such images; slow the first time."""

    @property
    def gpu_ns(self) -> int | None:
        """Time that the GPU spent on the last answer, by its own clock; None where there is none."""
        return None

    def close(self) -> None:  # noqa: B027 - not every engine has something to release
        """Release the model and the device's memory."""

    @abc.abstractmethod
    def describe(self) -> dict[str, str]:
        """At least engine, version and device, and the settings in force; for logs and benchmarks."""

    @abc.abstractmethod
    def devices(self) -> dict[str, str]:
        """What the engine finds on this machine: device -> its full name. No model is needed."""


def check_graph(name: str, manifest: Manifest, found: Mapping[str, tuple[str, list[int]]]) -> None:
    """Hold a loaded graph's inputs and outputs (name -> type, shape) to the manifest; raises EngineError."""
    size = [manifest.input.height, manifest.input.width]
    expected: dict[str, tuple[str, list[int]]] = {
        IMAGE_INPUT: ("uint8", [1, *size, manifest.input.channels]),
        MAP_OUTPUT: ("float32", [1, manifest.output.map_height, manifest.output.map_width]),
        SCORE_OUTPUT: ("float32", [1]),
    }
    if dict(found) != expected:
        raise EngineError(
            f"{name}: the model's inputs and outputs do not fit the manifest: expected {expected}, "
            f"found {dict(found)}. Compile the bundle again."
        )


def model_file(files: ModelFiles, suffix: str) -> bytes | memoryview | None:
    """The contents of the model with this suffix, or None; `model` itself before its variants."""
    if f"model{suffix}" in files:
        return files[f"model{suffix}"]
    return next((content for name, content in files.items() if name.endswith(suffix)), None)
