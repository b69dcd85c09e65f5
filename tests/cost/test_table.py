"""Measured tables: they tell a device whose costs add up, and refuse what is not a table."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgead.cost.compact_layers import network_layers
from edgead.cost.design_space import Space
from edgead.cost.probes import draw_configs
from edgead.cost.profile_file import profile_with_table
from edgead.cost.table import read_table
from edgead.errors import UsageError
from tests.allocation.known_device import BASE, DEVICE, known_ms, measured, table_content


def test_a_device_whose_costs_add_up_is_told():
    model = read_table(table_content(), origin="table").model("int8")
    others = draw_configs(Space(BASE, 8), 21, seed=77, resized=False)[1:]
    off = [abs(model.predict(network_layers(c)).total_ms / known_ms(c) - 1) for c in others]
    assert np.median(off) < 0.02
    assert max(off) < 0.1


def test_parts_add_up_to_the_whole():
    prediction = read_table(table_content(), origin="table").model("int8").predict(network_layers(BASE))
    assert sum(prediction.parts_ms.values()) == pytest.approx(prediction.total_ms)
    assert min(prediction.parts_ms.values()) >= 0
    assert prediction.basis == "measured table"
    assert prediction.relative_error is not None


def test_what_was_measured_is_read_again():
    table = read_table(table_content(), origin="table")
    assert table.measured_on == DEVICE
    assert [point.config.to_json() for point in table.points] == [one.config for one in measured()]
    assert [point.ms for point in table.points] == pytest.approx([one.ms for one in measured()], abs=1e-3)


def test_a_table_takes_the_place_of_the_old_one():
    profile = '# mine\ndescription = "a device"\n\n[table]\nold = 1\n'
    text = profile_with_table(profile, DEVICE, measured()[:1])
    assert text.startswith('# mine\ndescription = "a device"')
    assert "old" not in text
    assert text.count("[table]") == 1


def test_a_change_is_named():
    table = read_table(table_content(), origin="table")
    now = replace(DEVICE, engine_version="2.0", threads=4, date="2030-01-01")
    assert table.changes(now) == ["engine version: 1.0, now 2.0", "threads: 1, now 4"]
    assert table.changes(replace(DEVICE, date="2030-01-01")) == []


def test_a_network_outside_of_what_was_measured_is_named():
    table = read_table(table_content(), origin="table")
    assert table.covers(BASE) == []
    assert "512 x 512" in table.covers(replace(BASE, input_height=512, input_width=512))[0]
    assert "resnet18" in table.covers(replace(BASE, backbone="resnet18"))[0]


def test_too_few_points_of_a_precision_are_refused():
    with pytest.raises(UsageError, match="0 points in f32"):
        read_table(table_content(), origin="table").model("f32")


BAD: list[tuple[str, Any, str]] = [
    ("ms", -1.0, "from 0 up"),
    ("ms", float("nan"), "from 0 up"),
    ("ms", "fast", "from 0 up"),
    ("stages", [4, 1], "not a network"),
    ("stages", 3, "expected list"),
    ("budgets", [10_000] * 4, "not a network"),
    ("backbone", "resnet19", "Did you mean"),
    ("residuals", True, "expected int"),
    ("height", 100, "not a network"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD, ids=[f"{k}={v}" for k, v, _ in BAD])
def test_a_bad_point_is_refused_with_its_number(key: str, value: Any, message: str):
    content = copy.deepcopy(table_content())
    content["points"][2][key] = value
    with pytest.raises(UsageError, match=message) as caught:
        read_table(content, origin="mine.toml: table")
    assert "mine.toml: table: point 3" in str(caught.value)


@pytest.mark.parametrize("change", ["missing", "unknown", "empty"])
def test_a_table_of_other_fields_is_refused(change: str):
    content = copy.deepcopy(table_content())
    if change == "missing":
        del content["engine"]
    elif change == "unknown":
        content["speed"] = 3
    else:
        content["points"] = []
    with pytest.raises(UsageError, match=change if change != "empty" else "expected a list"):
        read_table(content, origin="table")
