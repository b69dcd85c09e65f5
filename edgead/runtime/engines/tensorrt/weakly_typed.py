"""What TensorRT 8.5 to 10.x do alone: a network of free precisions, which builder flags allow.

With Q/DQ nodes in the model the INT8 flag permits their precision; calibrators and scales of tensors play no
part. Layers without Q/DQ may run in half precision under the FP16 flag, in TF32 or float without it.
"""

from __future__ import annotations

import tensorrt as trt

# By name: the numbers of the flags differ between versions.
FLAGS = {"int8": trt.BuilderFlag.INT8, "f16": trt.BuilderFlag.FP16, "tf32": trt.BuilderFlag.TF32}


def create_network(builder: trt.Builder) -> trt.INetworkDefinition:
    """An empty network with an explicit batch: 8.x needs the flag, 10.x ignores it."""
    return builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))


def set_precisions(config: trt.IBuilderConfig, allowed: frozenset[str]) -> None:
    """Allow these precisions of FLAGS beside float32, and no other."""
    for name, flag in FLAGS.items():
        if name in allowed:
            config.set_flag(flag)
        else:
            config.clear_flag(flag)
