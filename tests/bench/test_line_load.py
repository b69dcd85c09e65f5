"""Lines at a rate: what a slow consumer loses is counted, a stall is seen, the highest rate is found."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgead.bench.sustained import find_sustained
from edgead.bundle import read_bundle
from edgead.errors import EngineError, LineTimeoutError, UsageError
from edgead.runtime.inspector import Inspector
from edgead.runtime.line.block import LineBlock
from edgead.web.stream import StreamSettings, WebStream
from tests.runtime.tiny_bundle import write_tiny_bundle

line_load = pytest.importorskip("edgead.bench.line_load", reason="the line buffer's C extension is not built")
LineLoad, measure_lines = line_load.LineLoad, line_load.measure_lines

WIDTH = 64
MATERIAL = np.random.default_rng(0).integers(0, 256, (100, WIDTH), np.uint8)


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspector]:
    path = write_tiny_bundle(tmp_path_factory.mktemp("line") / "tiny.edgead")
    with Inspector(read_bundle(path), threads=1) as opened:
        yield opened


def load(rate: float = 20_000, **changes: Any) -> Any:
    settings = {"min_seconds": 0.0, "min_count": 20, "warm_up_seconds": 0.0, "block_lines": 16}
    return LineLoad(rate, WIDTH, **{**settings, "buffer_lines": 4096, **changes})


def test_every_line_is_accounted_for(inspector: Inspector):
    run = measure_lines(inspector, MATERIAL, scenario=load())
    assert run.scheduled == 20 * 24  # tiles of 32 that overlap by 8
    assert (run.buffer.consumed, run.stream.inspected, run.lost, run.unaccounted) == (480, 480, 0, 0)


def test_the_stages_add_up_to_the_time_from_line_to_verdict(inspector: Inspector):
    stages = measure_lines(inspector, MATERIAL, scenario=load()).samples
    np.testing.assert_array_equal(stages["total"], stages["fill"] + stages["wait"] + stages["inspect"])
    assert (stages["inspect"] > 0).all()


def test_a_consumer_too_slow_loses_lines_and_says_how_many(inspector: Inspector):
    """It holds a block until the producer has pushed all: the ring of 64 lines cannot hold the rest."""
    scenario = load(buffer_lines=64, deadline_ms=0.001)

    def wait_for_the_end(stream: WebStream, block: LineBlock) -> list[Any]:
        for thread in threading.enumerate():
            if thread.name == "lines":
                thread.join()
        return stream.push(block)

    run = measure_lines(inspector, MATERIAL, scenario=scenario, inspect=wait_for_the_end)
    assert run.lost > 0
    assert run.unaccounted == 0
    assert run.buffer.consumed + run.lost == run.scheduled
    assert run.missed == len(run.samples["total"])  # and none was in time
    assert not run.is_sustained
    assert "beyond what this device sustains" in " ".join(run.doubts())


def test_a_stall_is_part_of_the_latency_of_what_waited(inspector: Inspector):
    """All but the first block wait until the last line is due, whatever the machine's pace."""
    ends: list[threading.Thread] = []

    def stall_once(stream: WebStream, block: LineBlock) -> list[Any]:
        if not ends:
            ends.extend(thread for thread in threading.enumerate() if thread.name == "lines")
            ends[0].join()
        return stream.push(block)

    run = measure_lines(inspector, MATERIAL, scenario=load(), inspect=stall_once)
    assert (run.lost, run.unaccounted) == (0, 0)
    waits = run.samples["wait"]
    due_ns = 1e9 / 20_000 * 24 * np.arange(len(waits))  # the later a line was due, the less it waited
    assert waits[1] >= due_ns[-3] - due_ns[1] - 1e6


def test_an_engine_that_fails_ends_the_cameras_side_as_well(inspector: Inspector):
    def fail(stream: WebStream, block: LineBlock) -> list[Any]:
        raise EngineError("the device is gone")

    with pytest.raises(EngineError, match="is gone"):
        measure_lines(inspector, MATERIAL, scenario=load(min_count=200), inspect=fail)
    for thread in threading.enumerate():
        if thread.name == "lines":
            thread.join(10)
            assert not thread.is_alive()


def test_a_camera_that_falls_silent_is_told(inspector: Inspector, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(line_load, "_TAKE_TIMEOUT_S", 0.05)

    class StoppedClock:
        def now_ns(self) -> int:
            return 10**9

        def sleep_until(self, moment_ns: int) -> None:
            threading.Event().wait(0.01)

    with pytest.raises(LineTimeoutError):
        measure_lines(inspector, MATERIAL, scenario=load(), clock=StoppedClock())


def test_what_averages_lines_has_as_many_strips(inspector: Inspector):
    web = StreamSettings(columns_per_pixel=2, lines_per_pixel=2)
    run = measure_lines(inspector, MATERIAL, scenario=load(web=web, min_count=5))
    assert run.scheduled == 5 * 48
    assert run.unaccounted == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.0}, "line_rate_hz: expected"),
        ({"block_lines": 0}, "block_lines: expected"),
        ({"block_lines": 2000}, "block_lines: expected"),
        ({"deadline_ms": -1.0}, "deadline_ms: expected"),
        ({"min_count": 0}, "min_count: expected"),
    ],
)
def test_wrong_settings_are_told(changes: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        load(**changes)


@pytest.mark.parametrize(
    "material", [np.zeros((0, WIDTH), np.uint8), np.zeros((9, 9), np.uint8), np.zeros((9, WIDTH))]
)
def test_material_of_another_kind_is_refused(inspector: Inspector, material: np.ndarray):
    with pytest.raises(UsageError, match="grey lines of 64 pixels"):
        measure_lines(inspector, material, scenario=load())


class TestFindSustained:
    @pytest.mark.parametrize("limit", [7.0, 120.0, 999.0, 1000.0, 1500.0, 40_000.0])
    def test_the_limit_is_found_to_the_resolution(self, limit: float):
        found = find_sustained(
            lambda rate, confirming: rate, passed=lambda rate: rate <= limit, first_rate_hz=1000, lowest=0.001
        )
        assert found.rate_hz is not None
        assert limit / 1.051 <= found.rate_hz <= limit
        assert found.failed_above is not None
        assert found.failed_above > limit
        assert found.trials[-1].confirming

    def test_a_rate_that_does_not_last_is_lowered(self):
        def passed(run: tuple[float, bool]) -> bool:
            rate, confirming = run
            return rate <= (800 if confirming else 1000)

        found = find_sustained(lambda *run: run, passed=passed, first_rate_hz=1000)
        assert found.rate_hz is not None
        assert 800 * 0.94 <= found.rate_hz <= 800
        assert found.confirmed == (found.rate_hz, True)

    def test_no_rate_holds(self):
        found = find_sustained(lambda *run: run, passed=lambda run: False, first_rate_hz=1000)
        assert (found.rate_hz, found.confirmed) == (None, None)
        assert not any(trial.confirming for trial in found.trials)

    def test_everything_holds(self):
        found = find_sustained(lambda *run: run, passed=lambda run: True, first_rate_hz=500_000)
        assert found.rate_hz == 1e6
        assert found.failed_above is None

    @pytest.mark.parametrize("settings", [{"first_rate_hz": 0}, {"resolution": 0}, {"first_rate_hz": np.nan}])
    def test_wrong_settings(self, settings: dict[str, float]):
        with pytest.raises(UsageError):
            find_sustained(lambda *run: run, passed=lambda run: True, **{"first_rate_hz": 1.0, **settings})
