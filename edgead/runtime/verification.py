"""Proof that an engine, on this device, gives the answers that were expected when the bundle was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Reference, map_difference
from edgead.errors import VerificationError


class Answers(Protocol):
    """What can be verified: an engine, or a part of one while it is being built."""

    def infer(self, image: NDArray[np.uint8], /) -> tuple[NDArray[np.float32], float]:
        """As `Engine.infer`."""


@dataclass(frozen=True)
class Verification:
    """The largest differences from the reference answers, and what is allowed; of maps the RMS difference."""

    images: int
    map_difference: float
    map_tolerance: float
    score_difference: float
    score_tolerance: float

    @property
    def passed(self) -> bool:
        """Whether both differences are within tolerance; NaN never is."""
        return self.map_difference <= self.map_tolerance and self.score_difference <= self.score_tolerance

    def describe(self) -> str:
        """One line, the same whether it passed or not: measured against allowed."""
        return (
            f"{self.images} reference images: maps differ by {self.map_difference:.3g} RMS at most "
            f"(allowed {self.map_tolerance:.3g}), scores by at most {self.score_difference:.3g} "
            f"(allowed {self.score_tolerance:.3g})"
        )


def verify_engine(engine: Answers, reference: Reference) -> Verification:
    """Run the reference inputs and compare; the caller decides what a failure means (see `demand`)."""
    answers = [engine.infer(image) for image in reference.inputs]
    maps = np.stack([anomaly_map for anomaly_map, _ in answers])
    scores = np.array([score for _, score in answers], np.float64)
    return Verification(
        images=len(scores),
        map_difference=map_difference(maps, reference.anomaly_maps),
        map_tolerance=reference.map_tolerance,
        score_difference=float(np.abs(scores - reference.scores).max()),
        score_tolerance=reference.score_tolerance,
    )


def demand(verification: Verification, *, origin: str) -> None:
    """Raise VerificationError, with what was measured, unless the verification passed."""
    if not verification.passed:
        raise VerificationError(
            f"{origin}: this device does not give the answers expected: {verification.describe()}. "
            "Compile the bundle again on this machine, or update its engine (`edgead doctor`)."
        )
