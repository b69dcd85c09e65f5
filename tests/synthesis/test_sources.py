"""Every source: strength from hardly visible to obvious, plugging in, textures from files."""

from __future__ import annotations

import numpy as np
import pytest
from synthesis_pictures import part, surfaces

from edgead.errors import DataError, UsageError
from edgead.images import write_image
from edgead.synthesis import SOURCES, AnomalySource, Material, Synthesizer, synthesizer
from edgead.synthesis.subtle_changes import CHANGES
from edgead.synthesis.texture_bank import DRAWN_FAMILIES, TextureBank
from edgead.synthesis.textures import AUGMENTATIONS, augment

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def material(*, colour: bool = False, count: int = 4) -> Material:
    images = surfaces(count, shape_hw=(96, 96), colour=colour)
    return Material(images=images, textures=TextureBank(), is_grey=not colour, fills_frame=True)


def mean_change(source: AnomalySource, strength: float, *, seeds: int = 60) -> float:
    """Mean absolute difference over many samples at one strength, the same random states for each."""
    whole = np.ones((96, 96), np.bool_)
    changes = []
    for seed in range(seeds):
        image = source.material.images[seed % len(source.material.images)]
        altered, _ = source.apply(image, np.random.default_rng(seed), strength=strength, foreground=whole)
        changes.append(np.abs(altered.astype(int) - image).mean())
    return float(np.mean(changes))


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize("name", SOURCES)
def test_stronger_means_more_change(name, colour):
    source = SOURCES[name](material(colour=colour))
    changes = [mean_change(source, strength) for strength in STRENGTHS]
    assert changes == sorted(changes)
    assert changes[0] < 0.25 * changes[-1]


@pytest.mark.parametrize("name", CHANGES)
def test_each_near_change_grows_with_its_strength(name, monkeypatch):
    monkeypatch.setattr("edgead.synthesis.subtle.CHANGES", {name: CHANGES[name]})
    source = SOURCES["subtle"](material())
    low, middle, high = (mean_change(source, strength, seeds=40) for strength in (0.05, 0.4, 1.0))
    assert low <= middle <= high
    assert low < 0.6 * high


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strengths_outside_the_range_are_refused(strength):
    source = SOURCES["subtle"](material())
    with pytest.raises(UsageError):
        source.apply(
            source.material.images[0],
            np.random.default_rng(0),
            strength=strength,
            foreground=np.ones((96, 96), np.bool_),
        )


@pytest.mark.parametrize("name", SOURCES)
def test_sources_stay_on_the_part(name):
    drawn = [part(inside=(190,) * 3, outside=(30,) * 3, seed=seed) for seed in range(4)]
    tool = Synthesizer([image for image, _ in drawn], sources={name: 1.0})
    assert tool.foreground.rule != "whole"
    for seed in range(12):
        sample = tool(seed % 4, np.random.default_rng(seed))
        assert not (sample.mask & ~tool.foreground.mask(drawn[seed % 4][0])).any()


class _Inverted(AnomalySource):
    name = "inverted"
    strength_range = (1.0, 1.0)

    def alter(self, image, rng, *, strength, foreground):
        return 255 - image, foreground


def test_a_new_source_is_one_class(monkeypatch):
    monkeypatch.setitem(synthesizer.SOURCES, "inverted", _Inverted)
    images = surfaces()
    sample = Synthesizer(images, sources={"inverted": 1.0})(1, np.random.default_rng(0))
    assert sample.source == "inverted"
    np.testing.assert_array_equal(sample.image[sample.mask], 255 - images[1][sample.mask])


class _Idle(AnomalySource):
    name = "idle"
    strength_range = (0.0, 0.0)

    def alter(self, image, rng, *, strength, foreground):
        return image.copy(), foreground


def test_a_source_that_changes_nothing_falls_back_to_a_stroke(monkeypatch):
    monkeypatch.setitem(synthesizer.SOURCES, "idle", _Idle)
    tool = Synthesizer(surfaces(), sources={"idle": 1.0})
    sample, again = (tool(0, np.random.default_rng(4)) for _ in range(2))
    assert sample.source == "fallback"
    assert sample.mask.any()
    np.testing.assert_array_equal(sample.image, again.image)


@pytest.mark.parametrize("number", range(len(DRAWN_FAMILIES)), ids=list(DRAWN_FAMILIES))
def test_drawn_textures_have_structure_and_repeat(number):
    texture = TextureBank(seed=3)[number]
    assert texture.dtype == np.uint8
    assert texture.shape[2] == 3
    assert texture.std() > 10
    np.testing.assert_array_equal(texture, TextureBank(seed=3)[number])
    assert (texture != TextureBank(seed=4)[number]).any()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_keep_the_shape(name):
    texture = TextureBank()[0][:40, :56]
    changed = AUGMENTATIONS[name](texture, np.random.default_rng(1))
    assert changed.shape == texture.shape
    assert changed.dtype == np.uint8


def test_augment_applies_different_changes():
    texture = TextureBank()[1][:32, :32]
    results = {augment(texture, np.random.default_rng(seed)).tobytes() for seed in range(10)}
    assert len(results) == 10


def test_textures_come_from_a_folder(tmp_path):
    (tmp_path / "banded").mkdir()
    write_image(tmp_path / "banded" / "red.png", np.full((600, 20, 3), (200, 10, 10), np.uint8))
    bank = TextureBank(folder=tmp_path)
    assert len(bank) == 1
    assert bank.window((50, 90), np.random.default_rng(0)).shape == (50, 90, 3)
    tool = Synthesizer(surfaces(colour=True), sources={"textures": 1.0}, texture_folder=tmp_path)
    assert tool(0, np.random.default_rng(0)).mask.any()


@pytest.mark.parametrize("exists", [True, False])
def test_texture_folders_without_pictures_are_refused(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / "missing"
    with pytest.raises(DataError, match=str(folder)):
        TextureBank(folder=folder)
