"""What this installation can do, what it lacks and how that is fixed; and a trial of a bundle."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from edgead.bench.latency import ClosedLoop
from edgead.bench.loads import measure_calls
from edgead.bench.report import describe_run
from edgead.bundle import read_bundle
from edgead.device.machine import describe_machine, package_versions
from edgead.device.nvidia import check_nvidia
from edgead.engines import engines
from edgead.errors import EngineError
from edgead.installation import how_to_install
from edgead.runtime.engines import create_engine
from edgead.runtime.inspector import Inspector
from edgead.runtime.verification import Verification, verify_engine

# Packages beyond the runtime: what for, and the extra that brings them.
_OPTIONAL = {
    "torch": ("train and compile", "train"),
    "safetensors": ("train and compile", "train"),
    "scikit-learn": ("train and evaluate", "train"),
    "onnx": ("compile", "train"),
    "nncf": ("compile to INT8", "train"),
    "jinja2": ("write reports", "train"),
    "matplotlib": ("write reports", "train"),
}


def examine() -> dict[str, Any]:
    """Machine, checks of NVIDIA's parts, engines, packages and advice, as plain values."""

    checks = check_nvidia()
    found = {name: _examine_engine(name) for name in engines()}
    installed = package_versions(tuple(_OPTIONAL))
    advice = [f"{check.name}: {check.fix}" for check in checks if check.fix is not None]
    advice += [
        f"{name}: {entry.install}"
        for name, entry in engines().items()
        if not found[name]["works"] and (checks or not entry.needs_nvidia)
    ]
    if missing := [name for name in _OPTIONAL if name not in installed]:
        purposes = ", ".join(sorted({_OPTIONAL[name][0] for name in missing}))
        advice.append(f"to {purposes} ({', '.join(missing)} missing): {how_to_install('train')}")
    return {
        "machine": describe_machine(),
        "executable": sys.executable,
        "nvidia": [dataclasses.asdict(check) for check in checks],
        "engines": found,
        "optional_packages": {name: installed.get(name) for name in _OPTIONAL},
        "advice": advice,
    }


def try_bundle(path: Path, *, seconds: float, engine: str | None) -> tuple[dict[str, Any], Verification]:
    """Open, verify and measure a bundle: (what `edgead bench` reports and more, as plain values; the proof).

    Raises BundleError, EngineError, UsageError. A wrong answer is measured all the same.
    """

    scenario = ClosedLoop(min_seconds=seconds, min_count=1)
    opened = read_bundle(path)
    started = time.monotonic()
    with Inspector(opened, engine=engine, verify=False) as inspector:
        opening_seconds = time.monotonic() - started
        verification = verify_engine(inspector.engine, opened.reference)
        images = list(opened.reference.inputs)
        run = measure_calls(inspector, images, scenario=scenario)
        report = describe_run(run, opened, inspector, images)
    proof = {"passed": verification.passed, **dataclasses.asdict(verification)}
    return {"opening_seconds": opening_seconds, "verification": proof, "bench": report}, verification


def _examine_engine(name: str) -> dict[str, Any]:

    try:
        engine = create_engine(name)
        return {"works": True, "devices": engine.devices(), "problem": None}
    except EngineError as error:
        return {"works": False, "devices": {}, "problem": str(error)}
