"""Several trainings that hold out the groups in turn: every group sets the threshold, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgead.compiler.from_run import compile_run
from edgead.compiler.recipe import load_recipe
from edgead.errors import DataError, UsageError
from edgead.learning.progress import Progress
from edgead.profiles.target import read_target
from edgead.training.data import open_training_data
from edgead.training.run import FOLDS_FILE, Run, read_run
from edgead.training.train import train
from tests.training.small_training import draw_good, settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads, see samples.py
FOLDS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_good(tmp_path_factory.mktemp("data") / "good")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    found = train(data, tmp_path_factory.mktemp("runs") / "folds", settings=settings(folds=FOLDS))
    assert found is not None
    return found


def test_every_group_counts_once(data: Path, run: Run):
    images = len(list(data.glob("*")))
    assert run.threshold.good_images == run.threshold.good_groups == images
    assert f"each held out by one of {FOLDS} trainings" in run.threshold.method
    (first,) = open_training_data(data, run.settings).products
    others = run.fold_scores
    assert len(others.scores) == images - len(first.split.validation)
    assert set(others.groups).isdisjoint({f"{first.name}/{g}" for g in first.split.validation_groups})
    assert len(set(others.groups)) == len(others.groups)


def test_the_first_fold_is_the_run(data: Path, run: Run):
    (first,) = open_training_data(data, run.settings).products
    held_out = json.loads((run.path / "split.json").read_text())["validation"]
    assert held_out == sorted(sample.path.name for sample in first.split.validation)
    assert not list(run.path.glob("fold-*"))  # what the others left is gone


def test_an_interruption_in_a_later_fold_goes_on_to_the_same_run(data: Path, run: Run, tmp_path: Path):
    begun = 0

    def stop(progress: Progress) -> None:
        nonlocal begun
        begun += progress.stage == "features"
        if begun == 2 and progress.stage == "training" and progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "out", settings=settings(folds=FOLDS), on_progress=stop)
    assert [path.name for path in (tmp_path / "out").glob("fold-*")] == ["fold-1"]
    resumed: list[int] = []

    def note(progress: Progress) -> None:
        if progress.stage == "resuming":
            resumed.append(progress.step)

    again = train(data, tmp_path / "out", settings=settings(folds=FOLDS), on_progress=note)
    assert again is not None
    assert resumed == [6, 4]  # the first fold was done, the second at its checkpoint
    assert again.threshold == run.threshold
    assert again.fold_scores == run.fold_scores


def test_a_compiled_model_keeps_the_groups_of_the_other_folds(run: Run, tmp_path: Path):
    recipe = load_recipe("default").with_max_drop(1.0)
    target = read_target("intel-cpu")
    compile_run(run.path, target=target, out=tmp_path / "part.edgead", recipe=recipe, precision="f32")
    from edgead.bundle import read_bundle

    threshold = read_bundle(tmp_path / "part.edgead").manifest.threshold
    assert threshold.good_groups == run.threshold.good_groups
    assert threshold.score == pytest.approx(run.threshold.score, rel=1e-3)


def test_a_run_without_its_folds_says_what_is_missing(data: Path, run: Run, tmp_path: Path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    (copy / FOLDS_FILE).unlink()
    with pytest.raises(DataError, match=FOLDS_FILE):
        _ = read_run(copy).fold_scores


@pytest.mark.parametrize(("folds", "error"), [(0, UsageError), (1000, DataError)])
def test_folds_that_cannot_be(folds: int, error: type[Exception], data: Path, tmp_path: Path):
    with pytest.raises(error, match="folds"):
        train(data, tmp_path / "out", settings=settings(folds=folds))
    assert not (tmp_path / "out").exists()
