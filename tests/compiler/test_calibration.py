from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from drawn_parts import anomalous_image, draw_part, good_image

from edgead.compiler.calibration import calibration_list, check_apart, image_sha256
from edgead.compiler.image_sets import draw_calibration, draw_gate_set
from edgead.compiler.recipe import CalibrationSpec, GateSpec
from edgead.errors import CompileError

NAMED = [(f"{i}.png", draw_part(i)) for i in range(6)]


def test_the_list_says_where_every_image_comes_from() -> None:
    items = [good_image(1), anomalous_image(2)]
    rows = json.loads(calibration_list(items))["images"]
    assert rows[0] == {"name": "001.png", "sha256": items[0].sha256, "source": "good"}
    assert rows[1]["origin_sha256"] == good_image(2).sha256
    assert (rows[1]["source"], rows[1]["seed"], rows[1]["strength"]) == ("square", 2, 1.0)


def test_a_hash_depends_on_shape_and_pixels_alone() -> None:
    image = draw_part(0)
    assert image_sha256(image) == image_sha256(image[:, ::1].copy())
    assert image_sha256(image) == image_sha256(np.asfortranarray(image))
    assert image_sha256(image) != image_sha256(image.reshape(-1, 1, 3))


@pytest.mark.parametrize(
    ("calibrating", "judging"),
    [
        (good_image(1), good_image(1)),
        (anomalous_image(1), good_image(1)),
        (good_image(1), anomalous_image(1)),
        (dataclasses.replace(good_image(1), name="copy.png"), good_image(1)),
    ],
)
def test_an_image_that_calibrates_and_judges_is_refused(calibrating, judging) -> None:
    with pytest.raises(CompileError, match=f"'{calibrating.name}' calibrates and '001.png' has the same"):
        check_apart([good_image(5), calibrating], [judging])


def test_a_withheld_image_must_not_calibrate() -> None:
    image = good_image(3)
    with pytest.raises(CompileError, match=r"test/7\.png"):
        check_apart([image], [good_image(9)], withheld={image.sha256: "test/7.png"})
    check_apart([image], [good_image(9)], withheld={"0" * 64: "test/7.png"})


def test_calibration_holds_the_share_of_anomalies_that_the_recipe_wants() -> None:
    drawn = draw_calibration(NAMED, spec=CalibrationSpec(images=8, anomalous_share=0.5))
    assert [item.source == "good" for item in drawn] == [True] * 4 + [False] * 4
    assert drawn == sorted(drawn, key=lambda item: item.source != "good")
    again = draw_calibration(NAMED, spec=CalibrationSpec(images=8, anomalous_share=0.5))
    assert calibration_list(drawn) == calibration_list(again)


@pytest.mark.parametrize(
    ("images", "share", "good", "anomalous"), [(100, 0.4, 6, 4), (6, 0, 6, 0), (4, 1, 0, 4)]
)
def test_a_small_data_set_keeps_the_share(images: int, share: float, good: int, anomalous: int) -> None:
    drawn = draw_calibration(NAMED, spec=CalibrationSpec(images=images, anomalous_share=share))
    assert sum(item.source == "good" for item in drawn) == good
    assert sum(item.source != "good" for item in drawn) == anomalous


def test_images_that_judge_are_left_out_of_calibration() -> None:
    judges = {image_sha256(image) for _, image in NAMED[:3]}
    drawn = draw_calibration(NAMED, spec=CalibrationSpec(images=50), apart_from=judges)
    assert {item.name for item in drawn} == {"3.png", "4.png", "5.png"}
    with pytest.raises(CompileError, match="found none"):
        draw_calibration(NAMED[:3], spec=CalibrationSpec(), apart_from=judges)


def test_the_gate_set_has_every_image_and_anomalies_on_it() -> None:
    drawn = draw_gate_set(NAMED, spec=GateSpec(images=4, anomalies=12))
    assert len(drawn) == 4 + 12
    assert all(item.is_anomalous for item in drawn[4:])
    with pytest.raises(CompileError, match="found none"):
        draw_gate_set([], spec=GateSpec())
