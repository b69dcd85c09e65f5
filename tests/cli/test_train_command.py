"""`edgead train` from the command line: options, answers, wrong usage, progress in a log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from edgead.cli import main, stage_progress
from edgead.cli.stage_progress import time_left
from edgead.metrics import SUMMARY
from edgead.training.loop import Progress
from edgead.training.run import read_run
from tests.training.small_training import draw_good

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--stages", "2,3", "--channels", "8,8", "--input-size", "64", "--batch", "4", "--steps", "2"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_good(tmp_path_factory.mktemp("data") / "good")


def invoke(*arguments: Any) -> Result:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return CliRunner().invoke(main, ["train", *map(str, arguments)])
    finally:
        torch.set_num_threads(threads)


def test_a_training_ends_with_its_run_and_the_next_command(data: Path, tmp_path: Path):
    out = tmp_path / "part"
    done = invoke(data, "--out", out, *SMALL, "--seed", 3, "--synthesis", "seamless=0.3,subtle=0.7")
    assert done.exit_code == 0, done.output
    for words in ("Threshold", "confidence", "image_auroc", f"edgead compile {out}", "part.edgead"):
        assert words in done.stdout
    assert "Training" in done.stderr
    settings = read_run(out).settings
    assert (settings.seed, settings.steps, settings.batch) == (3, 2, 4)
    assert dict(settings.synthesis) == {"seamless": 0.3, "subtle": 0.7}
    assert settings.model.input_size == (64, 64)


@pytest.mark.parametrize("extra", [(), ("--json", "-")], ids=["text", "json"])
def test_a_model_that_finds_nothing_is_warned_of(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...]
):
    monkeypatch.setattr("edgead.cli.train._LEAST_AUROC", 1.1)
    result = invoke(data, "--out", tmp_path / "run", *SMALL, *extra)
    assert "Warning: the model hardly finds" in result.stderr
    assert "Warning" not in result.stdout


def test_json_on_stdout_is_all_of_stdout(data: Path, tmp_path: Path):
    done = invoke(data, "--out", tmp_path / "run", *SMALL, "--json", "-", "--false-alarm-rate", "0.1")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["run"] == str(tmp_path / "run")
    assert answer["settings"]["false_alarm_rate"] == 0.1
    assert answer["threshold"]["good_images"] == 1
    assert set(answer["validation"]) == {metric.key for metric in SUMMARY}


def test_one_model_for_two_products(data: Path, tmp_path: Path):
    other = draw_good(tmp_path / "nut", seed=1)
    small = ["--stages", "2,3", "--input-size", "64", "--batch", "4", "--steps", "2"]
    done = invoke(data, other, "--model", "invad", "--out", tmp_path / "run", *small)
    assert done.exit_code == 0, done.output
    assert "alone: good " in done.stdout
    run = read_run(tmp_path / "run")
    assert (run.family, run.name) == ("invad", "good+nut")
    assert run.settings.learning_rate == 2e-3  # the preset's


WRONG: list[tuple[str, list[str], str]] = [
    ("both lengths", ["--steps", "3", "--minutes", "1"], "not both"),
    ("letters for channels", ["--channels", "a,b"], "whole numbers"),
    ("three sides", ["--input-size", "1x2x3"], "height x width"),
    ("an odd size", ["--input-size", "100"], "multiples of 64"),
    ("an unknown source", ["--synthesis", "seemless=1"], "Did you mean seamless"),
    ("no mix", ["--synthesis", "subtle"], "name=weight"),
    ("an unknown preset", ["--preset", "papper"], "Did you mean paper"),
    ("an unknown model", ["--model", "invadd"], "Did you mean invad"),
    ("a preset of another model", ["--preset", "lite"], "preset"),
    ("an unknown backbone", ["--backbone", "resnet81"], "Did you mean"),
    ("a budget too few", ["--channels", "1,2"], "one number for each"),
    ("no folder of textures", ["--textures", "/nowhere"], "--textures"),
    ("an odd batch", ["--batch", "3"], "even number"),
    ("no time", ["--minutes", "0"], "minutes must"),
    ("a rate of 2", ["--learning-rate", "2"], "learning_rate"),
    ("no steps", ["--steps", "0"], "--steps"),
]


@pytest.mark.parametrize(("arguments", "message"), [r[1:] for r in WRONG], ids=[r[0] for r in WRONG])
def test_wrong_usage(data: Path, tmp_path: Path, arguments: list[str], message: str):
    done = invoke(data, "--out", tmp_path / "run", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_fail_with_words(tmp_path: Path, count: int):
    done = invoke(draw_good(tmp_path / "good", count=count), "--out", tmp_path / "run", *SMALL)
    assert done.exit_code == 1
    assert str(tmp_path / "good") in done.stderr or "images" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_training_says_that_it_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = stage_progress._Lines.report

    def interrupt(self: Any, progress: Progress) -> None:
        real(self, progress)
        if (progress.stage, progress.step) == ("training", 101):
            raise KeyboardInterrupt

    arguments = [*SMALL[:-1], "102", "--out", tmp_path / "run"]
    monkeypatch.setattr(stage_progress._Lines, "report", interrupt)
    stopped = invoke(data, *arguments)
    assert stopped.exit_code == 1
    assert "the same command goes on" in stopped.stderr
    monkeypatch.setattr(stage_progress._Lines, "report", real)
    done = invoke(data, *arguments)
    assert done.exit_code == 0, done.output
    assert "going on from step 100 of 102" in done.stderr


def test_lines_in_a_log_have_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = [0.0]
    monkeypatch.setattr(stage_progress.time, "monotonic", lambda: now[0])
    with stage_progress.stage_progress("metal") as tell:
        for step in range(5, 105):  # goes on from step 4
            tell(Progress("training", step, 204, {"segmentation": 0.25}))
            now[0] += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "metal: Training ..."
    assert lines[1] == "metal: step 35 of 204, segmentation loss 0.25, about 3 min left"
    assert len(lines) == 4  # one each half minute


def test_bars_for_a_person_who_watches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(stage_progress, "is_watched", lambda: True)
    with stage_progress.stage_progress() as tell:
        tell(Progress("features", 0, 9, {}))
        for step in range(1, 5):
            tell(Progress("selection", step, 4, {}))
        tell(Progress("resuming", 7, 9, {}))
        for step in (8, 9):
            tell(Progress("training", step, 9, {}))
    shown = capsys.readouterr().err
    for words in ("Features of the good images: 9", "Selecting channels", "going on from step 7", "Training"):
        assert words in shown


@pytest.mark.parametrize(("seconds", "words"), [(0.0, "0 s"), (119.0, "119 s"), (121.0, "2 min")])
def test_time_left_in_words(seconds: float, words: str):
    assert time_left(seconds) == f"about {words} left"


@pytest.mark.parametrize("command", ["train", "demo"])
def test_help_needs_no_torch(command: str):
    script = (
        "import sys\n"
        "from edgead.cli import main\n"
        "try:\n"
        f"    main(['{command}', '--help'])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "assert not {'torch', 'scipy', 'cv2', 'numpy'} & set(sys.modules), 'slow help'\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0, shown.stderr
    assert "Example" in shown.stdout
    assert "--json" in shown.stdout


def test_the_same_folder_twice_is_wrong_usage(data: Path, tmp_path: Path):
    done = invoke(data, data, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "given twice" in done.stderr


def test_the_old_spelling_of_channels_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seen = []
    monkeypatch.setattr("edgead.cli.train.allocated_settings", lambda *args, **_: seen.append(args[2]))
    for option in ("--channels", "--budgets"):
        result = CliRunner().invoke(main, ["train", "d", "--out", str(tmp_path / "r"), option, "8,8"])
        assert result.exit_code == 0, result.output
    assert [options.channels for options in seen] == ["8,8", "8,8"]
