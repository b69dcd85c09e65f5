"""Many trainings on a real Ray on this machine: a worker is killed in the middle, and no product is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgead.cli import main
from edgead.errors import UsageError
from edgead.training.jobs import Job, run_job
from edgead.training.run import read_run
from edgead.training.spread import DONE, FAILED, LOCAL, JobState, Resources, connected, train_all
from tests.training.small_training import draw_good, settings

STEPS = 200


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray, started once on this machine: that takes longer than the trainings."""
    pytest.importorskip("ray", reason="ray is not installed")
    with connected(LOCAL) as started:
        yield started


def job(tmp_path: Path, name: str, **changed: Any) -> Job:
    data = draw_good(tmp_path / "data" / name) if changed.pop("drawn", True) else tmp_path / "data" / name
    wanted = settings(**{"steps": STEPS, "checkpoint_steps": 4, **changed})
    notes = tmp_path / "notes"
    notes.mkdir(exist_ok=True)
    return Job(
        name,
        0,
        (str(data),),
        str(tmp_path / "runs" / name),
        str(notes / f"{name}.json"),
        "realnet",
        wanted.to_json(),
    )


class Killer:
    """Kills the worker of the first job once, when it has a checkpoint and is not near its end."""

    def __init__(self) -> None:
        self.killed: dict[str, Any] = {}

    def __call__(self, states: Sequence[JobState]) -> None:
        noted = states[0].progress()
        checkpoint = Path(states[0].job.out) / "checkpoint.safetensors"
        at_work = noted and noted["stage"] == "training" and noted["step"] < 0.7 * STEPS
        if not self.killed and at_work and checkpoint.exists():
            os.kill(noted["pid"], signal.SIGKILL)
            self.killed = noted


def test_a_killed_worker_loses_no_product(ray: Any, tmp_path: Path) -> None:
    killer = Killer()
    jobs = [job(tmp_path, "bolt"), job(tmp_path, "nut", steps=4), job(tmp_path, "gone", drawn=False)]
    states = train_all(jobs, resources=Resources(cpus=0.5), on_change=killer)
    assert killer.killed, "the first training ended before it could be killed"
    first, second, third = states
    assert (first.status, second.status, third.status) == (DONE, DONE, FAILED)
    assert len(first.losses) == 1
    assert "WorkerCrashedError" in first.losses[0]
    assert f"at step {killer.killed['step']}" in first.losses[0]
    assert "does not exist" in third.result.error
    assert third.losses == []  # another attempt would end alike
    for state in (first, second):
        run = read_run(state.job.out)
        assert run.settings.steps == state.result.steps == state.job.settings["steps"]
        assert state.result.figures["image_auroc"] is not None


def test_what_no_machine_has_is_refused(ray: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 GPUs and 4000000.0 GB, and no machine has that"):
        train_all([job(tmp_path, "bolt")], resources=Resources(gpus=1, memory_gb=4e6))


def test_a_finished_run_is_kept_and_another_is_not_overwritten(tmp_path: Path) -> None:
    first = job(tmp_path, "bolt", steps=2)
    assert not run_job(first).error
    again = run_job(first)
    assert again.was_there
    assert again.steps == 2
    other = job(tmp_path, "bolt", steps=3)
    before = (tmp_path / "runs" / "bolt" / "run.json").read_bytes()
    assert "other settings (steps)" in run_job(other).error
    assert (tmp_path / "runs" / "bolt" / "run.json").read_bytes() == before


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train-all", *map(str, arguments)])


def test_the_command_trains_all_and_goes_on(ray: Any, tmp_path: Path) -> None:
    for name in ("bolt", "nut"):
        draw_good(tmp_path / "data" / name / "train" / "good", count=4)
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'out = "runs"\ndata = ["data"]\n[train]\nsteps = 2\nbatch = 2\ninput_size = 64\nstages = "2,3"\n'
        'budgets = "8,8"\n[resources]\ncpus = 0.5\n',
    )
    result = command(plan)
    assert result.exit_code == 0, result.output
    assert "2 done" in result.stdout
    for name in ("bolt", "nut"):
        assert (tmp_path / "runs" / "seed-0" / name / "run.json").is_file()
    again = command(plan, "--json", "-")
    assert [row["was_there"] for row in json.loads(again.stdout)] == [True, True]
    assert json.loads((tmp_path / "runs" / "train-all.json").read_text())[0]["status"] == "done"
