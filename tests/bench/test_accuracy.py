"""The accuracy benchmark draws whole groups to one side, and its claims follow from the results."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from accuracy import Result, drawn_split, result_rows

from edgead.datasets import open_dataset


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)
    assert cv2.imwrite(str(path), picture)


@pytest.mark.parametrize("draw", [1, 2])
def test_a_draw_keeps_groups_whole_and_all_defects(tmp_path: Path, draw: int):
    data, group_of = tmp_path / "data", {}
    for number in range(24):
        side = "test" if number % 4 == 0 else "train"
        write(data / side / "good" / f"{number:02}.png", number)
        group_of[f"{number:02}.png"] = str(number // 3)
    for number in range(5):
        write(data / "test" / "hole" / f"{number}.png", 100 + number)
        write(data / "ground_truth" / "hole" / f"{number}.png", 200 + number)
    drawn = open_dataset(drawn_split(tmp_path / "work", data, group_of, draw=draw))
    good = [sample for sample in drawn.test if not sample.is_anomalous]
    sides = [{group_of[sample.path.name] for sample in side} for side in (drawn.train, good)]
    assert sides[0].isdisjoint(sides[1])
    assert len(drawn.train) + len(good) == 24
    assert 6 <= len(good) < 9  # as many as before, in whole groups of three
    assert [s.mask_path is not None for s in drawn.test if s.is_anomalous] == [True] * 5


def result(data: str, auroc: float, **changed: Any) -> Result:
    def figures(value: float) -> dict[str, float | None]:
        names = ("image_auroc", "caught_at_2_percent", "caught_at_0_1_percent", "au_pro", "pixel_ap")
        return dict.fromkeys(names, value)

    usual = Result(
        subject=data,
        data=data,
        seed=0,
        minutes=10.0,
        figures={"float": figures(auroc + 0.01), "int8": figures(auroc)},
        rejected={"float": 0, "int8": 1},
        good=10,
        promised=0.05,
        interval=(0.0, 0.2),
        groups=18,
        bundle="a.edgead",
        gate="passed",
        rivals={"bank": figures(0.8), "PaDiM": figures(0.9 if data == "x" else 0.5)},
        control=0.5,
    )
    return replace(usual, **changed)


def test_claims_of_two_sets():
    found = [
        result("x", 0.85),
        result("x", 0.95, seed=1, minutes=31.0),
        result("y", 0.95, rejected={"float": 0, "int8": 0}),
    ]
    rows = {row.claim: row for row in result_rows(found)}
    assert rows["x: INT8, image AUROC"].value == pytest.approx(0.90)
    assert rows["mean of 2 sets, INT8, image AUROC"].value == pytest.approx(0.925)
    best = next(row for claim, row in rows.items() if "best rival rule (bank), image AUROC" in claim)
    assert best.value == pytest.approx(0.8)  # one rule for both sets, not the best of each
    assert rows["image AUROC over the best rival rule, mean"].value == pytest.approx(0.125)
    worst = rows["worst set: INT8 over its own best rival"]
    assert (worst.value, worst.met) == (pytest.approx(0.0), True)
    assert rows["good parts rejected, all sets, INT8"].value == pytest.approx(2 / 30)
    assert rows["worst drop of image AUROC to INT8"].value == pytest.approx(0.01)
    assert rows["longest training"].met is False
