"""Latency figures: exact, complete, and marked when they should not be quoted."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.bench.latency import (
    PERCENTILES,
    ClosedLoop,
    LatencyRun,
    latency_histogram,
    measure_closed_loop,
    summarise_latency,
)
from edgead.device.machine import describe_machine
from edgead.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = st.lists(st.integers(0, 2**40), min_size=1, max_size=300).map(
    lambda values: np.array(values, np.int64)
)


def run_of(samples: np.ndarray, *, seconds: float = 10.0) -> LatencyRun:
    return LatencyRun(ClosedLoop(), {"total": samples}, seconds, warm_up_calls=1)


def test_known_percentiles():
    summary = summarise_latency(np.arange(1, 1001))
    expected = {
        "count": 1000,
        "min": 1,
        "mean": 500,
        "p50": 500,
        "p90": 900,
        "p99": 990,
        "p99.9": 999,
        "max": 1000,
    }
    assert summary == expected


@given(SAMPLES)
def test_a_percentile_was_seen_and_covers_its_share(samples: np.ndarray):
    summary = summarise_latency(samples)
    for name, share in PERCENTILES.items():
        value = summary[name]
        assert value in samples
        assert np.count_nonzero(samples <= value) >= math.floor(share * len(samples))
        assert np.count_nonzero(samples < value) < share * len(samples) + 1e-6
    assert summary["max"] == samples.max()


@given(SAMPLES)
def test_the_histogram_loses_nothing(samples: np.ndarray):
    histogram = latency_histogram(samples)
    assert sum(histogram["counts"]) == len(samples)
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1


def test_no_samples_are_refused():
    with pytest.raises(UsageError, match="at least one latency sample"):
        summarise_latency(np.array([], np.int64))


def test_both_minima_are_reached():
    calls = []

    def call(index: int) -> dict[str, int]:
        calls.append(index)
        return {"total": index, "infer": 1}

    run = measure_closed_loop(call, scenario=ClosedLoop(min_seconds=0.05, min_count=20, warm_up_seconds=0.0))
    assert run.seconds >= 0.05
    assert run.count >= 20
    np.testing.assert_array_equal(run.samples["total"], np.arange(run.count))


def test_warm_up_is_apart():
    run = measure_closed_loop(
        lambda index: {"total": 1}, scenario=ClosedLoop(min_seconds=0, min_count=3, warm_up_seconds=0.01)
    )
    assert run.count == 3
    assert run.warm_up_calls > 3


@pytest.mark.parametrize(
    ("samples", "seconds", "message"),
    [
        pytest.param(np.full(5000, 100), 10, None, id="valid"),
        pytest.param(np.full(100, 100), 10, "stopped after 100 calls", id="too few"),
        pytest.param(np.full(5000, 100), 1, "in 1.0 s", id="too short"),
        pytest.param(np.repeat([100, 120], 2500), 10, "20% above", id="drifting"),
    ],
)
def test_doubts(samples: np.ndarray, seconds: float, message: str | None):
    doubts = " ".join(run_of(samples, seconds=seconds).doubts("total"))
    assert (message or "") in doubts
    assert bool(doubts) == (message is not None)


@pytest.mark.parametrize("settings", [{"min_seconds": -1}, {"warm_up_seconds": math.nan}, {"min_count": 0}])
def test_a_scenario_is_checked(settings: dict[str, float]):
    with pytest.raises(UsageError, match=next(iter(settings))):
        ClosedLoop(**settings)  # type: ignore[arg-type]


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine["usable_cores"] >= 1
    assert {"cpu", "cores", "system", "python", "versions", "governor"} <= set(machine)
    assert {"edgead", "numpy"} <= set(machine["versions"])


def test_describing_the_machine_starts_no_program():
    code = (
        "import sys\n"
        "from edgead.device.machine import describe_machine\n"
        "started = []\n"
        "events = ('subprocess.Popen', 'os.fork', 'os.posix_spawn', 'os.system')\n"
        "sys.addaudithook(lambda event, _: event in events and started.append(event))\n"
        "describe_machine()\n"
        "sys.exit(str(started) if started else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
