"""`edgead doctor BUNDLE` on the doubles: build, proof, measurement, and the file that a user sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from edgead.cli import main
from tests.runtime.engines.tensorrt_engine.bundles import write_jetson_bundle
from tests.runtime.engines.tensorrt_engine.double.world import World

Enter = Callable[..., World]


def doctor(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)])


def test_the_whole_trial(here: World, tmp_path: Path):
    bundle, answer = write_jetson_bundle(tmp_path / "part.edgead"), tmp_path / "doctor.json"
    result = doctor(bundle, "--seconds", "0.2", "--json", answer)
    assert result.exit_code == 0, result.output
    assert (
        "engine      tensorrt: works on cuda:0 (Orin (compute capability 8.7, 8 multiprocessors"
        in result.output
    )
    assert "Building the engine of 'tiny' with TensorRT 10.3.0.30" in result.stderr
    assert "answers     right" in result.output
    assert "latency     gpu: p50 1.000" in result.output
    assert (
        f"edgead has not yet run on the device that this target describes: please send {answer}"
        in result.output
    )
    record = json.loads(answer.read_text())
    assert record["trial"]["verification"]["passed"] is True
    assert record["trial"]["bench"]["engine"]["precision"] == "int8 with f16"
    assert record["trial"]["bench"]["stages_ns"]["gpu"]["p50"] == 1_000_000
    assert record["engines"]["tensorrt"]["works"] is True


def test_wrong_answers_are_measured_and_refused(enter: Enter, tmp_path: Path):
    enter(wrong=["f16+int8+tf32", "int8"])
    bundle, answer = write_jetson_bundle(tmp_path / "part.edgead"), tmp_path / "doctor.json"
    result = doctor(bundle, "--seconds", "0.1", "--json", answer)
    assert result.exit_code == 3
    assert "answers     WRONG" in result.output
    assert json.loads(answer.read_text())["trial"]["verification"]["passed"] is False


def test_without_a_gpu(enter: Enter, tmp_path: Path):
    enter(devices=0)
    result = doctor(write_jetson_bundle(tmp_path / "part.edgead"), "--seconds", "0.1")
    assert result.exit_code == 1
    assert "no CUDA-capable device" in result.output


def test_verify_and_bench_take_the_same_engine(here: World, tmp_path: Path):
    bundle = write_jetson_bundle(tmp_path / "part.edgead")
    verified = CliRunner().invoke(main, ["verify", str(bundle)])
    assert verified.exit_code == 0, verified.output
    measured = CliRunner().invoke(
        main, ["bench", str(bundle), "--seconds", "0.1", "--count", "10", "--warm-up", "0"]
    )
    assert measured.exit_code == 0, measured.output
    assert "GPU, by its clock" in measured.output
    assert len(here.builds) == 1
