"""ONNX Runtime: the portable engine, on the CPU of any machine and on NVIDIA GPUs.

A bundle for TensorRT runs here on a GPU that has no Python package of TensorRT: ONNX Runtime's own TensorRT
provider builds the engine, its CUDA provider computes what is left. Bundles for a CPU stay on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgead.bundle import Manifest
from edgead.errors import EngineError
from edgead.files import cache_folder, private_folder
from edgead.runtime.engines.base import (
    IMAGE_INPUT,
    MAP_OUTPUT,
    SCORE_OUTPUT,
    Engine,
    ModelFiles,
    check_graph,
    model_file,
)

onnxruntime.disable_telemetry_events()  # on Windows, where the variable is not read
_NUMPY_NAMES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_ERRORS_ONLY = 3


# In the order in which they are tried; the options are those that keep what the accuracy gate measured.
_TENSORRT, _CUDA, _CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
_INSTALL_GPU = "pip uninstall onnxruntime, then pip install onnxruntime-gpu (with its CUDA and cuDNN)"


class OnnxRuntimeEngine(Engine):
    """One session; `threads` are those within an operator on the CPU."""

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
        wanted = providers_for(manifest, onnxruntime.get_available_providers())
        _make_cache(wanted)
        try:
            session = onnxruntime.InferenceSession(bytes(onnx_file), options, providers=wanted)
        except Exception as error:  # its exceptions share no base class of their own
            raise EngineError(
                f"onnxruntime {onnxruntime.__version__} cannot load the model: {str(error)[:300]}. "
                "Compile the bundle again for this machine."
            ) from error
        check_graph(self.name, manifest, _ports(session))
        _check_provider([name for name, _ in wanted], session.get_providers())
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
        """The providers that this installation has: the GPU's serve bundles that were made for TensorRT."""
        found = [name for name in (_TENSORRT, _CUDA, _CPU) if name in onnxruntime.get_available_providers()]
        return dict.fromkeys(found, f"onnxruntime {onnxruntime.__version__}")


def providers_for(manifest: Manifest, available: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The providers of a session with their options, the preferred first; the CPU is always the last.

    The GPU's for bundles that were made for TensorRT alone: a CPU bundle's figures are a CPU's.
    """
    wanted: list[tuple[str, dict[str, str]]] = []
    if manifest.engine == "tensorrt":
        if _TENSORRT in available:
            wanted.append((_TENSORRT, _tensorrt_options(manifest)))
        if _CUDA in available:
            # Without TF32, for float layers are float32 where the accuracy was measured.
            wanted.append((_CUDA, {"use_tf32": "0"}))
    return [*wanted, (_CPU, {})]


def _tensorrt_options(manifest: Manifest) -> dict[str, str]:
    """Engines are kept, as their build takes minutes; its library drops those of another version or GPU."""
    folder = str(cache_folder(error=EngineError) / "onnxruntime")
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        "trt_int8_enable": str(int(manifest.precision == "int8")),
        "trt_fp16_enable": str(int(manifest.precision in ("int8", "f16"))),
    }


def _make_cache(wanted: Sequence[tuple[str, dict[str, str]]]) -> None:
    for folder in (options["trt_engine_cache_path"] for name, options in wanted if name == _TENSORRT):
        private_folder(Path(folder), error=EngineError)


def _check_provider(wanted: Sequence[str], found: Sequence[str]) -> None:
    """ONNX Runtime goes to the CPU without a word that stops anyone; on a line that is ten times too slow."""
    if len(wanted) > 1 and not set(wanted[:-1]) & set(found):
        raise EngineError(
            f"onnxruntime {onnxruntime.__version__}: expected {' or '.join(wanted[:-1])}, found "
            f"{', '.join(found)} alone: the GPU's provider is installed and does not start. Its CUDA, cuDNN "
            f"or TensorRT libraries are missing or of another version. Reinstall: {_INSTALL_GPU}."
        )


def _ports(session: onnxruntime.InferenceSession) -> dict[str, tuple[str, list[int]]]:
    ports = (*session.get_inputs(), *session.get_outputs())
    return {port.name: (_NUMPY_NAMES.get(port.type, port.type), list(port.shape)) for port in ports}
