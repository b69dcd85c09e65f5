"""What a long piece of work reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a training stands; `losses` are of the last step."""

    stage: str
    step: int
    steps: int
    losses: Mapping[str, float]


OnProgress = Callable[[Progress], None]
