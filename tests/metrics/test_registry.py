"""The registry of metrics: every place that lists metrics uses it, and no name is spelt elsewhere."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest

import edgead
from edgead.compiler import gate
from edgead.evaluation import evaluator
from edgead.map_and_score import MapAndScore
from edgead.metrics import BY_KIND, GATED, METRICS, SUMMARY, registry
from edgead.metrics.registry import Metric
from edgead.report import model_table, page

PACKAGE = Path(edgead.__file__).parent


def answers() -> tuple[list[MapAndScore], list[np.ndarray | None]]:
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:4] = True
    maps = [np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)]
    maps[1][1, 1] = 1.0
    return [MapAndScore(one, float(one.max())) for one in maps], [None, mask]


def test_the_keys_are_distinct_and_the_parts_are_of_the_whole():
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    assert set(SUMMARY) | set(BY_KIND) <= set(METRICS)


def test_a_metric_that_is_added_stands_everywhere(monkeypatch: pytest.MonkeyPatch):
    added = Metric("added", "added metric", "added", lambda measured: 0.25, True, True)
    summary = (*SUMMARY, added)
    for module in (evaluator, page):
        monkeypatch.setattr(module, "SUMMARY", summary)
    monkeypatch.setattr(page, "METRICS", (*METRICS, added))
    measured = evaluator.measure(*answers())
    assert measured.summary()["added"] == 0.25  # of evaluate, training and the gate
    assert registry.figures(measured, (*METRICS, added))["added"] == 0.25
    assert ("added metric", "0.2500") in page._metrics(measured)


def test_the_gate_limits_what_the_recipe_limits():
    fields = {field.name for field in dataclasses.fields(gate.GateSpec)}
    assert set(gate._LIMITED) == {metric.key for metric in GATED}
    assert set(gate._LIMITED.values()) <= fields


def test_the_columns_of_tables_are_those_of_the_registry():
    assert [model_table.COLUMNS[metric.key] for metric in METRICS] == [metric.column for metric in METRICS]


def test_no_key_of_a_metric_is_spelt_elsewhere():
    keys = {metric.key for metric in METRICS}
    spelt = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "metrics" / "registry.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in keys
    ]
    assert spelt == [], spelt
