"""The plan of `edgead train-all`: what it may say, and what is said of one that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgead.cli import main
from edgead.cli.train_all_plan import read_plan
from edgead.errors import DataError, EdgeadError
from tests.training.small_training import draw_good


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("bolt", "nut"):
        draw_good(tmp_path / "data" / name / "train" / "good", count=4)
    return tmp_path / "data"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


PLAN = """
out = "runs"
data = ["data"]
seeds = [0, 3]
retries = 1
[products]
both = ["data/bolt", "data/nut"]
[train]
model = "invad"
preset = "lite"
steps = 7
input_size = 64
[resources]
cpus = 2
memory_gb = 1.5
"""


def test_a_plan_is_one_job_for_each_product_and_seed(data: Path, tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, PLAN))
    wanted = [(name, seed) for seed in (0, 3) for name in ("both", "bolt", "nut")]
    assert [(job.name, job.seed) for job in plan.jobs] == wanted
    both = plan.jobs[3]
    assert both.data == (str(data / "bolt"), str(data / "nut"))
    assert both.out == str(tmp_path / "runs" / "seed-3" / "both")
    assert (both.family, both.settings["steps"], both.settings["seed"]) == ("invad", 7, 3)
    assert plan.resources.for_ray() == {"num_cpus": 2, "num_gpus": 0, "memory": 3 * 2**29}
    assert plan.retries == 1


REFUSED = {
    "unknown entry": ('outt = "runs"', 2, "did you mean 'out'?"),
    "unknown setting": ('out = "r"\ndata = ["data"]\n[train]\nstep = 3', 2, "did you mean 'steps'?"),
    "wrong type": (
        'out = "r"\ndata = ["data"]\n[train]\nsteps = "many"',
        2,
        "Expected `int | null`, got `str` at `train.steps`",
    ),
    "a bool is no number": (
        'out = "r"\ndata = ["data"]\n[train]\nsteps = true',
        2,
        "got `bool` at `train.steps`",
    ),
    "no out": ('data = ["data"]', 2, "missing required field `out`"),
    "no data": ('out = "r"', 2, "found neither"),
    "lost data": ('out = "r"\n[products]\na = "gone"', 1, "does not exist"),
    "seed twice": ('out = "r"\ndata = ["data"]\nseeds = [1, 1]', 2, "twice"),
    "seeds": ('out = "r"\ndata = ["data"]\nseeds = "all"', 2, "got `str` at `seeds`"),
    "resources": ('out = "r"\ndata = ["data"]\n[resources]\ngpus = -1', 2, "from 0 up"),
    "retries": ('out = "r"\ndata = ["data"]\nretries = 1.5', 2, "got `float` at `retries`"),
    "climbing name": ('out = "r"\n[products]\n"../x" = "data/bolt"', 2, "cannot be the name"),
    "name twice": ('out = "r"\ndata = ["data", "data"]', 2, "two products are called"),
    "no TOML": ("out = ", 2, "plan.toml"),
    "preset": ('out = "r"\ndata = ["data"]\n[train]\npreset = "smal"', 2, "smal"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_said_before_anything_starts(data: Path, tmp_path: Path, case: str) -> None:
    text, status, message = REFUSED[case]
    with pytest.raises(EdgeadError) as caught:
        read_plan(write(tmp_path, text))
    assert message in str(caught.value)
    assert caught.value.exit_code == status
    assert not (tmp_path / "r").exists()


def test_no_plan(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a training plan"):
        read_plan(tmp_path / "none.toml")


def train_all(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train-all", *map(str, arguments)])


def test_an_address_without_ray_is_said(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    plan = write(tmp_path, 'out = "runs"\ndata = ["data"]\n[train]\nsteps = 2\n')
    result = train_all(plan, "--ray", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "Ray cannot be reached at '127.0.0.1:1'" in result.stderr
