"""The report of a bench as plain values: what was measured, how, on what, and whether it may be quoted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgead.bench.latency import PERCENTILES, LatencyRun, latency_histogram, summarise_latency
from edgead.bench.latency_samples import Samples, batches_of, percentile_interval
from edgead.bench.loads import Images, closed_facts
from edgead.bundle import Bundle
from edgead.device.machine import describe_machine
from edgead.runtime.inspector import Inspector


def describe_run(run: LatencyRun, bundle: Bundle, inspector: Inspector, images: Images) -> dict[str, Any]:
    """The report of a closed loop as plain values."""
    return describe(run.samples, closed_facts(run, images), bundle, inspector)


def describe(
    samples: Mapping[str, Samples], facts: dict[str, Any], bundle: Bundle, inspector: Inspector
) -> dict[str, Any]:
    """The report of any load, from its samples and facts."""
    stated, total = bundle.manifest, samples["total"]
    return {
        **facts,
        "valid": not facts["doubts"],
        "bundle": {
            "path": str(bundle.path),
            "megabytes": round(bundle.path.stat().st_size / 1e6, 3),
            **{name: getattr(stated, name) for name in ("name", "family", "target", "precision")},
            "files": stated.hashes.files,
        },
        "engine": inspector.engine.describe(),
        "stages_ns": {stage: summarise_latency(values) for stage, values in samples.items()},
        "intervals_ns": {name: percentile_interval(total, share) for name, share in PERCENTILES.items()},
        "histogram_ns": latency_histogram(total),
        "batches_ns": batches_of(total),
        "machine": describe_machine(),
    }
