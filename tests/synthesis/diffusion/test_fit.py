"""Fitting: the same weights after a kill, clear refusals; sets that are the same however they are split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgead.errors import DataError, TrainingError, UsageError
from edgead.images import write_image
from edgead.learning.checkpoint import load_checkpoint
from edgead.synthesis.diffusion import fit as fitting
from edgead.synthesis.diffusion.drawing import DrawSettings, draw_set
from edgead.synthesis.diffusion.fit import FitSettings, fit, largest_batch
from edgead.synthesis.diffusion.images import LEAST_IMAGES, load_good_images
from edgead.synthesis.diffusion.model import read_model
from edgead.synthesis.diffusion.network import NetworkConfig
from edgead.synthesis.diffusion.sets import open_set
from edgead.synthesis.diffusion.sheet import draw_sheet

pytest.importorskip("diffusers")
NETWORK = NetworkConfig(height=16, width=16, channels=3, patch=2, widths=(8, 16), attention=(False, False),
                        head=8, groups=4)  # fmt: skip
SETTINGS = FitSettings(NETWORK, steps=6, batch=2, learning_rate=1e-3, checkpoint_steps=2)


def draw_parts(folder: Path, *, count: int = LEAST_IMAGES) -> Path:
    """Coloured stripes, of mixed sizes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        ramp = np.linspace(40, 200, 16 + number % 3)[None, :, None]
        image = np.clip(ramp * (1, 0.8, 0.6) + rng.normal(0, 9, (20, 1, 1)), 0, 255).astype(np.uint8)
        write_image(folder / f"{number:03}.png", image)
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_parts(tmp_path_factory.mktemp("data") / "stripes")


