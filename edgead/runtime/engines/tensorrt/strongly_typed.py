"""What TensorRT 11 does alone: precisions are the model's own types, and no flag changes them."""

from __future__ import annotations

import tensorrt as trt


def create_network(builder: trt.Builder) -> trt.INetworkDefinition:
    """An empty network; every one is strongly typed, so no flag is set."""
    return builder.create_network()


def set_precisions(config: trt.IBuilderConfig, allowed: frozenset[str]) -> None:
    """Only whether float32 may be computed in TF32 is left to choose."""
    if "tf32" in allowed:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
