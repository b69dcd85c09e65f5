"""What a network computes, operation by operation, before any of it exists: the input of every cost model.

The network is built and called once on torch's meta device: nothing is computed or allocated. Batch norms
and activations are left out, because every engine folds them into the convolution before them; so are casts
and changes of layout.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgead.models.backbones import build_backbone
from edgead.models.config import ModelConfig
from edgead.models.families import build_network
from edgead.models.inspection import InspectionModel
from edgead.models.scoring.rule import ScoreRule
from edgead.models.scoring.scales import Scale, Scales

# torch's operation -> our kind. What is not here is folded into another operation or moves no data.
_KINDS = {
    "convolution": "conv",
    "mm": "linear",
    "bmm": "linear",
    "addmm": "linear",
    "baddbmm": "linear",
    "mean": "reduce",
    "amax": "reduce",
    "amin": "reduce",
    "sum": "reduce",
    "topk": "topk",
    "avg_pool2d": "pool",
    "max_pool2d_with_indices": "pool",
    "_adaptive_avg_pool2d": "pool",
    "upsample_nearest2d": "resize",
    "upsample_bilinear2d": "resize",
    "pixel_shuffle": "resize",
    "cat": "copy",
    "index_select": "copy",
    "gather": "copy",
    "constant_pad_nd": "copy",
    "add": "elementwise",
    "sub": "elementwise",
    "mul": "elementwise",
    "div": "elementwise",
    "pow": "elementwise",
    "log": "elementwise",
    "sqrt": "elementwise",
    "maximum": "elementwise",
    "rsqrt": "elementwise",
    "rsub": "elementwise",
    "abs": "elementwise",
}


@dataclass(frozen=True)
class Layer:
    """One operation; the bytes of its input and output are at one byte an element, without its weights.

    part: "backbone", the network's own (RealNet: "reconstruction 1" to "reconstruction 4", "selection",
    "discriminator", "bank"; InvAD: "style", "decoder", "bank"), "score".
    kind: conv, depthwise, linear, pool, elementwise, resize, reduce, copy, topk.
    """

    part: str
    name: str  # of the module that runs it
    kind: str
    macs: int
    parameters: int
    input_bytes: int
    output_bytes: int


@functools.lru_cache(maxsize=512)
def layers_of(config: ModelConfig) -> tuple[Layer, ...]:
    """Every operation of the deployed network for one image, in the order in which they run."""
    with torch.device("meta"), torch.no_grad():
        model = _deployed(config)
        notes = _Notes(model)
        notes.follow(model)
        with notes:
            model(notes.watched(torch.empty(1, *config.input_size, 3, dtype=torch.uint8)))
    return tuple(notes.layers)


def _deployed(config: ModelConfig) -> InspectionModel:
    """The network as it is exported: nothing to normalise, selections written as 1 x 1 convolutions."""
    backbone = build_backbone(config.backbone, stages=config.stages, weights=None)
    backbone.normalise = nn.Identity()
    network = build_network(config, backbone).eval()
    network.fold()
    components = network.score_components(backbone(torch.empty(1, 3, *config.input_size)))
    return InspectionModel(network, ScoreRule(scales=Scales.like(components, Scale())))


def _parts(model: InspectionModel) -> dict[str, str]:
    """Name of a module -> the part that it belongs to."""
    own = {f"{model.family}.{name}": part for name, part in model.network.parts.items()}
    return {"backbone": "backbone", **own}


class _Notes(TorchDispatchMode):
    """Notes the operations on what comes from the image, with the module and the part that they run in.

    What is computed from weights alone is a constant of the exported graph.
    """

    def __init__(self, model: InspectionModel) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self._parts, self._modules = _parts(model), [""]
        self._last = model.network.last_part
        self._outside = "selection"  # of all modules the residuals are joined; behind the last part, scored

    def follow(self, model: nn.Module) -> None:
        """Keep track of the module that runs."""
        for name, module in model.named_modules():
            module.register_forward_pre_hook(functools.partial(self._enter, name))
            module.register_forward_hook(functools.partial(self._leave, name))

    def watched(self, tensor: Tensor) -> Tensor:
        """Mark a tensor as one that changes from image to image."""
        tensor.changes = True  # type: ignore[attr-defined]
        return tensor

    def _enter(self, name: str, _module: nn.Module, _inputs: object) -> None:
        self._modules.append(name)

    def _leave(self, name: str, _module: nn.Module, _inputs: object, _output: object) -> None:
        self._modules.pop()
        if self._parts.get(name) == self._last:
            self._outside = "score"

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if any(getattr(tensor, "changes", False) for tensor in _tensors(args)):
            for tensor in _tensors((output,)):
                self.watched(tensor)
            kind = _KINDS.get(func.overloadpacket.__name__.rstrip("_"))
            if kind is not None:
                self._note(kind, args, output)
        return output

    def _note(self, kind: str, args: Sequence[Any], output: Any) -> None:
        inputs, results = _tensors(args), _tensors((output,))
        weights: list[Tensor] = []
        macs = 0
        if kind == "conv":
            inputs, weights = inputs[:1], inputs[1:]
            kind = "depthwise" if weights[0].shape[1] == 1 and inputs[0].shape[1] > 1 else "conv"
            transposed = bool(args[6])  # each of its inputs meets the whole kernel, not each output
            macs = (inputs if transposed else results)[0].numel() * math.prod(weights[0].shape[1:])
        elif kind == "linear":
            macs = results[0].numel() * int(inputs[-1].shape[-2])
        self.layers.append(
            Layer(
                part=self._part(),
                name=self._modules[-1],
                kind=kind,
                macs=macs,
                parameters=sum(weight.numel() for weight in weights),
                input_bytes=sum(tensor.numel() for tensor in inputs),
                output_bytes=sum(tensor.numel() for tensor in results[:1]),
            )
        )

    def _part(self) -> str:
        name = self._modules[-1]
        found = (part for prefix, part in self._parts.items() if f"{name}.".startswith(f"{prefix}."))
        return next(found, self._outside)


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found
