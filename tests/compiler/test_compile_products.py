"""From several folders to one bundle that the runtime opens, for each family and decoder alike."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import edgead
from edgead.bundle import read_bundle
from edgead.compiler.from_run import compile_run
from edgead.compiler.image_sets import draw_gate_set
from edgead.compiler.recipe import Recipe
from edgead.errors import TrainingError
from edgead.images import read_image, resize_image
from edgead.models.config import ModelConfig
from edgead.profiles.target import read_target
from edgead.training.run import read_run
from edgead.training.train import train
from tests.training.small_training import CONFIG, INVAD_CONFIG, draw_good, settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PUBLISHED = replace(INVAD_CONFIG, decoder="published", standardised=False, bank_stages=())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("products")
    return [draw_good(root / "many", count=12), draw_good(root / "few", count=6, seed=1)]


@pytest.fixture
def recipe() -> Recipe:
    few = Recipe().with_max_drop(1.0)
    calibration, gate = replace(few.calibration, images=6), replace(few.gate, images=2, anomalies=2)
    return replace(few, calibration=calibration, gate=gate)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(CONFIG, id="realnet"),
        pytest.param(INVAD_CONFIG, id="invad-compact"),
        pytest.param(PUBLISHED, id="invad-published"),
    ],
)
def test_one_bundle_for_two_products(
    config: ModelConfig, folders: list[Path], recipe: Recipe, tmp_path: Path
):
    train(folders, tmp_path / "run", settings=settings(model=config, steps=2))
    out = tmp_path / "both.edgead"
    report = compile_run(tmp_path / "run", target=read_target("intel-cpu"), out=out, recipe=recipe, threads=1)
    assert report.precision == "int8"
    bundle = read_bundle(out)
    manifest = bundle.manifest
    assert (manifest.family, manifest.name) == (config.family, "many+few")
    assert (manifest.output.map_height, manifest.output.map_width) == config.map_size
    assert "alone: many " in manifest.threshold.method
    calibration = bytes(bundle.files["calibration.json"]).decode()
    assert "many/" in calibration
    assert "few/" in calibration
    with edgead.open(out, threads=1) as inspector:
        for folder in folders:
            result = inspector.inspect(read_image(next(folder.iterdir())))
            assert math.isfinite(result.score)


def test_images_of_a_product_that_changed_are_noticed(folders: list[Path], recipe: Recipe, tmp_path: Path):
    copies = [draw_good(tmp_path / "many", count=6), draw_good(tmp_path / "few", count=4, seed=1)]
    train(copies, tmp_path / "run", settings=settings(model=INVAD_CONFIG, steps=1))
    next(copies[1].iterdir()).unlink()
    with pytest.raises(TrainingError, match="no longer those"):
        compile_run(
            tmp_path / "run", target=read_target("intel-cpu"), out=tmp_path / "x.edgead", recipe=recipe
        )
    assert not (tmp_path / "x.edgead").exists()


def test_the_gate_judges_what_one_product_would_be_judged_by(folders: list[Path], tmp_path: Path):
    """The images of a run of one product are those that the recipe draws from its held-out ones."""
    from edgead.compiler.from_run import _image_sets, _load
    from edgead.training.data import products_of_run

    train(folders[0], tmp_path / "run", settings=settings(steps=1))
    run, recipe = read_run(tmp_path / "run"), Recipe()
    products = products_of_run(run)
    held_out = _load(run, products, products.validation)
    found = _image_sets(run, recipe, products, held_out)
    names = [(s.path.name, resize_image(read_image(s.path), 64, 64)) for s in products.validation[0]]
    expected = draw_gate_set(names, spec=recipe.gate)
    assert [item.sha256 for item in found.gate] == [item.sha256 for item in expected]
