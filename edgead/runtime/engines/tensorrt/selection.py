"""Which precision a device gets: those that a version can build, proven by the reference answers, and timed.

INT8 is only 1.06 to 1.6 times as fast as half precision on Orin, and for some models slower: so both are
built where the bundle holds both, and the faster is kept among those that give the reference answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgead.bundle import Manifest, Reference
from edgead.errors import EngineError
from edgead.runtime.engines.base import HALF_MODEL
from edgead.runtime.engines.tensorrt.builder import OutOfMemoryError, Recipe
from edgead.runtime.engines.tensorrt.device import CudaDevice
from edgead.runtime.engines.tensorrt.execution import Executor
from edgead.runtime.engines.tensorrt.logger import MessageLog
from edgead.runtime.verification import Verification, verify_engine

_LOG = logging.getLogger("edgead.tensorrt")


@dataclass(frozen=True)
class Trial:
    """A recipe built and tried: its plan, its GPU time, and how near it comes to the reference answers."""

    recipe: Recipe
    plan: bytes
    gpu_ns: int
    proof: Verification | None

    @property
    def is_proven(self) -> bool:
        """Whether the answers are right; without reference answers nothing speaks against them."""
        return self.proof is None or self.proof.passed

    def describe(self) -> str:
        """Time and verdict in a phrase."""
        verdict = "" if self.is_proven else ", but its answers are not those of the reference"
        return f"{self.recipe.name} {self.gpu_ns / 1e6:.3f} ms{verdict}"


def recipes(
    files: Mapping[str, object], manifest: Manifest, *, strongly_typed: bool
) -> tuple[list[Recipe], list[Recipe]]:
    """(those that contend for the lowest time, stricter ones for when none of these gives right answers).

    Raises EngineError for a bundle without an ONNX model, or in a precision that TensorRT is not given.
    """
    main = next(
        (name for name in manifest.model_files if name.endswith(".onnx") and name != HALF_MODEL), None
    )
    if main is None or main not in files:
        raise EngineError(
            f"tensorrt: expected an .onnx file, found {', '.join(files)}. "
            "Compile the bundle for a target of this engine (`edgead targets`)."
        )
    wide = frozenset({"tf32"})
    contenders: dict[str, list[Recipe]] = {
        "int8": [Recipe("int8 with f16", main, wide | {"int8", "f16"})],
        "f16": [Recipe("f16", main, wide | {"f16"})],
        "f32": [Recipe("f32 with tf32", main, wide)],
    }
    if manifest.precision not in contenders:
        raise EngineError(
            f"tensorrt: expected a bundle in {', '.join(contenders)}, found {manifest.precision}. "
            "Compile it again with --precision int8."
        )
    chosen = contenders[manifest.precision]
    if manifest.precision == "int8" and HALF_MODEL in files:
        chosen.append(Recipe("f16", HALF_MODEL, wide | {"f16"}))
    if strongly_typed:  # the model's types decide; TF32 is all that can be taken away
        return chosen, [Recipe("as typed, without tf32", main, frozenset())]
    stricter = frozenset({"int8"} if manifest.precision == "int8" else ())
    return chosen, [Recipe(f"{manifest.precision} with f32, without tf32", main, stricter)]


def fastest_proven(
    contenders: list[Recipe],
    stricter: list[Recipe],
    *,
    build: Callable[[Recipe], bytes],
    try_plan: Callable[[Recipe, bytes], Trial],
) -> tuple[Trial, list[str]]:
    """The plan to keep, and what became of each recipe; raises OutOfMemoryError, and EngineError for no plan.

    If no recipe gives the reference answers the first is kept: the check on opening then says by how much.
    """
    trials: list[Trial] = []
    notes: list[str] = []
    failures: list[EngineError] = []
    for recipe in [*contenders, *stricter]:
        if recipe in stricter and any(trial.is_proven for trial in trials):
            break
        try:
            trial = try_plan(recipe, build(recipe))
        except EngineError as error:
            if isinstance(error, OutOfMemoryError) and not any(trial.is_proven for trial in trials):
                raise  # the caller begins again with less; a comparison that lacks memory is left out
            failures.append(error)
            notes.append(f"{recipe.name} failed: {str(error)[:300]}")
            continue
        _LOG.info("Built %s.", trial.describe())
        trials.append(trial)
        notes.append(trial.describe())
    if not trials:
        raise failures[0]
    proven = [trial for trial in trials if trial.is_proven]
    return (min(proven, key=lambda trial: trial.gpu_ns) if proven else trials[0]), notes


def try_plan(
    recipe: Recipe,
    plan: bytes,
    *,
    manifest: Manifest,
    reference: Reference | None,
    device: CudaDevice,
    log: MessageLog,
) -> Trial:
    """Run a plan on the reference inputs; raises EngineError when it does not run. The context is active."""
    import numpy as np

    executor = Executor(plan, manifest, device=device, log=log)
    try:
        proof = verify_engine(executor, reference) if reference is not None else None
        size = manifest.input
        grey = np.full((size.height, size.width, size.channels), 128, np.uint8)
        image = reference.inputs[0] if reference is not None else grey
        return Trial(recipe, plan, executor.median_gpu_ns(image), proof)
    finally:
        executor.close()
