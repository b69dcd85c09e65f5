"""The choice of a network for a budget: within it, the best, and clear about what cannot be."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest

from edgead.allocation.allocation import Allocation, Limits
from edgead.allocation.choose import choose, residuals_for
from edgead.cost.design_space import Space, configuration
from edgead.cost.predict import TableCosts, cost_model
from edgead.cost.table import read_table
from edgead.errors import DataError, UnknownNameError, UsageError
from edgead.profiles.target import Target
from tests.allocation.known_device import BASE, known_power, table_content

TARGET = Target("mine", "a device", "openvino", ("int8", "f32"), table=table_content())
COSTS = TableCosts(read_table(table_content(), origin="table"), "int8")
SPACE = Space(BASE, 8)


def allocation(latency_ms: float = math.inf, *, space: Space = SPACE, **limits: float) -> Allocation:
    return choose(
        {BASE.input_size: known_power()},
        COSTS,
        space,
        limits=Limits(latency_ms=latency_ms, **limits),
        target=TARGET,
        precision="int8",
    )


LEAST = min(point.ms for point in allocation(1e3).frontier)
MOST = max(point.ms for point in allocation(1e3).frontier)


@pytest.mark.parametrize(("share", "used"), [(0.05, 0.8), (0.4, 0.9), (0.8, 0.9)])
def test_a_plan_is_within_its_budget_and_uses_it(share: float, used: float):
    budget = LEAST + share * (MOST - LEAST)
    found = allocation(budget)
    assert found.promised_ms <= budget * (1 + 1e-9)
    assert found.promised_ms > used * budget  # the smallest networks are few and far apart
    assert found.prediction.total_ms == pytest.approx(COSTS.costs(found.config).ms)


def test_more_time_is_worth_no_less():
    kept = [allocation(LEAST + share * (MOST - LEAST)).kept for share in (0.01, 0.2, 0.5, 1.0)]
    assert kept == sorted(kept)
    assert 0 < kept[0] < kept[-1] <= 1


def test_without_room_for_a_detail_bank_it_is_left_out():
    power = known_power()
    alone = replace(power, stages={2: power.stages[2]}, coverage={}, features={})

    def of(limit: float) -> Allocation:
        return choose(
            {BASE.input_size: alone},
            COSTS,
            SPACE,
            limits=Limits(latency_ms=limit),
            target=TARGET,
            precision="int8",
        )

    least = min(point.ms for point in of(1e3).frontier)
    assert of(1.01 * least).config.detail_stages == (2,)
    found = of(0.95 * least)
    assert found.config.detail_stages == ()
    assert any(note.startswith("no detail bank of stage 2") for note in found.notes)
    assert found.promised_ms <= 0.95 * least


def test_no_network_of_two_stages_is_better():
    # Everything that two stages allow, tried one by one.
    coarse = Space(BASE, 40)
    found = allocation(0.6 * MOST, space=coarse)
    power = known_power()
    best = 0.0
    for stages in itertools.combinations((1, 2, 3, 4), 2):
        ways = [[(m, w) for m in coarse.channel_counts(s) for w in coarse.widths(m)] for s in stages]
        for (m1, w1), (m2, w2) in itertools.product(*ways):
            for bank in coarse.bank_sizes(stages):
                config = configuration(
                    BASE, stages, (m1, m2), (w1, w2), residuals=residuals_for(m1 + m2), bank_size=bank
                )
                if COSTS.costs(config).ms * (1 + COSTS.margin) <= 0.6 * MOST:
                    value = power.stages[stages[0]].value(m1, w1) + power.stages[stages[1]].value(m2, w2)
                    best = max(best, value + power.bank_value(config.bank_stages, bank))
    whole = power.whole((3, 4), coarse.bank_sizes((3, 4))[-1])
    assert found.kept >= best / whole - 1e-12
    assert best > 0


def test_other_limits_hold_as_well():
    free = allocation(MOST)
    small = allocation(MOST, file_mb=0.6 * free.file_mb)
    assert small.file_mb <= 0.6 * free.file_mb
    assert small.kept < free.kept
    lean = allocation(MOST, memory_mb=0.9 * free.prediction.peak_memory_mb)
    assert lean.prediction.peak_memory_mb <= 0.9 * free.prediction.peak_memory_mb


def test_channels_come_in_the_multiples_of_the_device():
    found = allocation(0.7 * MOST, space=Space(BASE, 16))
    whole = {1: 24, 2: 40, 3: 112, 4: 320}
    for stage, budget in zip(found.config.stages, found.config.channels, strict=True):
        assert budget % 16 == 0 or budget == whole[stage]


def test_a_budget_out_of_reach_says_what_holds_it():
    with pytest.raises(UsageError, match=rf"The least is {LEAST:.2f} ms.*is the backbone") as caught:
        allocation(0.5 * LEAST)
    assert "seconds" not in str(caught.value)


def test_a_budget_in_seconds_gets_a_hint():
    with pytest.raises(UsageError, match="looks like seconds: ask for --latency-ms 2"):
        allocation(0.002)


def test_a_budget_in_microseconds_gets_a_hint():
    assert any("microseconds, ask for --latency-ms 2" in note for note in allocation(2000).notes)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_budget_that_is_none_is_refused(value: float):
    with pytest.raises(UsageError, match="--latency-ms: expected a number above 0"):
        Limits(latency_ms=value)


def test_the_next_millisecond_is_named():
    assert " -> " in allocation(0.5 * (LEAST + MOST)).next_ms
    assert allocation(1e3).next_ms.startswith("nothing")


def test_a_plan_survives_json():
    found = allocation(0.8 * MOST)
    again = Allocation.from_json(json.loads(json.dumps(found.to_json())))
    assert again.to_json() == found.to_json()
    assert again.text == found.text
    with pytest.raises(DataError, match="not an allocation"):
        Allocation.from_json({"target": "mine"})


def test_a_table_of_another_version_is_noted():
    content = {**table_content(), "edgead": "0.0.1"}
    notes = cost_model(replace(TARGET, table=content)).notes
    assert any("another version" in note and "0.0.1" in note for note in notes)


def test_without_table_or_published_points_nothing_is_predicted():
    with pytest.raises(UsageError, match="edgead targets measure"):
        cost_model(replace(TARGET, table=None))


def test_an_unknown_precision_has_near_matches():
    with pytest.raises(UnknownNameError, match="Did you mean int8"):
        cost_model(TARGET, precision="int")
