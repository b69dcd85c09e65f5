"""docs/targets.md says what the profiles and the cost model say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "targets.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "make_targets.py"))


def test_the_tables_are_up_to_date(page: str, script: dict[str, Any]):
    assert script["filled_in"](page) == page, "run python docs/make_targets.py"


def test_the_table_of_measurements_is_up_to_date(script: dict[str, Any]):
    page = (DOCS / "measurements.md").read_text(encoding="utf-8")
    assert script["measurements_filled_in"](page) == page, "run python docs/make_targets.py"


def test_a_table_without_its_marks(script: dict[str, Any]):
    with pytest.raises(SystemExit, match="'figures', found 0"):
        script["filled_in"]("no marks")


def test_the_example_is_a_profile(page: str, tmp_path: Path):
    from edgead.profiles.target import read_target

    path = tmp_path / "mine.toml"
    path.write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    assert read_target(path).mode().peak_tops("int8") == 10.0


def test_the_numbers_of_the_model(page: str):
    from edgead.cost.analytic import PUBLISHED

    numbers = (
        f"{PUBLISHED.launch_cycles:,} cycles, {PUBLISHED.compute_share:.0%} and {PUBLISHED.memory_share:.0%}"
    )
    assert numbers.replace(",", " ", 1).replace("%", " %") in page
