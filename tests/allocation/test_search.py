"""The allocation is exact: it finds what trying everything finds."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.allocation.search import (
    Candidate,
    HeadChoice,
    StageChoice,
    StageSet,
    best_within,
    undominated,
)

numbers = st.integers(0, 12).map(float)  # few values, so that there are ties
budgets = st.sampled_from([8, 16, 24])


@st.composite
def families(draw: st.DrawFn, columns: int) -> StageSet:
    costs = st.tuples(*[numbers] * columns)
    stage = st.builds(
        StageChoice, stage=st.just(1), channels=budgets, width=st.just(8), value=numbers, costs=costs
    )
    stages = draw(st.lists(st.lists(stage, min_size=1, max_size=5).map(tuple), min_size=1, max_size=3))
    head = st.builds(HeadChoice, residuals=st.just(16), bank_size=st.just(0), value=numbers, costs=costs)
    sums = {sum(choice.channels for choice in chosen) for chosen in itertools.product(*stages)}
    heads = {total: draw(st.lists(head, max_size=3)) for total in sorted(sums)}
    return StageSet(tuple(stages), heads.__getitem__, draw(costs))


def every_network(family: StageSet) -> list[Candidate]:
    found = []
    for chosen in itertools.product(*family.stages):
        for head in family.heads(sum(choice.channels for choice in chosen)):
            parts = [family.costs, head.costs, *(choice.costs for choice in chosen)]
            costs = tuple(map(sum, zip(*parts, strict=True)))
            value = head.value + sum(choice.value for choice in chosen)
            found.append(Candidate(chosen, head, value, costs))
    return found


def is_within(candidate: Candidate, limits: tuple[float, ...]) -> bool:
    return all(cost <= limit for cost, limit in zip(candidate.costs, limits, strict=True))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), columns=st.integers(1, 3))
def test_the_allocation_is_that_of_trying_everything(data: st.DataObject, columns: int):
    several = data.draw(st.lists(families(columns), min_size=1, max_size=2))
    limits = tuple(data.draw(st.sampled_from([5.0, 15.0, 30.0, 1e9])) for _ in range(columns))
    allowed = [c for family in several for c in every_network(family) if is_within(c, limits)]
    found = undominated(several, limits=limits)
    points = {(c.value, c.costs) for c in allowed}
    best = {
        (value, costs)
        for value, costs in points
        if not any(
            (other, others) != (value, costs)
            and other >= value
            and all(a <= b for a, b in zip(others, costs, strict=True))
            for other, others in points
        )
    }
    assert {(c.value, c.costs) for c in found} == best
    assert len(found) == len(best)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_tighter_limit_is_met_from_what_was_found(data: st.DataObject):
    family = data.draw(families(2))
    limits = (data.draw(numbers) * 4, data.draw(numbers) * 4)
    chosen = best_within(undominated([family], limits=(1e9, 1e9)), limits)
    allowed = [c for c in every_network(family) if is_within(c, limits)]
    assert (chosen is None) == (not allowed)
    if chosen is not None:
        assert chosen.value == max(c.value for c in allowed)
