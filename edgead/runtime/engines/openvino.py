"""OpenVINO: Intel CPUs first, any of its devices in principle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from edgead.bundle import Manifest
from edgead.device.machine import usable_cores
from edgead.errors import EngineError
from edgead.runtime.engines.base import (
    FLOAT_ARITHMETIC,
    IMAGE_INPUT,
    MAP_OUTPUT,
    SCORE_OUTPUT,
    Engine,
    ModelFiles,
    check_graph,
    model_file,
)
from edgead.runtime.engines.openvino_several import SeveralImages, is_worth_it

_NUMPY_NAMES = {"u8": "uint8", "f32": "float32"}


class OpenVinoEngine(Engine):
    """One request whose input and outputs are numpy arrays allocated once; nothing is cached on disk."""

    name = "openvino"
    _several: SeveralImages | None = None
    _is_tuned = False

    def load(self, files: ModelFiles, manifest: Manifest) -> None:
        """Compile `model.xml` with `model.bin`, or `model.onnx`, for the CPU with the latency hint."""
        core = openvino.Core()
        try:
            model = _read_model(core, files)
            settings = self._settings(manifest.precision)
            compiled = core.compile_model(model, "CPU", settings)
            check_graph(self.name, manifest, _ports(compiled))
            self._bind(compiled, manifest)
            self._model, self._model_settings = model, settings
        except EngineError:
            raise
        except Exception as error:  # of a damaged model it raises UnicodeDecodeError, ValueError and others
            raise EngineError(
                f"openvino {openvino.__version__} cannot load the model: {_gist(error)}. "
                "Compile the bundle again for this machine."
            ) from error

    def _settings(self, precision: str) -> dict[str, Any]:
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if precision in FLOAT_ARITHMETIC:
            settings["INFERENCE_PRECISION_HINT"] = FLOAT_ARITHMETIC[precision]
        if self.threads is not None:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        return settings

    def _bind(self, compiled: Any, manifest: Manifest) -> None:
        self._image = np.zeros((manifest.input.height, manifest.input.width, 3), np.uint8)
        self._map = np.zeros((manifest.output.map_height, manifest.output.map_width), np.float32)
        self._score = np.zeros(1, np.float32)
        request = compiled.create_infer_request()
        for name, array in (
            (IMAGE_INPUT, self._image[None]),
            (MAP_OUTPUT, self._map[None]),
            (SCORE_OUTPUT, self._score),
        ):
            request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        self._compiled, self._request = compiled, request

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """See `Engine.infer`; raises EngineError when the device fails."""
        np.copyto(self._image, image)
        try:
            self._request.infer(share_outputs=True)
        except Exception as error:
            raise EngineError(
                f"openvino failed on an image: {_gist(error)}. Open the bundle again."
            ) from error
        return self._map.copy(), float(self._score[0])

    def infer_many(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[NDArray[np.float32], float]]:
        """See `Engine.infer_many`; some at once where `tune_many` has found that to be faster."""
        return super().infer_many(images) if self._several is None else self._several.infer(images)

    def tune_many(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Keep a second model, compiled for throughput, where it gives the same answers sooner."""
        if self._is_tuned or self.threads == 1 or usable_cores() == 1:
            return
        self._is_tuned = True
        try:
            several = SeveralImages(self._model, self._model_settings)
        except RuntimeError as error:
            raise EngineError(f"openvino cannot compile for throughput: {_gist(error)}.") from error
        if several.requests > 1 and is_worth_it(several.infer, self.infer, images):
            self._several = several

    def close(self) -> None:
        """Release the request and the compiled models."""
        self._request = self._compiled = self._several = self._model = None

    def describe(self) -> dict[str, str]:
        """Version, device and the settings that OpenVINO chose."""
        properties = ("INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT", "NUM_STREAMS", "PERFORMANCE_HINT")
        chosen = {name.lower(): str(self._compiled.get_property(name)) for name in properties}
        device = self.devices()["CPU"]
        at_once = {} if self._several is None else {"images_at_once": str(self._several.requests)}
        return {"engine": self.name, "version": openvino.__version__, "device": device, **chosen, **at_once}

    def devices(self) -> dict[str, str]:
        """OpenVINO's devices with their full names."""
        core = openvino.Core()
        return {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in core.available_devices}


def _read_model(core: Any, files: ModelFiles) -> Any:
    description, weights = model_file(files, ".xml"), model_file(files, ".bin")
    if description is not None and weights is not None:
        return core.read_model(bytes(description), openvino.Tensor(np.frombuffer(weights, np.uint8)))
    onnx_file = model_file(files, ".onnx")
    if onnx_file is None:
        raise EngineError(
            f"openvino: expected a .xml with a .bin file or an .onnx file, found {', '.join(files)}. "
            "Compile the bundle for a target of this engine (`edgead targets`)."
        )
    return core.read_model(bytes(onnx_file))


def _ports(compiled: Any) -> dict[str, tuple[str, list[int]]]:
    ports = {}
    for port in (*compiled.inputs, *compiled.outputs):
        kind = port.get_element_type().get_type_name()
        shape = port.get_partial_shape()
        ports[port.get_any_name()] = (_NUMPY_NAMES.get(kind, kind), _static_shape(shape))
    return ports


def _static_shape(shape: Any) -> list[int]:
    return [dimension.get_length() if dimension.is_static else -1 for dimension in shape]


def _gist(error: Exception) -> str:
    """The last line that says something: OpenVINO puts the places in its source before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
