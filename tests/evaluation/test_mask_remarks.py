"""Masks that are empty, inverted or drawn in their opacity: read where it is clear, said where it is not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.datasets.masks import read_mask
from edgead.datasets.samples import Sample
from edgead.evaluation.evaluator import Evaluation, evaluate_samples
from edgead.map_and_score import MapAndScore

MARK = np.zeros((32, 32), np.uint8)
MARK[8:12, 8:12] = 255


def evaluated(tmp_path: Path, *masks: np.ndarray) -> Evaluation:
    samples = [Sample(tmp_path / "good.png")]
    cv2.imwrite(str(tmp_path / "good.png"), MARK * 0)
    for number, mask in enumerate(masks):
        image, drawn = tmp_path / f"{number}.png", tmp_path / f"{number}_mask.png"
        cv2.imwrite(str(image), MARK)
        cv2.imwrite(str(drawn), mask)
        samples.append(Sample(image, "hole", drawn))
    return evaluate_samples(
        lambda image: MapAndScore(image[..., 0].astype(np.float32), float(image.max())),
        samples,
        size=(32, 32),
    )


def test_masks_of_defects_need_no_word(tmp_path: Path):
    assert evaluated(tmp_path, MARK, MARK).mask_remarks == ()


def test_an_empty_mask_is_said_with_its_image(tmp_path: Path):
    (remark,) = evaluated(tmp_path, MARK, MARK * 0).mask_remarks
    assert "1 of 2 masks are empty at 32 x 32" in remark
    assert "1.png" in remark


def test_inverted_masks_are_asked_about(tmp_path: Path):
    (remark,) = evaluated(tmp_path, 255 - MARK, 255 - MARK).mask_remarks
    assert "inverted" in remark


@pytest.mark.parametrize("opacity", [MARK, 255 - MARK])
def test_a_mask_drawn_in_opacity_is_read(tmp_path: Path, opacity: np.ndarray):
    cv2.imwrite(str(tmp_path / "mask.png"), np.dstack([MARK * 0] * 3 + [opacity]))
    assert np.array_equal(read_mask(tmp_path / "mask.png", (32, 32)), opacity > 0)


def test_opacity_counts_for_nothing_where_there_are_colours(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "mask.png"), np.dstack([MARK] * 3 + [255 - MARK]))
    assert np.array_equal(read_mask(tmp_path / "mask.png", (32, 32)), MARK > 0)


def test_an_opaque_black_mask_is_empty(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "mask.png"), np.dstack([MARK * 0] * 3 + [np.full_like(MARK, 255)]))
    assert not read_mask(tmp_path / "mask.png", (32, 32)).any()
