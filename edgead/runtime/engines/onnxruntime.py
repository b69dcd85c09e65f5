"""ONNX Runtime: the portable engine, on the CPU of any machine."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgead.bundle import Manifest
from edgead.errors import EngineError
from edgead.runtime.engines.base import (
    IMAGE_INPUT,
    MAP_OUTPUT,
    SCORE_OUTPUT,
    Engine,
    ModelFiles,
    check_graph,
    model_file,
)

_NUMPY_NAMES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_ERRORS_ONLY = 3


class OnnxRuntimeEngine(Engine):
    """One session on the CPU provider; `threads` are those within an operator."""

    name = "onnxruntime"

    def load(self, files: ModelFiles, manifest: Manifest) -> None:
        """Build a session from `model.onnx`."""
        onnx_file = model_file(files, ".onnx")
        if onnx_file is None:
            raise EngineError(
                f"onnxruntime: expected an .onnx file, found {', '.join(files)}. "
                "Compile the bundle for a target of this engine (`edgead targets`), or use its own engine."
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = self.threads or 0
        try:
            session = onnxruntime.InferenceSession(
                bytes(onnx_file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class of their own
            raise EngineError(
                f"onnxruntime {onnxruntime.__version__} cannot load the model: {str(error)[:300]}. "
                "Compile the bundle again for this machine."
            ) from error
        check_graph(self.name, manifest, _ports(session))
        self._session = session

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """See `Engine.infer`; raises EngineError when the session fails."""
        try:
            maps, scores = self._session.run([MAP_OUTPUT, SCORE_OUTPUT], {IMAGE_INPUT: image[None]})
        except Exception as error:  # its exceptions share no base class of their own
            raise EngineError(
                f"onnxruntime failed on an image: {str(error)[:300]}. Open the bundle again."
            ) from error
        return maps[0], float(scores[0])

    def close(self) -> None:
        """Release the session."""
        self._session = None

    def describe(self) -> dict[str, str]:
        """Version, provider and threads."""
        providers = ",".join(self._session.get_providers())
        threads = str(self.threads or "all")
        return {
            "engine": self.name,
            "version": onnxruntime.__version__,
            "device": providers,
            "threads": threads,
        }

    def devices(self) -> dict[str, str]:
        """The CPU: this class uses no other provider."""
        return {"CPUExecutionProvider": f"onnxruntime {onnxruntime.__version__}"}


def _ports(session: onnxruntime.InferenceSession) -> dict[str, tuple[str, list[int]]]:
    ports = (*session.get_inputs(), *session.get_outputs())
    return {port.name: (_NUMPY_NAMES.get(port.type, port.type), list(port.shape)) for port in ports}
