"""What the code and the texts say of the analytic model is what its benchmark found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.published_latencies import read_published_points
from edgead.cost.analytic import PUBLISHED

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "budget_published.json"


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def row(found: dict[str, Any], start: str) -> dict[str, Any]:
    (only,) = [row for row in found["rows"] if row["claim"].startswith(start)]
    return only


def test_it_was_fitted_on_the_points_that_are_there(found: dict[str, Any]):
    assert found["settings"]["points"] == len(read_published_points())
    for name in ("launch_cycles", "compute_share", "memory_share"):
        assert getattr(PUBLISHED, name) == pytest.approx(found["settings"][name], rel=0.002)


def test_the_error_that_predictions_state(found: dict[str, Any]):
    stated = row(found, "device and family left out: median of the families")["value"]
    assert PUBLISHED.relative_error == pytest.approx(stated, abs=0.001)


@pytest.mark.parametrize(
    ("claim", "pages"),
    [
        pytest.param(
            "published points of devices left out",
            ["README.md", "docs/measurements.md", "docs/targets.md"],
            id="median",
        ),
        pytest.param("the same: 90th percentile", ["docs/targets.md"], id="90th percentile"),
        pytest.param("all points, older Jetsons", ["docs/targets.md"], id="all points"),
    ],
)
def test_the_texts_have_its_figures(found: dict[str, Any], claim: str, pages: list[str]):
    figure = f"{row(found, claim)['value']:.1%}".replace("%", " %")
    assert [page for page in pages if figure not in (ROOT / page).read_text(encoding="utf-8")] == []


def test_its_bar_was_met(found: dict[str, Any]):
    asked = row(found, "published points of devices left out")
    assert (asked["bar"], asked["goal"]) == (0.25, 0.12)
    assert asked["met"]
