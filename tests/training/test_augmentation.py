"""Changed copies of good images: what each change does, which are found harmless, how many there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgead.cli import main
from edgead.errors import UnknownNameError, UsageError
from edgead.learning.progress import Progress
from edgead.models.backbones import build_backbone
from edgead.training.augmentation import Augmentation, augmented, find_augmentation
from edgead.training.settings import TrainSettings
from edgead.training.train import train
from tests.training.small_training import draw_good, settings

SIDE = 64


def picture(seed: int = 0) -> np.ndarray:
    """Grey, uint8 64 64 3, dark at the left and bright at the right, with a white spot below."""
    ramp = np.tile(np.linspace(60, 160, SIDE), (SIDE, 1))
    ramp += np.random.default_rng(seed).normal(0, 6, (SIDE, SIDE))
    ramp[50:58, 20:28] = 250
    return np.repeat(ramp[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


def spot(image: np.ndarray) -> tuple[float, float]:
    """The centre of what is nearly white, (y, x)."""
    ys, xs = np.nonzero(image[..., 0] > 220)
    return float(ys.mean()), float(xs.mean())


def copies(change: Augmentation, count: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [change(picture(), rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("none", Augmentation()),
        ("shift", Augmentation(shift=0.04)),
        ("shift=0.02,rotate=5", Augmentation(shift=0.02, rotate=5.0)),
        ("flip, light", Augmentation(flip_x=1, flip_y=1, light=0.15)),
        ("flip-x", Augmentation(flip_x=1)),
    ],
)
def test_text(text: str, found: Augmentation):
    assert Augmentation.from_text(text) == found
    assert Augmentation.from_text(found.text) == found


@pytest.mark.parametrize("text", ["", "turn", "shift,", "auto,shift"])
def test_an_unknown_name_is_refused(text: str):
    with pytest.raises(UnknownNameError, match="flip-x"):
        Augmentation.from_text(text)


@pytest.mark.parametrize(
    "text", ["shift=far", "shift=", "shift=0.6", "shift=-1", "rotate=nan", "flip=1", "flip-x=0", "light=inf"]
)
def test_an_amount_that_cannot_be_is_refused(text: str):
    with pytest.raises(UsageError):
        Augmentation.from_text(text)
    with pytest.raises(UsageError):
        TrainSettings(augment=text)


def test_shift_moves_as_far_as_said():
    before = spot(picture())
    moved = np.array([spot(image) for image in copies(Augmentation(shift=0.1))]) - before
    assert np.abs(moved).max() <= 0.1 * SIDE + 1
    assert np.abs(moved).max(axis=0).min() > 0.06 * SIDE
    assert np.ptp(moved, axis=0).min() > 0.1 * SIDE  # in either direction


def test_rotate_keeps_the_centre():
    centre = (SIDE - 1) / 2
    radius = np.hypot(*(np.array(spot(picture())) - centre))
    for image in copies(Augmentation(rotate=20)):
        assert abs(np.hypot(*(np.array(spot(image)) - centre)) - radius) < 1.5
        y, x = spot(image)
        turned = np.degrees(np.arctan2(y - centre, x - centre) - np.arctan2(53.5 - centre, 23.5 - centre))
        assert abs(turned) < 22


@pytest.mark.parametrize("axis", [0, 1])
def test_half_of_the_copies_are_flipped(axis: int):
    change = Augmentation(flip_y=1) if axis == 0 else Augmentation(flip_x=1)
    flipped = [np.array_equal(image, np.flip(picture(), axis)) for image in copies(change)]
    assert all(
        f or np.array_equal(image, picture()) for f, image in zip(flipped, copies(change), strict=True)
    )
    assert 10 < sum(flipped) < 30


def test_light_changes_levels_and_not_places():
    levels = [float(image.mean()) for image in copies(Augmentation(light=0.2))]
    assert max(levels) > 1.1 * picture().mean()
    assert min(levels) < 0.9 * picture().mean()
    assert all(
        spot(image) == pytest.approx(spot(picture()), abs=1) for image in copies(Augmentation(light=0.1))
    )


def test_copies_follow_the_images_of_their_product():
    images = np.stack([picture(seed) for seed in range(103)])
    found, counts = augmented(images, (3, 100), Augmentation(light=0.1), seed=4)
    assert counts == (300, 300)
    assert np.array_equal(found[:3], images[:3])
    assert np.array_equal(found[300:400], images[3:])
    again, _ = augmented(images, (3, 100), Augmentation(light=0.1), seed=4)
    assert np.array_equal(found, again)
    assert len({image.tobytes() for image in found[:300]}) > 290


@pytest.mark.parametrize(("count", "together"), [(1, 600), (299, 598), (301, 602), (900, 1800)])
def test_each_image_has_a_copy_at_least(count: int, together: int):
    images = np.full((count, 8, 8, 3), 100, np.uint8)
    found, counts = augmented(images, (count,), Augmentation(light=0.1), seed=0)
    assert counts == (together,)
    assert np.array_equal(found[:count], images)
    assert not np.array_equal(found[count : 2 * count], images)


def test_without_a_change_images_are_left_as_they_are():
    images = np.zeros((5, 8, 8, 3), np.uint8)
    found, counts = augmented(images, (5,), Augmentation(), seed=0)
    assert found is images
    assert counts == (5,)


def test_what_looks_the_same_mirrored_may_be_flipped():
    backbone = build_backbone("efficientnet_lite0", stages=(3,))
    texture = np.random.default_rng(0).integers(60, 200, (24, SIDE, SIDE, 1), np.uint8).repeat(3, axis=3)
    found = find_augmentation(texture[:16], texture[16:], backbone, seed=0)
    assert found.flip_x
    assert found.flip_y


def test_a_part_with_a_top_may_not():
    """Good parts that all have their spot below, and look otherwise upside down."""
    backbone = build_backbone("efficientnet_lite0", stages=(3,))
    parts = np.stack([picture(seed) for seed in range(24)])
    found = find_augmentation(parts[:16], parts[16:], backbone, seed=0)
    assert not found.flip_y
    assert found.light


def test_a_training_says_what_it_found_and_is_the_same_when_told(tmp_path: Path):
    data = draw_good(tmp_path / "parts")
    found = train(data, tmp_path / "found", settings=settings(augment="auto"))
    assert found is not None
    change = Augmentation.from_text(found.settings.augment)
    assert change.light  # good parts of this drawing differ in light
    named = train(data, tmp_path / "named", settings=settings(augment=found.settings.augment))
    without = train(data, tmp_path / "without", settings=settings())
    assert named is not None
    assert without is not None
    assert named.hashes["weights"] == found.hashes["weights"] != without.hashes["weights"]
    assert without.settings.augment == "none"


def test_a_training_with_copies_goes_on_to_the_same_weights(tmp_path: Path):
    data, out = draw_good(tmp_path / "parts"), tmp_path / "stopped"
    whole = train(data, tmp_path / "whole", settings=settings(augment="auto"))

    def stop(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, out, settings=settings(augment="auto"), on_progress=stop)
    again = train(data, out, settings=settings(augment="auto"))
    assert whole is not None
    assert again is not None
    assert again.hashes["weights"] == whole.hashes["weights"]


@pytest.mark.parametrize("text", ["turn", "shift=2"])
def test_the_command_says_what_is_wrong(tmp_path: Path, text: str):
    data = draw_good(tmp_path / "parts")
    command = ["train", str(data), "--out", str(tmp_path / "run"), "--augment", text]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "augmentation" in result.output
    assert not (tmp_path / "run").exists()