@pytest.fixture(scope="module")
def model(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "model"
    found = fit(load_good_images([parts], height=16, width=16), folder, settings=SETTINGS, size="small")
    assert found == folder
    return folder


def test_a_fit_learns_what_no_linear_denoiser_knows(tmp_path: Path):
    """Discs anywhere on an even ground: their outlines are nothing that a spectrum could hold."""
    rng, folder = np.random.default_rng(0), tmp_path / "discs"
    folder.mkdir()
    rows, columns = np.mgrid[:16, :16]
    for number in range(2 * LEAST_IMAGES):
        row, column = rng.uniform(4, 12, 2)
        is_inside = (rows - row) ** 2 + (columns - column) ** 2 < 12
        write_image(folder / f"{number:03}.png", np.where(is_inside, 220, 60).astype(np.uint8))
    network = replace(NETWORK, channels=1, widths=(32, 32))
    settings = FitSettings(network, steps=200, batch=16, learning_rate=3e-3)
    heard: list[float] = []
    fit(
        load_good_images([folder], height=16, width=16), tmp_path / "model", settings=settings, size="small",
        on_progress=lambda progress: heard.append(progress.losses["noise"]),
    )  # fmt: skip
    assert np.mean(heard[:10]) > 0.9  # of the squared error that the start leaves
    assert np.mean(heard[-30:]) < 0.88


class KilledError(Exception):
    """Ends a fit from inside, as a kill would."""


def test_a_killed_fit_goes_on_to_the_same_weights(parts: Path, model: Path, tmp_path: Path):
    def kill(progress):
        if progress.stage == "fitting" and progress.step == 5:
            raise KilledError

    images = load_good_images([parts], height=16, width=16)
    with pytest.raises(KilledError):
        fit(images, tmp_path / "model", settings=SETTINGS, size="small", on_progress=kill)
    with pytest.raises(DataError, match="has not ended"):
        read_model(tmp_path / "model")
    with pytest.raises(TrainingError, match="other settings"):
        fit(images, tmp_path / "model", settings=replace(SETTINGS, seed=1), size="small")
    fit(images, tmp_path / "model", settings=SETTINGS, size="small")
    assert read_model(tmp_path / "model").digest == read_model(model).digest
    assert len((tmp_path / "model" / "history.jsonl").read_text().splitlines()) == SETTINGS.steps


def test_a_loss_that_is_not_finite_stops_with_the_checkpoint_kept(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The images turn to NaN after the checkpoint of step 2."""
    images = load_good_images([parts], height=16, width=16)
    batch, calls = type(images).batch, []

    def broken(self, numbers):
        calls.append(1)
        pixels, products = batch(self, numbers)
        return (pixels * float("nan") if len(calls) > 4 else pixels), products

    monkeypatch.setattr(type(images), "batch", broken)
    with pytest.raises(TrainingError, match=r"not finite.*checkpoint"):
        fit(images, tmp_path / "model", settings=SETTINGS, size="small")
    found = load_checkpoint(tmp_path / "model" / "checkpoint.safetensors")
    assert found.step == 2


def test_out_of_memory_says_which_batch_fits(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    losses = fitting._Fitter._losses

    def small_memory(self, image, *rest):
        if len(image) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return losses(self, image, *rest)

    monkeypatch.setattr(fitting._Fitter, "_losses", small_memory)
    images = load_good_images([parts], height=16, width=16)
    with pytest.raises(TrainingError, match="--batch 2 fits"):
        fit(images, tmp_path / "model", settings=replace(SETTINGS, batch=16), size="small")


def test_only_running_out_of_memory_is_taken_for_that():
    def attempt(batch: int) -> None:
        if batch > 5:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")

    def broken(_batch: int) -> None:
        raise RuntimeError("shapes differ")

    assert largest_batch(attempt, 20) == 5
    with pytest.raises(RuntimeError, match="shapes"):
        largest_batch(broken, 4)


def test_too_few_images_and_folders_of_one_name_are_refused(tmp_path: Path):
    few = draw_parts(tmp_path / "few", count=5)
    with pytest.raises(DataError, match=f"5 good images.*{LEAST_IMAGES}"):
        load_good_images([few], height=16, width=16)
    with pytest.raises(UsageError, match="another name"):
        load_good_images([few, few], height=16, width=16)


def test_a_set_is_the_same_however_it_is_split_and_begun_again(model: Path, tmp_path: Path):
    settings, fitted = DrawSettings(count=5, steps=2, batch=2), read_model(model)
    whole = open_set(draw_set(fitted, tmp_path / "whole", settings=settings))
    for part in (2, 1):
        draw_set(fitted, tmp_path / "split", settings=settings, part=part, parts=2)
    assert open_set(tmp_path / "split").digest == whole.digest
    (tmp_path / "split" / "stripes" / "000003.png").unlink()
    draw_set(fitted, tmp_path / "split", settings=settings, part=2, parts=2)
    assert open_set(tmp_path / "split").digest == whole.digest
    index = json.loads((tmp_path / "whole" / "index.json").read_text())
    assert all(0.1 <= image["strength"] <= 0.2 for image in index["images"])
    first = index["images"][0]
    company = [first["seed"], index["images"][1]["seed"]], [first["strength"], index["images"][1]["strength"]]
    assert (fitted.draw(*company, steps=2)[0] == whole.image(0, height=16, width=16)).all()


def test_a_changed_weights_file_is_refused(model: Path, tmp_path: Path):
    content = (model / "model.json").read_text()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "weights.safetensors").write_bytes((model / "weights.safetensors").read_bytes())
    (copy / "model.json").write_text(content.replace(json.loads(content)["weights_sha256"], "0" * 64))
    with pytest.raises(DataError, match="not the file"):
        read_model(copy)
    with pytest.raises(DataError, match="synthesize fit"):
        read_model(tmp_path)


def test_the_sheet_has_a_row_per_strength_and_four_more(model: Path):
    sheet = draw_sheet(read_model(model), strengths=(0.0, 0.5), columns=2, steps=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] // (16 * 6) == 5


@pytest.mark.parametrize("bounds", [(-0.1, 0.2), (0.3, 0.2), (0.1, float("nan"))])
def test_strengths_that_cannot_be_are_refused(bounds: tuple[float, float]):
    with pytest.raises(UsageError, match=r"0\.1:0\.2"):
        DrawSettings(count=1, strength_range=bounds)
