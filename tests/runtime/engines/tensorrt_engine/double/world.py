"""The machine that the doubles pretend to be, and what happens on it: set by a test, read by both doubles."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

VARIABLE = "EDGEAD_TEST_WORLD"


@dataclass
class World:
    """A device and its faults.

    gpu_ms: time of an inference by the precisions allowed ("f16+int8+tf32"); 1.0 where none is given.
    wrong: precisions (as above) whose answers are off by a tenth.
    out_of_memory_above_mb, killed_above_mb: a build with more workspace reports so, or ends the process.
    starved: precisions whose build runs out of memory with any workspace.
    unbuildable: precisions for which TensorRT finds no implementation.
    """

    tensorrt: str = "10.3.0"
    devices: int = 1
    name: str = "Orin"
    compute_capability: tuple[int, int] = (8, 7)
    multiprocessors: int = 8
    memory_mb: int = 15_000
    is_integrated: bool = True
    gpu_ms: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    unbuildable: list[str] = field(default_factory=list)
    starved: list[str] = field(default_factory=list)
    out_of_memory_above_mb: int = 10**9
    killed_above_mb: int = 10**9
    build_seconds: float = 0.0
    builds: list[dict[str, Any]] = field(default_factory=list)
    enqueue_seconds: float = 0.0
    live_allocations: int = 0
    allocations: int = 0
    contexts: int = 0

    def to_environment(self) -> dict[str, str]:
        """The variable by which a process of a test begins in this world."""
        return {VARIABLE: json.dumps(asdict(self))}


def world_from_environment() -> World:
    """The world that the parent process set up; the plain one otherwise."""
    stated = json.loads(os.environ.get(VARIABLE, "{}"))
    if "compute_capability" in stated:
        stated["compute_capability"] = tuple(stated["compute_capability"])
    return World(**stated)


current = world_from_environment()
