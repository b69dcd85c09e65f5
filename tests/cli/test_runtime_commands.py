"""The commands of the line: run, bench, verify, inspect, targets, doctor, and what they all share."""

from __future__ import annotations

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgead import __version__
from edgead.bundle import write_bundle
from edgead.cli import COMMANDS, main
from edgead.images import read_image, write_image
from edgead.installation import how_to_install
from tests.runtime.tiny_bundle import tiny_manifest, tiny_onnx, tiny_reference, write_tiny_bundle

MINE = ["run", "bench", "verify", "inspect", "targets", "doctor"]


def invoke(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.edgead")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    write_image(folder / "good.png", np.zeros((40, 60, 3), np.uint8))
    bad = np.zeros((40, 60, 3), np.uint8)
    bad[10:30, 20:40] = 255
    write_image(folder / "deep" / "bad.png", bad)
    (folder / "notes.txt").write_text("not an image")
    return folder


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


class TestGroup:
    def test_version(self):
        assert invoke("--version").output == f"edgead {__version__}\n"

    def test_help_lists_every_command(self):
        output = invoke("--help").output
        assert all(f"  {name} " in output for name in COMMANDS)

    @pytest.mark.parametrize("name", MINE)
    def test_each_help_has_an_example(self, name: str):
        result = invoke(name, "--help")
        assert result.exit_code == 0
        assert f"  edgead {name}" in result.output

    def test_near_matches(self):
        result = invoke("benhc")
        assert result.exit_code == 2
        assert "Did you mean bench?" in result.stderr

    def test_a_missing_command_fails_only_when_called(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(COMMANDS, "later", "edgead.cli.no_such_file: Something to come.")
        assert "Something to come." in invoke("--help").output
        result = invoke("later")
        assert result.exit_code == 1
        assert "lacks edgead.cli.no_such_file" in result.stderr

    def test_a_missing_package_names_its_extra(self, monkeypatch: pytest.MonkeyPatch, bundle: Path):
        import edgead.bundle

        def needs_torch(path: Path) -> None:
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

        monkeypatch.setattr(edgead.bundle, "read_bundle", needs_torch)
        result = invoke("inspect", bundle)
        assert result.exit_code == 1
        assert how_to_install("train") in result.stderr


class TestRun:
    def test_in_words(self, bundle: Path, photos: Path):
        result = invoke("run", bundle, photos)
        assert result.exit_code == 0
        assert "bad.png: ANOMALOUS, score 1 (threshold 0.75), 1 region(s)" in result.stdout
        assert "good.png: good, score 0" in result.stdout

    def test_json_lines_into_a_pipe_leave_it_a_pipe(self, bundle: Path, photos: Path, tmp_path: Path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with ThreadPoolExecutor(1) as pool:
            read = pool.submit(pipe.read_text)
            assert invoke("run", bundle, photos, "--json-lines", pipe).exit_code == 0
            assert len(read.result(10).splitlines()) == 2
        assert pipe.is_fifo()

    def test_json_lines_onto_a_device_leave_it_a_device(self, bundle: Path, photos: Path):
        result = invoke("run", bundle, photos, "--json-lines", "/dev/full")
        assert result.exit_code == 1
        assert "/dev/full: cannot be written" in result.stderr
        assert Path("/dev/full").is_char_device()

    def test_json_lines(self, bundle: Path, photos: Path):
        bad, good = lines(invoke("run", bundle, photos, "--json-lines", "-").stdout)
        assert (bad["is_anomalous"], good["is_anomalous"]) == (True, False)
        assert set(bad["timings_ns"]) == {"resize", "infer", "postprocess"}
        assert set(bad["regions"][0]) == {"x", "y", "width", "height", "area", "peak"}
        assert good["regions"] == []
        assert set(bad) == {
            "path", "score", "is_anomalous", "threshold", "pixel_threshold", "regions", "timings_ns",
        }  # fmt: skip

    def test_out_holds_overlays_and_lines(self, bundle: Path, photos: Path, tmp_path: Path):
        out = tmp_path / "out"
        result = invoke("run", bundle, photos / "good.png", photos / "deep" / "bad.png", "--out", out)
        assert "2 of 2 images inspected" in result.stderr
        assert len(lines((out / "results.jsonl").read_text())) == 2
        good = read_image(out / "overlays" / "good.png.png")
        np.testing.assert_array_equal(good, read_image(photos / "good.png"))
        assert read_image(out / "overlays" / "deep" / "bad.png.png").shape == (40, 60, 3)
        assert not list(out.glob("*.part"))

    def test_an_unreadable_image_does_not_stop_the_rest(self, bundle: Path, photos: Path):
        (photos / "broken.png").write_bytes(b"\x89PNG")
        result = invoke("run", bundle, photos, photos / "absent.png", "--json-lines", "-")
        assert result.exit_code == 1
        records = lines(result.stdout)
        assert ["error" in record for record in records] == [True, False, False, True]
        assert "broken.png" in records[0]["error"]
        assert "2 of 4 images could not be inspected" in result.stderr

    def test_patterns_and_repetitions(self, bundle: Path, photos: Path):
        result = invoke("run", bundle, f"{photos}/**/*.png", photos / "good.png")
        assert len(result.stdout.splitlines()) == 2

    def test_thresholds(self, bundle: Path, photos: Path):
        arguments = ("--threshold", "2", "--pixel-threshold", "2", "--json-lines", "-")
        (record,) = lines(invoke("run", bundle, photos / "deep", *arguments).stdout)
        assert (record["is_anomalous"], record["regions"], record["threshold"]) == (False, [], 2.0)

    @pytest.mark.parametrize("what", ["empty", "*.nothing"])
    def test_nothing_to_inspect(self, bundle: Path, tmp_path: Path, what: str):
        (tmp_path / "empty").mkdir()
        result = invoke("run", bundle, tmp_path / what)
        assert result.exit_code == 1
        assert "expected images" in result.stderr

    def test_lines_that_cannot_be_written(self, bundle: Path, photos: Path, tmp_path: Path):
        result = invoke("run", bundle, photos, "--json-lines", tmp_path / "no" / "a.jsonl")
        assert result.exit_code == 1
        assert "cannot be written" in result.stderr


class TestVerify:
    def test_in_words(self, bundle: Path):
        result = invoke("verify", bundle)
        assert result.exit_code == 0
        assert "every checksum and hash as written" in result.output
        assert "answers:   shown on openvino" in result.output

    def test_a_failure_has_status_3_and_its_json(self, tmp_path: Path):
        reference = tiny_reference()
        wrong = dataclasses.replace(reference, anomaly_maps=reference.anomaly_maps + np.float32(1))
        path = tmp_path / "wrong.edgead"
        write_bundle(path, tiny_manifest(), files={"model.onnx": tiny_onnx()}, reference=wrong)
        result = invoke("verify", path, "--json", tmp_path / "answer.json")
        assert result.exit_code == 3
        assert "maps differ by 1 RMS at most (allowed 0.0001)" in result.stderr
        answer = json.loads((tmp_path / "answer.json").read_text())
        assert answer["passed"] is False
        assert answer["map_difference"] == pytest.approx(1)

    @pytest.mark.parametrize("name", ["verify", "inspect", "bench"])
    def test_a_damaged_bundle_has_status_1(self, bundle: Path, name: str):
        bundle.write_bytes(bundle.read_bytes()[:-1])
        result = invoke(name, bundle)
        assert result.exit_code == 1
        assert "tiny.edgead: damaged" in result.stderr


class TestInspect:
    def test_in_words(self, bundle: Path):
        output = invoke("inspect", bundle).output
        assert "uint8 32 x 32 x 3 RGB, resized by stretch-area" in output
        assert (
            "expected false alarms (false rejects) 1.00%, 95% interval 0.00% to 5.00%, from 100 good images"
            in output
        )
        assert "image_auroc: 1.0000 in float, not defined in f32" in output

    def test_json_is_the_manifest(self, bundle: Path):
        manifest = json.loads(invoke("inspect", bundle, "--json", "-").stdout)
        assert manifest["threshold"]["score"] == 0.75
        assert set(manifest) == {field.name for field in dataclasses.fields(tiny_manifest())}


class TestTargets:
    def test_all(self):
        output = invoke("targets").output
        assert "intel-cpu" in output
        assert "engine onnxruntime" in output

    def test_one_as_json(self):
        target = json.loads(invoke("targets", "intel-cpu", "--json", "-").stdout)
        assert (target["engine"], target["precisions"][0]) == ("openvino", "int8")

    def test_near_matches(self):
        result = invoke("targets", "intel-cpi")
        assert result.exit_code == 2
        assert "Did you mean intel-cpu" in result.stderr


class TestDoctor:
    def test_in_words(self):
        result = invoke("doctor")
        assert result.exit_code == 0
        assert "engine      openvino: works on CPU" in result.output

    def test_json(self):
        findings = json.loads(invoke("doctor", "--json", "-").stdout)
        assert findings["engines"]["openvino"]["works"]
        assert findings["machine"]["usable_cores"] >= 1

    def test_what_is_missing_comes_with_its_command(self, monkeypatch: pytest.MonkeyPatch):
        import importlib.util

        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        result = invoke("doctor")
        assert result.exit_code == 1
        assert f"to fix      openvino: {how_to_install('openvino')}" in result.stdout


class TestBench:
    QUICK = ("--seconds", "0.05", "--count", "20", "--warm-up", "0", "--threads", "1")

    def test_in_words(self, bundle: Path, photos: Path):
        result = invoke("bench", bundle, photos, *self.QUICK)
        assert result.exit_code == 0
        assert "p99.9" in result.output
        assert "inspect() over the engine alone" in result.output
        assert "NOT VALID" in result.output  # twenty samples do not reach p99.9

    def test_json(self, bundle: Path, tmp_path: Path):
        assert invoke("bench", bundle, *self.QUICK, "--json", tmp_path / "a.json").exit_code == 0
        report = json.loads((tmp_path / "a.json").read_text())
        stages = report["stages_ns"]
        assert set(stages) == {"total", "resize", "infer", "postprocess", "map_and_regions", "engine"}
        assert stages["total"]["count"] >= 20
        assert sum(report["histogram_ns"]["counts"]) == stages["total"]["count"]
        assert report["settings"]["min_count"] == 20
        assert report["image_sizes"] == ["32x32"]
        assert report["machine"]["cores"] >= 1
        assert report["doubts"]

    def test_report(self, bundle: Path, tmp_path: Path):
        pytest.importorskip("matplotlib")
        assert invoke("bench", bundle, *self.QUICK, "--report", tmp_path / "a.html").exit_code == 0
        assert "Latency of tiny" in (tmp_path / "a.html").read_text(encoding="utf-8")

    def test_wrong_settings(self, bundle: Path):
        assert invoke("bench", bundle, "--count", "0").exit_code == 2
