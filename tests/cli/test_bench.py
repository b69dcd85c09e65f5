"""`edgead bench` by the clock: frames, lines, the sustained rate, gates, and two runs compared."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgead.cli import main
from tests.runtime.tiny_bundle import write_tiny_bundle

QUICK = ("--warm-up", "0", "--threads", "1")
LINES = (*QUICK, "--width", "64", "--seconds", "0", "--count", "20", "--block-lines", "16")


def invoke(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, ["bench", *(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.edgead")


def read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    assert isinstance(content, dict)
    return content


class TestFrames:
    def test_in_words_and_as_json(self, bundle: Path, tmp_path: Path):
        out = tmp_path / "a.json"
        result = invoke(
            bundle,
            "--fps",
            200,
            "--count",
            20,
            "--seconds",
            0,
            "--deadline-ms",
            60_000,
            *QUICK,
            "--json",
            out,
        )
        assert result.exit_code == 0
        assert "20 due, 20 served, 0 lost, 0 never served, 0 unaccounted for" in result.output
        assert "deadline of 60000 ms: missed by 0 of 20" in result.output
        report = read(out)
        assert report["scenario"].startswith("open loop, a frame every period, 200 per second")
        assert {"total", "wait", "infer"} <= set(report["stages_ns"])
        assert (report["settings"]["arrivals"], report["mlperf"]) == ("periodic", None)
        assert not report["valid"]  # twenty do not reach p99.9

    def test_poisson_is_mlperfs_server(self, bundle: Path, tmp_path: Path):
        result = invoke(
            bundle,
            "--fps",
            500,
            "--poisson",
            "--count",
            5,
            "--seconds",
            0,
            *QUICK,
            "--json",
            tmp_path / "a.json",
        )
        assert "MLPerf's Server: asks for 600 s and 270336 queries; this run was shorter" in result.output
        assert read(tmp_path / "a.json")["scenario"].startswith("Server: open loop, Poisson")

    def test_a_missed_deadline_is_status_3_and_the_files_are_there(self, bundle: Path, tmp_path: Path):
        out = tmp_path / "a.json"
        result = invoke(
            bundle, "--fps", 100, "--count", 5, "--seconds", 0, "--deadline-ms", 0.000001, "--gate", *QUICK,
            "--json", out,
        )  # fmt: skip
        assert result.exit_code == 3
        assert "5 of 5 missed the deadline" in result.stderr
        assert read(out)["deadline"]["share"] == 1

    def test_without_the_gate_it_is_told_only(self, bundle: Path):
        asked = ("--fps", 100, "--count", 5, "--seconds", 0, "--deadline-ms", 0.000001)
        assert invoke(bundle, *asked, *QUICK).exit_code == 0

    def test_a_run_that_is_not_valid_passes_no_gate(self, bundle: Path):
        asked = ("--fps", 100, "--count", 5, "--seconds", 0, "--gate", "--deadline-ms", 60_000)
        result = invoke(bundle, *asked, *QUICK)
        assert result.exit_code == 3
        assert "5 samples do not reach p99.9" in result.stderr


class TestLines:
    pytestmark = pytest.mark.usefixtures("needs_ring")

    @pytest.fixture
    def needs_ring(self) -> None:
        pytest.importorskip("edgead.runtime.line.buffer", reason="the line buffer's C extension is not built")

    def test_in_words_and_as_json(self, bundle: Path, tmp_path: Path):
        out, page = tmp_path / "a.json", tmp_path / "a.html"
        result = invoke(bundle, "--line-rate", 20_000, *LINES, "--json", out, "--report", page)
        assert result.exit_code == 0
        assert "480 due, 0 lost, 0 unaccounted for" in result.output
        report = read(out)
        assert report["lines"]["buffer"]["consumed"] == 480
        assert report["stages_ns"]["total"]["count"] == 20
        assert report["settings"]["web"]["overlap"] == 0.25
        assert "480 due" in page.read_text(encoding="utf-8")

    def test_the_sustained_rate(self, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("edgead.bench.loads.TRIAL_SECONDS", 0.02)
        out = tmp_path / "a.json"
        result = invoke(bundle, "--sustained", *LINES, "--json", out)
        assert result.exit_code in (0, 3)  # a machine that is busy enough sustains nothing in so short trials
        if result.exit_code == 0:
            report = read(out)
            assert report["settings"]["line_rate_hz"] == report["highest"]["line_rate_hz"]
            assert report["highest"]["trials"][-1]["confirming"]
            assert (report["lines"]["lost"], report["lines"]["unaccounted"]) == (0, 0)
        else:
            assert "No line rate from" in result.stderr

    def test_a_web_narrower_than_a_tile(self, bundle: Path):
        result = invoke(bundle, "--line-rate", 1000, *QUICK, "--width", "20")
        assert result.exit_code == 2
        assert "The web has 20 columns" in result.stderr


def test_two_runs_are_compared(bundle: Path, tmp_path: Path):
    for name in ("a", "b"):
        asked = ("--seconds", 0.05, "--count", 400)
        assert invoke(bundle, *asked, *QUICK, "--json", tmp_path / f"{name}.json").exit_code == 0
    out = tmp_path / "c.json"
    result = invoke("--compare", tmp_path / "a.json", tmp_path / "b.json", "--json", out)
    assert result.exit_code == 0
    assert "B / A" in result.output
    assert "not compared, too few samples: p99, p99.9" in result.output
    found = read(out)
    assert found["conditions"] == {}
    assert found["differ"] == any(ratio["differs"] for ratio in found["ratios"])


def test_the_closed_loop_is_mlperfs_single_stream_and_has_deadlines(bundle: Path, tmp_path: Path):
    out = tmp_path / "a.json"
    asked = ("--count", 20, "--seconds", 0, "--deadline-ms", 0.000001, "--json", out)
    assert invoke(bundle, *asked, *QUICK).exit_code == 0
    report = read(out)
    assert report["scenario"] == "SingleStream: closed loop, batch 1"
    assert report["mlperf"]["min_count"] == 1024
    assert (report["deadline"]["missed"], report["deadline"]["of"]) == (20, 20)
    assert len(report["intervals_ns"]["p50"]) == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_pinned(bundle: Path, tmp_path: Path):
    before = os.sched_getaffinity(0)
    out = tmp_path / "a.json"
    one = str(min(before))
    assert invoke(bundle, "--cpus", one, "--count", 5, "--seconds", 0, *QUICK, "--json", out).exit_code == 0
    report = read(out)
    assert (report["pinned_cpus"], report["machine"]["usable_cores"]) == ([int(one)], 1)
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((), "Expected a bundle to measure"),
        (("x.edgead", "--compare", "a.json", "b.json"), "no bundle"),
        (("--compare", "none.json", "none.json"), "cannot be read"),
        (("x.edgead", "--fps", "30", "--line-rate", "9"), "different loads"),
        (("x.edgead", "--line-rate", "9"), "needs the web's width"),
        (("x.edgead", "--sustained"), "needs the web's width"),
        (("x.edgead", "--poisson"), "--fps 30"),
        (("x.edgead", "--queue", "2"), "--fps 30"),
        (("x.edgead", "--gate"), "--gate needs"),
        (("x.edgead", "--minutes", "0"), "minutes above 0"),
        (("x.edgead", "--minutes", "nan"), "minutes above 0"),
        (("x.edgead", "--fps", "nan"), "rate_hz: expected"),
        (("x.edgead", "--deadline-ms", "-1"), "deadline_ms: expected"),
        (("x.edgead", "--cpus", "9-1"), "Expected processors"),
        (("x.edgead", "--line-rate", "9", "--width", "64", "--overlap", "0.9"), "overlap: expected"),
        (("x.edgead", "--allow-late", "2"), "--allow-late"),
    ],
)
def test_wrong_usage(asked: tuple[str, ...], message: str):
    result = invoke(*asked)
    assert result.exit_code == (1 if "none.json" in asked else 2)
    assert message in result.stderr
