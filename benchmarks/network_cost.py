"""Parameters and multiply-accumulates of a network, counted by running it once.

On torch's meta device nothing is computed and nothing allocated, so that models of any size can be counted.
Counted are convolutions and matrix products, which is what published tables count; norms, activations and
resizing are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulates (MACs, half the FLOPs) of one call."""

    parameters: int
    macs: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.macs + other.macs)


def count_parameters(module: nn.Module) -> int:
    """Number of parameters, frozen ones included, buffers not; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_cost(module: nn.Module, *inputs: Tensor) -> Cost:
    """Count one call of `module` on `inputs`, which must be on its device."""
    return Cost(count_parameters(module), count_macs(lambda: module(*inputs)))


def count_macs(call: Callable[[], object]) -> int:
    """Multiply-accumulates of whatever `call` runs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() // 2


def count_parts(module: nn.Module, parts: Mapping[str, str], *inputs: Tensor) -> dict[str, Cost]:
    """Count named submodules within one call of `module`: {label: dotted name} -> {label: cost}.

    A submodule that is called more than once has the MACs of all its calls.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    flops = counter.get_flop_counts()
    root = type(module).__name__
    return {
        label: Cost(
            count_parameters(module.get_submodule(name)), sum(flops.get(f"{root}.{name}", {}).values()) // 2
        )
        for label, name in parts.items()
    }
