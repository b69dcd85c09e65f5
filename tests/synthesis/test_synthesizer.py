"""The synthesizer: what it promises about samples, mixes, images and random states."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthesis_pictures import surface, surfaces

from edgead.errors import UnknownNameError, UsageError
from edgead.synthesis import DEFAULT_MIX, SOURCES, Synthesizer, parse_mix


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_changes_the_image_under_its_mask_alone(name):
    images = surfaces()
    synthesizer = Synthesizer(images, sources={name: 1.0})
    for seed in range(12):
        before = images[seed % 3].copy()
        sample = synthesizer(seed % 3, np.random.default_rng(seed))
        assert sample.image.dtype == np.uint8
        assert sample.mask.dtype == np.bool_
        assert sample.mask.any()
        assert sample.source in {name, "fallback"}
        assert 0.0 <= sample.strength <= 1.0
        changed = np.abs(sample.image.astype(int) - before).max(axis=2)
        assert changed[~sample.mask].max(initial=0) < 10
        assert changed[sample.mask].mean() > 1
        assert (images[seed % 3] == before).all()


@pytest.mark.parametrize("name", SOURCES)
def test_same_random_state_gives_the_same_sample_after_pickling(name):
    synthesizer = Synthesizer(surfaces(colour=True), sources={name: 1.0})
    copied = pickle.loads(pickle.dumps(synthesizer))
    for seed in range(5):
        first = synthesizer(0, np.random.default_rng(seed))
        again = copied(0, np.random.default_rng(seed))
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.mask, again.mask)
        assert (first.source, first.strength) == (again.source, again.strength)


@pytest.mark.parametrize("shape_hw", [(1, 1), (1, 9), (2, 2), (5, 3), (16, 16), (24, 80), (7, 200)])
@pytest.mark.parametrize("level", [0, 128, 255, None])
def test_any_size_and_constant_images_get_an_anomaly(shape_hw, level):
    image = surface(shape_hw) if level is None else np.full((*shape_hw, 3), level, np.uint8)
    for name in SOURCES:
        synthesizer = Synthesizer([image], sources={name: 1.0})
        for seed in range(3):
            sample = synthesizer(image, np.random.default_rng(seed))
            assert sample.image.shape == image.shape
            assert sample.mask.shape == shape_hw
            assert sample.mask.any()
            assert (sample.image != image).any()


def test_grey_products_get_grey_anomalies():
    synthesizer = Synthesizer(surfaces())
    for seed in range(40):
        image = synthesizer(0, np.random.default_rng(seed)).image
        assert (image[..., 0] == image[..., 1]).all()
        assert (image[..., 0] == image[..., 2]).all()


def test_mix_decides_how_often_a_source_is_called():
    synthesizer = Synthesizer(surfaces(), sources={"subtle": 3.0, "cutpaste": 1.0, "textures": 0.0})
    drawn = [synthesizer(0, np.random.default_rng(seed)).source for seed in range(200)]
    assert 0.6 < drawn.count("subtle") / 200 < 0.9
    assert drawn.count("textures") == 0


def test_strength_range_replaces_that_of_the_sources():
    synthesizer = Synthesizer(surfaces(), strength_range=(0.9, 0.95))
    strengths = [synthesizer(0, np.random.default_rng(seed)).strength for seed in range(30)]
    assert min(strengths) >= 0.9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("subtle=1", {"subtle": 1.0}),
        (" seamless = 0.3 , subtle=0.7", {"seamless": 0.3, "subtle": 0.7}),
        ("subtle=1,textures=0", {"subtle": 1.0}),
        (
            "cutpaste=1,near=2,textures=1",
            {"cutpaste": 1.0, "subtle": 2.0, "textures": 1.0},
        ),  # its earlier name
    ],
)
def test_parse_mix(text, expected):
    assert parse_mix(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "subtle",
        "subtle=",
        "=1",
        "subtle=nan",
        "subtle=-1",
        "subtle=0",
        "subtle=inf",
        "subtle=1,subtle=2",
        "subtle=1e308,cutpaste=1e308",
    ],
)
def test_parse_mix_refuses(text):
    with pytest.raises(UsageError):
        parse_mix(text)


def test_unknown_sources_get_near_matches_and_no_substitution():
    with pytest.raises(UnknownNameError, match="seamless"):
        parse_mix("seemless=1")
    with pytest.raises(UnknownNameError):
        Synthesizer(surfaces(), sources={"nearby": 1.0})


@given(st.text(max_size=40))
def test_parse_mix_only_raises_usage_errors(text):
    try:
        mix = parse_mix(text)
    except UsageError:
        return
    assert mix
    assert set(mix) <= set(SOURCES)


@given(st.dictionaries(st.sampled_from(sorted(SOURCES)), st.floats(1e-3, 1e6), min_size=1))
def test_parse_mix_reads_what_is_written(mix):
    assert parse_mix(",".join(f"{name}={weight!r}" for name, weight in mix.items())) == mix


@pytest.mark.parametrize(
    "images",
    [
        [],
        [np.zeros((4, 4), np.uint8)],
        [np.zeros((4, 4, 3), np.float32)],
        [np.zeros((0, 4, 3), np.uint8)],
        [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)],
        ["good.png"],
    ],
    ids=["none", "grey", "float", "empty", "sizes", "paths"],
)
def test_unusable_images_are_refused(images):
    with pytest.raises(UsageError):
        Synthesizer(images)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(UsageError, match="resize_image"):
        Synthesizer(surfaces())(np.zeros((4, 4, 3), np.uint8), np.random.default_rng(0))


@pytest.mark.parametrize("bounds", [(-0.1, 1.0), (0.5, 0.4), (0.0, 1.1), (float("nan"), 1.0)])
def test_impossible_ranges_of_strength_are_refused(bounds):
    with pytest.raises(UsageError):
        Synthesizer(surfaces(), strength_range=bounds)


def test_the_default_mix_uses_every_source():
    assert set(DEFAULT_MIX) == set(SOURCES)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40))
def test_samples_of_any_shape_hold_the_promise(seed, height, width):
    images = [surface((height, width), seed=n, colour=True) for n in range(2)]
    sample = Synthesizer(images)(0, np.random.default_rng(seed))
    assert sample.mask.any()
    changed = np.abs(sample.image.astype(int) - images[0]).max(axis=2)
    assert changed[~sample.mask].max(initial=0) < 10
