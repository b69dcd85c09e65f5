"""Training end to end: the same for a seed, the same after a kill, one run from two processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgead.errors import DataError, TrainingError, UsageError
from edgead.learning import pace
from edgead.metrics import SUMMARY
from edgead.training.loop import Progress
from edgead.training.run import (
    CHECKPOINT_FILE,
    LOCK_FILE,
    RUN_FILE,
    SPLIT_FILE,
    WEIGHTS_FILE,
    Run,
    held_folder,
    read_run,
)
from edgead.training.train import train
from tests.models.networks import build_realnet
from tests.training.small_training import CONFIG, draw_good, load_held_out, settings

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads, see samples.py


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_good(tmp_path_factory.mktemp("data") / "good")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    found = train(data, tmp_path_factory.mktemp("runs") / "one", settings=settings())
    assert found is not None
    return found


def weights(path: Path) -> bytes:
    return (path / WEIGHTS_FILE).read_bytes()


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_same_seed_gives_the_same_weights_byte_for_byte(data: Path, run: Run, tmp_path: Path):
    train(data, tmp_path / "two", settings=settings())
    assert weights(tmp_path / "two") == weights(run.path)


def test_another_seed_gives_other_weights(data: Path, run: Run, tmp_path: Path):
    train(data, tmp_path / "two", settings=settings(seed=1, steps=1))
    assert weights(tmp_path / "two") != weights(run.path)


def test_a_killed_training_goes_on_to_the_same_weights(data: Path, run: Run, tmp_path: Path):
    out = tmp_path / "killed"
    died = python("-m", "tests.training.train_in_subprocess", str(data), str(out), "5")
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert (out / CHECKPOINT_FILE).exists()
    assert not (out / RUN_FILE).exists()
    with pytest.raises(DataError, match="has not ended"):
        read_run(out)
    (out / f".{CHECKPOINT_FILE}.k2x").write_bytes(b"what a kill in the middle of writing leaves")
    told: list[Progress] = []
    train(data, out, settings=settings(), on_progress=told.append)
    assert [(p.step, p.steps) for p in told if p.stage == "resuming"] == [(4, 6)]
    assert weights(out) == weights(run.path)
    assert sorted(path.name for path in out.iterdir()) == sorted(p.name for p in run.path.iterdir())
    assert (out / "history.jsonl").read_text() == (run.path / "history.jsonl").read_text()


def test_a_checkpoint_of_other_settings_is_refused(data: Path, tmp_path: Path):
    def stop(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "out", settings=settings(), on_progress=stop)
    with pytest.raises(TrainingError, match="other settings or other images"):
        train(data, tmp_path / "out", settings=settings(learning_rate=0.01))


def test_two_processes_write_one_run(data: Path, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from edgead.training.train import train\n"
        "from tests.training.small_training import settings\n"
        "run = train(sys.argv[1], sys.argv[2], settings=settings(steps=3))\n"
        "print('RUN' if run else 'NONE')\n"
    )
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    launched = python(*torchrun, str(script), str(data), str(tmp_path / "out"), PYTHONPATH=str(ROOT))
    assert launched.returncode == 0, launched.stderr
    assert sorted(launched.stdout.split()) == ["NONE", "RUN"]
    assert read_run(tmp_path / "out").settings.batch == 4
    assert len((tmp_path / "out" / "history.jsonl").read_text().splitlines()) == 3


def test_minutes_decide_the_steps_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pace, "LEAST_STEPS", 4)
    out = tmp_path / "out"

    def stop(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, out, settings=settings(), minutes=0.001, on_progress=stop)
    monkeypatch.setattr(pace, "LEAST_STEPS", 9)  # a second decision would be another
    found = train(data, out, settings=settings(), minutes=0.001)
    train(data, tmp_path / "given", settings=settings(steps=4))
    assert found is not None
    assert found.settings.steps == 4
    assert weights(out) == weights(tmp_path / "given")  # the timed steps left no trace


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_minutes_must_be_a_time(data: Path, tmp_path: Path, minutes: float):
    with pytest.raises(UsageError, match="minutes"):
        train(data, tmp_path / "out", settings=settings(), minutes=minutes)


def test_loss_falls_on_a_tiny_set(data: Path, tmp_path: Path):
    train(data, tmp_path / "out", settings=settings(steps=60, learning_rate=3e-3, checkpoint_steps=100))
    lines = (tmp_path / "out" / "history.jsonl").read_text().splitlines()
    for name, most in (("reconstruction", 0.85), ("segmentation", 0.95)):  # 60 steps teach no whole images
        losses = [json.loads(line)[name] for line in lines]
        assert np.mean(losses[-5:]) < most * np.mean(losses[:5]), name


def test_the_run_says_what_it_was_trained_on(data: Path, run: Run):
    again = read_run(run.path)
    assert again == run
    split = json.loads((run.path / SPLIT_FILE).read_text())
    names = sorted(path.name for path in data.iterdir())
    assert sorted(split["train"] + split["validation"]) == names
    assert run.threshold.good_images == len(split["validation"])
    assert run.data_roots == (str(data),)
    assert set(run.validation) == {metric.key for metric in SUMMARY}
    assert run.hashes["backbone"]


def test_the_model_of_a_run_answers_like_the_images_it_judged(run: Run):
    held_out, images = load_held_out(run)
    anomaly_map, score = run.model()(torch.from_numpy(held_out.good))
    assert anomaly_map.shape == (len(held_out.good), *CONFIG.map_size)
    assert anomaly_map.isfinite().all()
    assert bool((anomaly_map >= 0).all())
    # One held-out image: scores count in units of 1e-5 of its own; other sizes of batch round otherwise.
    assert float(score.max()) == pytest.approx(run.threshold.score, abs=1.0)
    assert len(images) + len(held_out.good) == 8


def test_held_out_images_that_changed_are_noticed(run: Run, tmp_path: Path):
    moved = Run(**{**run.__dict__, "data_roots": (str(draw_good(tmp_path / "other", count=5)),)})
    with pytest.raises(TrainingError, match="no longer those"):
        load_held_out(moved)


@pytest.mark.parametrize(
    ("count", "message"),
    [(0, "holds no images"), (1, "at least two|2 different|least 2")],
    ids=["empty", "one image"],
)
def test_too_few_images(tmp_path: Path, count: int, message: str):
    with pytest.raises(DataError, match=message):
        train(draw_good(tmp_path / "good", count=count), tmp_path / "out", settings=settings())
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_is_named(tmp_path: Path):
    good = draw_good(tmp_path / "good", count=4)
    broken = good / "002.png"
    broken.write_bytes(broken.read_bytes()[:400])
    with pytest.raises(DataError, match=r"002\.png"):
        train(good, tmp_path / "out", settings=settings())


def test_an_out_that_holds_something_else_is_left_alone(data: Path, run: Run, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    for out, message in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "folder", r"thesis\.txt"),
        (run.path, "already holds a finished run"),
    ):
        with pytest.raises(TrainingError, match=message):
            train(data, out, settings=settings())
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "mine"


def test_two_trainings_do_not_write_one_run(data: Path, tmp_path: Path):
    with held_folder(tmp_path / "run"):
        with pytest.raises(TrainingError, match="another training writes there now"):
            train(data, tmp_path / "run", settings=settings())
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK_FILE]
    assert not (tmp_path / "run").exists()


def test_an_out_that_cannot_be_made_is_an_error_in_words(data: Path):
    with pytest.raises(TrainingError, match="cannot be written there"):
        train(data, "/proc/nowhere/run", settings=settings())


def test_a_file_system_without_locks_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("edgead.training.run.lock_file", refused)
    with held_folder(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_lock_that_a_killed_training_left_is_no_obstacle(data: Path, run: Run, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).touch()
    again = train(data, tmp_path / "run", settings=run.settings)
    assert again is not None
    assert weights(again.path) == weights(run.path)
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def test_a_loss_that_is_not_finite_stops_the_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edgead.models.realnet.network._SEGMENTATION_WEIGHT", float("inf"))
    with pytest.raises(TrainingError, match="--learning-rate"):
        train(data, tmp_path / "out", settings=settings())


def test_the_bank_has_no_part_in_the_weights(data: Path, run: Run, tmp_path: Path):
    smaller = replace(CONFIG, bank_size=CONFIG.bank_size // 2)
    other = train(data, tmp_path / "smaller", settings=settings(model=smaller))
    assert other is not None
    ours, theirs = run.model().realnet.state_dict(), other.model().realnet.state_dict()
    assert ours["bank.prototypes"].shape != theirs["bank.prototypes"].shape
    own = ("bank.prototypes", "bank.density")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name not in own)


def test_configurations_without_a_bank_train(data: Path, tmp_path: Path):
    model = type(CONFIG)(**{**CONFIG.__dict__, "bank_stages": ()})
    found = train(data, tmp_path / "out", settings=settings(model=model, steps=1))
    assert found is not None
    assert build_realnet(model).bank is None
    assert found.model()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))[1].isfinite().all()
