"""The models that the latency benchmark compares, each as a call on one image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Bundle
from edgead.compiler.recipe import Recipe

Image = NDArray[np.uint8]
SIZE = 256


@dataclass(frozen=True)
class Request:
    """An OpenVINO request whose input and outputs were allocated once; `call` runs it on what is there."""

    call: Callable[[], object]
    outputs: tuple[NDArray[np.float32], ...]


def untrained_bundle(folder: Path, *, images: int, calibration_images: int) -> Path:
    """Compile a model of the default configuration after one step of training: right for latency alone."""
    from edgead.compiler.from_run import compile_run
    from edgead.compiler.recipe import load_recipe
    from edgead.datasets import draw_demo
    from edgead.profiles.target import read_target
    from edgead.training.settings import TrainSettings
    from edgead.training.train import train

    (data,) = draw_demo(folder / "data", products=("metal",), train_images=images, test_images=2)
    settings = TrainSettings(steps=1, selection_batches=1, batch=4)
    train(data, folder / "run", settings=settings)
    recipe = load_recipe("default").with_max_drop(1.0)  # an untrained model has no accuracy to lose
    calibration = replace(recipe.calibration, images=calibration_images)
    gate = replace(recipe.gate, images=2, anomalies=2)
    recipe = replace(recipe, calibration=calibration, gate=gate)
    out = folder / "untrained.edgead"
    compile_run(folder / "run", target=read_target("intel-cpu"), out=out, recipe=recipe)
    return out


def backbone_int8(name: str, stages: Sequence[int], images: Sequence[Image], *, recipe: Recipe) -> bytes:
    """The backbone alone as INT8 ONNX: uint8 1 H W 3 in, normalised inside, the maps of its stages out.

    Folded, exported and quantized as compiled models are. It has no head, so that none stays in float.
    """
    from edgead.compiler.quantize import int8_onnx_from_onnx

    # Weights to the nearest step: other numbers, in the same time.
    spec = replace(recipe.quantization, keep_head_layers=0, keep_layers=(), weight_rounding="nearest")
    return int8_onnx_from_onnx(_backbone_onnx(name, stages, images[0].shape), images, spec=spec)


def _backbone_onnx(name: str, stages: Sequence[int], shape: tuple[int, ...]) -> bytes:
    import onnx
    import torch

    from edgead.compiler import export
    from edgead.compiler.simplify import simplify
    from edgead.models.backbones import build_backbone
    from edgead.models.folding import fold_backbone

    class Alone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = fold_backbone(build_backbone(name, stages=stages))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(self.backbone(images.permute(0, 3, 1, 2).float()))

    # The public function insists on a map and a score; what is traced must otherwise be traced alike.
    content = export._export(Alone().eval(), torch.zeros((1, *shape), dtype=torch.uint8))
    proto = onnx.load_model_from_string(content)
    simplify(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def openvino_request(
    model: Any, image: Image, *, threads: int | None = None, precision: str = "f32"
) -> Request:
    """Compile ONNX bytes or an OpenVINO model for the CPU as the runtime does, with `image` as its input.

    `precision` is that of what is not INT8. The runtime asks for f32: OpenVINO left to itself takes bfloat16
    where the processor has it, which gives other answers and, without AMX, takes longer.
    """
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    settings["INFERENCE_PRECISION_HINT"] = precision
    read = core.read_model(model) if isinstance(model, bytes) else model
    compiled = core.compile_model(read, "CPU", settings)
    request = compiled.create_infer_request()
    given = image[None].copy()  # of its own: OpenVINO wants it writeable
    request.set_input_tensor(0, openvino.Tensor(given, shared_memory=True))
    outputs = tuple(np.zeros(tuple(port.shape), np.float32) for port in compiled.outputs)
    for number, array in enumerate(outputs):
        request.set_output_tensor(number, openvino.Tensor(array, shared_memory=True))
    kept = (compiled, request, given, outputs)  # the request reads and writes memory that these own

    def call() -> object:
        kept[1].infer(share_outputs=True)
        return kept

    return Request(call, outputs)


def bundle_model(bundle: Bundle) -> bytes:
    """The ONNX graph of a bundle."""
    return bytes(next(content for name, content in bundle.files.items() if name.endswith(".onnx")))


def paper_model(image: Image) -> Any:
    """The paper's configuration as an OpenVINO model: uint8 in; map and score out.

    Converted directly from torch: its weights are beyond the 2 GB of an ONNX file. The weights are random.
    """
    import openvino
    import torch

    from benchmarks.paper_realnet import paper_map_and_score, paper_realnet

    class Deployed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = paper_realnet(weights=None).eval().requires_grad_(False)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return paper_map_and_score(self.network(images.permute(0, 3, 1, 2).float()).logits)

    example = torch.from_numpy(image[None].copy())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return openvino.convert_model(Deployed().eval(), example_input=example, input=[1, *image.shape])
