"""Samples that a soak keeps, intervals of percentiles, and whether two runs differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.bench.latency_samples import SampleStore, batches_of, percentile_interval
from edgead.bench.run_comparison import compare_runs, read_bench_json
from edgead.errors import DataError, UsageError


def latencies(count: int = 20_000, *, factor: float = 1.0, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).lognormal(0, 0.2, count)
    return (1e6 * factor * noise).astype(np.int64)


def report(samples: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"batches_ns": batches_of(samples), **more}


class TestSampleStore:
    def test_more_than_expected_is_kept(self):
        store = SampleStore(("total", "wait"), 2)
        for number in range(7):
            store.add({"wait": number, "total": 10 * number})
        assert store.arrays()["total"].tolist() == [0, 10, 20, 30, 40, 50, 60]
        assert store.arrays()["wait"].tolist() == list(range(7))

    @given(st.lists(st.integers(0, 2**45), min_size=1, max_size=300), st.integers(1, 80))
    def test_batches_lose_no_sample_and_half_a_promille_at_most(self, values: list[int], batches: int):
        found = batches_of(np.array(values), batches=batches)
        assert sum(sum(batch.values()) for batch in found) == len(values)
        stored = sorted(int(value) for batch in found for value, n in batch.items() for _ in range(n))
        np.testing.assert_allclose(stored, sorted(values), rtol=5e-4, atol=0)


class TestPercentileInterval:
    def test_known_order_statistics_of_a_median(self):
        # For n = 25 the 95.7 % interval of the median is from the 8th to the 18th (Conover, table of signs).
        assert percentile_interval(np.arange(1, 26), 0.5) == (8, 18)

    def test_too_few_samples_have_no_upper_bound(self):
        assert percentile_interval(np.arange(1000), 0.999)[1] is None
        assert percentile_interval(np.arange(10_000), 0.999)[1] is not None

    def test_it_covers_the_truth_as_often_as_it_says(self):
        generator = np.random.default_rng(0)
        hits = 0
        for _ in range(400):
            low, high = percentile_interval(generator.integers(0, 10**6, 500), 0.9)
            hits += low is not None and high is not None and low <= 900_000 <= high
        assert hits / 400 >= 0.93


class TestCompareRuns:
    def test_a_run_does_not_differ_from_another_of_the_same(self):
        found = compare_runs(report(latencies()), report(latencies(seed=1)))
        assert not found.differ
        assert [ratio.percentile for ratio in found.ratios] == ["p50", "p90", "p99", "p99.9"]

    def test_a_slower_run_differs_and_the_interval_holds_the_truth(self):
        found = compare_runs(report(latencies()), report(latencies(factor=1.1, seed=1)))
        assert found.differ
        assert found.ratios[0].low <= 1.1 <= found.ratios[0].high
        assert found.ratios[0].low > 1

    def test_busy_seconds_widen_the_interval(self):
        """Half of the batches slow in both: samples drawn one by one would call it a difference."""
        steps = np.repeat(np.random.default_rng(3).permutation([1.0, 1.5] * 32), 300)
        a, b = latencies(19_200) * steps, latencies(19_200, seed=1) * np.roll(steps, 300)
        steady = compare_runs(report(latencies(19_200)), report(latencies(19_200, seed=1)))
        busy = compare_runs(report(a.astype(np.int64)), report(b.astype(np.int64)))
        widths = [found.ratios[0].high - found.ratios[0].low for found in (steady, busy)]
        assert widths[1] > 3 * widths[0]
        assert not busy.differ

    def test_what_the_runs_do_not_reach_is_not_compared(self):
        found = compare_runs(report(latencies(3000)), report(latencies(30_000)))
        assert found.not_compared == ("p99.9",)

    def test_conditions_and_doubts_are_told(self):
        a = report(latencies(), scenario="x", machine={"cpu": "one"}, doubts=["drifts"])
        b = report(latencies(), scenario="x", machine={"cpu": "two"})
        found = compare_runs(a, b, names=("a.json", "b.json"))
        assert found.conditions == {"processor": ("one", "two")}
        assert found.doubts == ("a.json: drifts",)
        json.dumps(found.to_json(), allow_nan=False)

    def test_too_few_batches(self):
        with pytest.raises(DataError, match="too few to compare"):
            compare_runs(report(latencies(10)), report(latencies()))

    def test_a_confidence_that_is_none(self):
        with pytest.raises(UsageError, match="confidence"):
            compare_runs(report(latencies()), report(latencies()), confidence=1.5)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"{}",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"batches_ns": []}',
            b'{"batches_ns": [{}]}',
            b'{"batches_ns": [{"-5": 1}]}',
            b'{"batches_ns": [{"5": 0}]}',
            b'{"batches_ns": [{"5": NaN}]}',
            b'{"batches_ns": [{"five": 1}]}',
            b'{"batches_ns": {"5": 1}}',
        ],
    )
    def test_a_file_that_is_no_run(self, tmp_path: Path, content: bytes):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.json: expected the JSON of"):
            read_bench_json(tmp_path / "a.json")

    def test_a_file_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(DataError, match="cannot be read"):
            read_bench_json(tmp_path / "none.json")
