"""One model for several products: what is drawn how often, anomalies of one's own, the run, the compile."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edgead.errors import TrainingError
from edgead.synthesis import Synthesizer
from edgead.training.batches import Draw, ProductSynthesizers, good_batches, make_synthesizer
from edgead.training.loop import Progress
from edgead.training.run import SPLIT_FILE, WEIGHTS_FILE, Run, read_run
from edgead.training.settings import TrainSettings
from edgead.training.train import train
from tests.training.small_training import INVAD_CONFIG, draw_good, load_held_out, settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads, see samples.py


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("products")
    return [draw_good(root / "many", count=12), draw_good(root / "few", count=4, seed=1)]


@pytest.fixture(scope="module")
def invad(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    found = train(folders, tmp_path_factory.mktemp("runs") / "invad", settings=settings(model=INVAD_CONFIG))
    assert found is not None
    return found


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=5), seed=st.integers(0, 99))
@hypothesis_settings(max_examples=30, deadline=None)
def test_every_number_drawn_is_one_of_an_image(counts: list[int], seed: int):
    for balanced in (True, False):
        drawn = Draw(tuple(counts), balanced)(np.random.default_rng(seed), (2, 64))
        assert drawn.shape == (2, 64)
        assert drawn.min() >= 0
        assert drawn.max() < sum(counts)


def test_products_of_unequal_size_are_drawn_equally_often():
    rng = np.random.default_rng(0)
    balanced = Draw((90, 9, 1))(rng, (6000,))
    products = np.searchsorted([90, 99], balanced, "right")
    assert all(abs(count - 2000) < 150 for count in Counter(products.tolist()).values())
    of_the_first = Counter(balanced[products == 0].tolist())
    assert len(of_the_first) == 90
    as_found = Draw((90, 9, 1), balanced=False)(rng, (6000,))
    assert int((as_found < 90).sum()) == pytest.approx(5400, abs=150)


def test_one_product_is_drawn_as_ever():
    ours = Draw((40,))(np.random.default_rng(3), (2, 8))
    assert np.array_equal(ours, np.random.default_rng(3).integers(40, size=(2, 8)))


def test_batches_of_good_images_depend_on_seed_and_step_alone():
    draw = Draw((5, 3))
    one = list(good_batches(draw, 0, 6, size=4, seed=7))
    later = list(good_batches(draw, 4, 6, size=4, seed=7))
    assert [batch.good.tolist() for batch in one[4:]] == [batch.good.tolist() for batch in later]
    assert all(not len(batch.origins) for batch in one)
    other = list(good_batches(draw, 0, 6, size=4, seed=8))
    assert [batch.good.tolist() for batch in one] != [batch.good.tolist() for batch in other]


def test_anomalies_are_made_of_their_own_product():
    dark, bright = np.full((6, 32, 32, 3), 20, np.uint8), np.full((2, 32, 32, 3), 200, np.uint8)
    images = np.concatenate((dark, bright))
    mix = settings(synthesis={"cutpaste": 1.0})
    joined = make_synthesizer(mix, images, (6, 2))
    assert isinstance(joined, ProductSynthesizers)
    assert len(joined) == 8
    for number in range(8):
        sample = joined(number, np.random.default_rng(number))
        alone = Synthesizer(list(dark if number < 6 else bright), sources={"cutpaste": 1.0})
        expected = alone(number if number < 6 else number - 6, np.random.default_rng(number))
        assert np.array_equal(sample.image, expected.image)


def test_one_run_of_two_products(folders: list[Path], invad: Run):
    assert invad.family == "invad"
    assert invad.name == "many+few"
    assert invad.data_roots == tuple(str(folder) for folder in folders)
    assert read_run(invad.path) == invad
    split = json.loads((invad.path / SPLIT_FILE).read_text())
    assert {name.split("/")[0] for name in split["train"]} == {"many", "few"}
    assert {name.split("/")[0] for name in split["validation"]} == {"many", "few"}
    assert "InvAD" in invad.trained_facts()["model"]
    assert invad.selection.channels == (24, 40, 112)  # all channels of the three stages


def test_the_model_answers(invad: Run):
    held_out, images = load_held_out(invad)
    anomaly_map, score = invad.model()(torch.from_numpy(held_out.good))
    assert anomaly_map.shape == (3, 16, 16)
    assert score.isfinite().all()
    assert len(images) == 13


def test_each_product_has_its_own_scales(invad: Run):
    assert len(invad.rule.products) == 2
    assert read_run(invad.path).rule == invad.rule
    assert "product that the image shows" in invad.trained_facts()["score"]


def test_the_same_seed_gives_the_same_weights(folders: list[Path], invad: Run, tmp_path: Path):
    train(folders, tmp_path / "two", settings=settings(model=INVAD_CONFIG))
    assert (tmp_path / "two" / WEIGHTS_FILE).read_bytes() == (invad.path / WEIGHTS_FILE).read_bytes()


def test_a_stopped_training_goes_on_to_the_same_weights(folders: list[Path], invad: Run, tmp_path: Path):
    def stop(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(folders, tmp_path / "out", settings=settings(model=INVAD_CONFIG), on_progress=stop)
    train(folders, tmp_path / "out", settings=settings(model=INVAD_CONFIG))
    assert (tmp_path / "out" / WEIGHTS_FILE).read_bytes() == (invad.path / WEIGHTS_FILE).read_bytes()


def test_realnet_learns_several_products_too(folders: list[Path], tmp_path: Path):
    found = train(folders, tmp_path / "realnet", settings=settings(steps=2))
    assert found is not None
    assert found.family == "realnet"
    assert len(found.data_roots) == 2


def test_channels_can_be_selected_for_an_inversion_as_well(folders: list[Path], tmp_path: Path):
    model = type(INVAD_CONFIG)(**{**INVAD_CONFIG.__dict__, "channels": (8, 8, 16)})
    found = train(folders, tmp_path / "out", settings=settings(model=model, steps=1))
    assert found is not None
    assert found.selection.channels == (8, 8, 16)
    assert found.model()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))[1].isfinite().all()


def test_products_in_another_order_are_another_training(folders: list[Path], invad: Run, tmp_path: Path):
    with pytest.raises(TrainingError, match="no longer those"):
        load_held_out(replace(invad, data_roots=invad.data_roots[::-1]))


def test_the_authors_advice_for_many_products_is_a_preset():
    chosen = TrainSettings.of_preset("realnet", "paper-multi-class")
    assert chosen.model.to_json()["reconstruction"] == "simple"
    assert dict(chosen.synthesis) == {"textures": 1.0}
    images = np.zeros((4, 48, 48, 3), np.uint8)
    images[:, 12:36, 12:36] = np.arange(120, 240, 5, dtype=np.uint8)[:, None]
    whole, part = (make_synthesizer(s, images, (4,)) for s in (chosen, settings(foreground=True)))
    assert isinstance(whole, Synthesizer)
    assert isinstance(part, Synthesizer)
    assert whole.foreground.rule == "whole"
    assert part.foreground.rule != "whole"
