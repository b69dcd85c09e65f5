"""The best network within limits: which stages, how many channels of each, how wide, how large a bank.

Exact. A network is a chain of choices whose values add up and whose costs add up, but for the residual
selection, which sees the sum of the channels. So the choices of the stages are joined one stage after the
other, sorted by that sum, and of those with equal sums only the ones are kept that no other beats in value
and in every cost: dynamic programming over labels, which never drops what could become best. A test holds it
to trying everything.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StageChoice:
    """One way to use a stage: channels kept, width of its reconstruction, what that is worth and costs."""

    stage: int
    channels: int
    width: int
    value: float
    costs: tuple[float, ...]  # in the order of the limits; each adds up over the network


@dataclass(frozen=True)
class HeadChoice:
    """One way to build what follows the stages: `residuals` passed on, the size of the bank (0: none)."""

    residuals: int
    bank_size: int
    value: float
    costs: tuple[float, ...]


@dataclass(frozen=True)
class StageSet:
    """Stages that are used together: their choices, and those of the head given the sum of the channels."""

    stages: tuple[tuple[StageChoice, ...], ...]
    heads: Callable[[int], Sequence[HeadChoice]]
    costs: tuple[float, ...]  # of the backbone and of all that no choice changes


@dataclass(frozen=True)
class Candidate:
    """A network that no other one beats in value and in every cost."""

    stages: tuple[StageChoice, ...]
    head: HeadChoice
    value: float
    costs: tuple[float, ...]


@dataclass(frozen=True)
class _Labels:
    """Partial networks: value and costs as rows of columns, and the choices behind each row."""

    table: Floats  # n x (1 + costs): minus the value, then the costs: less is better in every column
    choices: NDArray[np.int64]  # n x stages so far: positions in each stage's choices


def undominated(families: Iterable[StageSet], *, limits: Sequence[float]) -> tuple[Candidate, ...]:
    """Every network within the limits (one for each cost) that is not beaten, by rising first cost.

    Costs equal or below the limits are within. Networks that tie in value and all costs appear once.
    """
    blocks = [block for family in families for block in _of_family(family, np.asarray(limits, float))]
    if not blocks:
        return ()
    kept = _unbeaten(np.concatenate([block.table for block in blocks]))
    ends = np.cumsum([len(block.table) for block in blocks])
    found = []
    for position in kept.tolist():
        number = int(np.searchsorted(ends, position, side="right"))
        found.append(blocks[number].candidate(position - int(ends[number]) + len(blocks[number].table)))
    return tuple(sorted(found, key=lambda candidate: candidate.costs))


def best_within(candidates: Sequence[Candidate], limits: Sequence[float]) -> Candidate | None:
    """The candidate of the highest value within tighter limits; the cheaper one where values are equal."""
    pairs = ((c, zip(c.costs, limits, strict=True)) for c in candidates)
    within = [c for c, costs in pairs if all(cost <= limit for cost, limit in costs)]
    return max(within, key=lambda c: (c.value, tuple(-cost for cost in c.costs)), default=None)


@dataclass(frozen=True)
class _Block:
    """Whole networks of one family with one head."""

    family: StageSet
    head: HeadChoice
    table: Floats
    choices: NDArray[np.int64]

    def candidate(self, row: int) -> Candidate:
        picked = zip(self.family.stages, self.choices[row].tolist(), strict=True)
        stages = tuple(choices[position] for choices, position in picked)
        value, *costs = self.table[row].tolist()
        return Candidate(stages, self.head, -value, tuple(costs))


def _of_family(family: StageSet, limits: Floats) -> Iterator[_Block]:
    """Join the stages one by one, keyed by the sum of channels, then every head."""
    states = {0: _Labels(np.array([[0.0, *family.costs]]), np.zeros((1, 0), np.int64))}
    for choices in family.stages:
        states = _joined(states, choices, limits)
    for channels, labels in sorted(states.items()):
        for head in family.heads(channels):
            table = labels.table + np.array([-head.value, *head.costs])
            within = (table[:, 1:] <= limits).all(axis=1)
            if within.any():
                yield _Block(family, head, table[within], labels.choices[within])


def _joined(
    states: Mapping[int, _Labels], choices: Sequence[StageChoice], limits: Floats
) -> dict[int, _Labels]:
    parts: dict[int, list[_Labels]] = {}
    by_channels: dict[int, list[int]] = {}
    for position, choice in enumerate(choices):
        by_channels.setdefault(choice.channels, []).append(position)
    for channels, labels in states.items():
        for own, positions in by_channels.items():
            rows = np.array([(-choices[p].value, *choices[p].costs) for p in positions])
            table = (labels.table[:, None] + rows[None]).reshape(-1, rows.shape[1])
            old = np.repeat(labels.choices, len(positions), axis=0)
            new = np.tile(np.array(positions), len(labels.table))[:, None]
            picked = np.hstack((old, new))
            within = (table[:, 1:] <= limits).all(axis=1)
            if within.any():
                parts.setdefault(channels + own, []).append(_Labels(table[within], picked[within]))
    return {channels: _pruned(found) for channels, found in parts.items()}


def _pruned(parts: Sequence[_Labels]) -> _Labels:
    table = np.concatenate([part.table for part in parts])
    kept = _unbeaten(table)
    return _Labels(table[kept], np.concatenate([part.choices for part in parts])[kept])


def _unbeaten(table: Floats) -> NDArray[np.int64]:
    """Positions of the rows that no other row equals or undercuts in every column; of equal rows, the first.

    Rows come in lexicographic order, so that only an earlier one can beat a row. With two columns, it does
    when its second column has been reached before; with three, the second and third of the rows kept so far
    form a staircase, on which one place is looked up; with more, each row is held against all those kept.
    """
    if not len(table):
        return np.zeros(0, np.int64)
    order = np.lexsort(table.T[::-1])
    rows = table[order]
    if rows.shape[1] == 2:
        best = np.minimum.accumulate(rows[:, 1])
        kept = np.concatenate(([True], rows[1:, 1] < best[:-1]))
        return np.asarray(order[kept])
    return np.asarray(order[_above_stairs(rows) if rows.shape[1] == 3 else _one_by_one(rows)])


def _above_stairs(rows: Floats) -> list[int]:
    """The rows of three columns, in lexicographic order, that no earlier one beats."""
    kept: list[int] = []
    stairs_x: list[float] = []  # rising
    stairs_y: list[float] = []  # falling
    for position, (x, y) in enumerate(rows[:, 1:].tolist()):
        at = bisect.bisect_right(stairs_x, x)
        if at and stairs_y[at - 1] <= y:
            continue
        kept.append(position)
        end = at = bisect.bisect_left(stairs_x, x)
        while end < len(stairs_y) and stairs_y[end] >= y:
            end += 1
        stairs_x[at:end], stairs_y[at:end] = [x], [y]
    return kept


def _one_by_one(rows: Floats) -> list[int]:
    kept: list[int] = []
    front = np.empty((0, rows.shape[1] - 1))
    for position, row in enumerate(rows):
        if not len(front) or not (front <= row[1:]).all(axis=1).any():
            kept.append(position)
            front = np.vstack((front, row[1:]))
    return kept
