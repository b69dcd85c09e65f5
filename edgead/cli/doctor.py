"""`edgead doctor`: what this machine can do, what it lacks, the command that mends it; and a whole trial."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import engine_option, json_option, write_json
from edgead.errors import EngineError

if TYPE_CHECKING:
    from edgead.runtime.verification import Verification

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
_SECONDS = 30.0


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--seconds", default=_SECONDS, show_default=True, help="Measure BUNDLE for at least this long.")
@engine_option
@json_option
def command(bundle: Path | None, seconds: float, engine: str | None, json_path: str | None) -> None:
    """Check this machine: Python, packages, engines, devices, permissions; with BUNDLE also build and run it.

    \b
    Examples:
      edgead doctor
      edgead doctor part.edgead --json doctor.json

    With BUNDLE its engine is built (minutes, once), compared with the reference answers and measured. The
    JSON file is what edgead's authors need to add a measured profile of your device.

    Exit status 1 when no engine works, for then no bundle can run here; 3 when BUNDLE gives wrong answers.
    """
    findings = examine()
    if json_path != "-":
        _print(findings)
    works = any(found["works"] for found in findings["engines"].values())
    trial, verification = None, None
    if bundle is not None and works:
        trial, verification = try_bundle(bundle, seconds=seconds, engine=engine)
    if json_path is not None:
        write_json(json_path, findings | {"trial": trial})
    if not works:
        raise EngineError("No engine works here. Install one: pip install 'edgead[openvino]'")
    if trial is not None and verification is not None and json_path != "-":
        _print_trial(trial, verification, json_path)
    if verification is not None:
        from edgead.runtime.verification import demand

        demand(verification, origin=str(bundle))


def examine() -> dict[str, Any]:
    """machine, checks of NVIDIA's parts, engines (name -> works, devices, problem), packages, advice."""
    from edgead.device.machine import describe_machine, package_versions
    from edgead.device.nvidia import check_nvidia
    from edgead.runtime.engines import ENGINES

    checks = check_nvidia()
    engines = {name: _examine_engine(name) for name in ENGINES}
    installed = package_versions(tuple(_OPTIONAL))
    advice = [f"{check.name}: {check.mend}" for check in checks if check.mend is not None]
    advice += [
        f"{name}: {entry.install}"
        for name, entry in ENGINES.items()
        if not engines[name]["works"] and (checks or not entry.needs_nvidia)
    ]
    if missing := [name for name in _OPTIONAL if name not in installed]:
        purposes = ", ".join(sorted({_OPTIONAL[name][0] for name in missing}))
        advice.append(f"to {purposes} ({', '.join(missing)} missing): pip install 'edgead[train]'")
    return {
        "machine": describe_machine(),
        "executable": sys.executable,
        "nvidia": [dataclasses.asdict(check) for check in checks],
        "engines": engines,
        "optional_packages": {name: installed.get(name) for name in _OPTIONAL},
        "advice": advice,
    }


def try_bundle(path: Path, *, seconds: float, engine: str | None) -> tuple[dict[str, Any], Verification]:
    """Open, verify and measure a bundle: (what `edgead bench` reports and more, as plain values; the proof).

    Raises BundleError, EngineError, UsageError. A wrong answer is measured all the same.
    """
    from edgead.bench.latency import ClosedLoop
    from edgead.bundle import read_bundle
    from edgead.cli.bench import describe_run, measure
    from edgead.runtime.inspector import Inspector
    from edgead.runtime.verification import verify_engine

    scenario = ClosedLoop(min_seconds=seconds, min_count=1)
    opened = read_bundle(path)
    started = time.monotonic()
    with Inspector(opened, engine=engine, verify=False) as inspector:
        opening_seconds = time.monotonic() - started
        verification = verify_engine(inspector.engine, opened.reference)
        images = list(opened.reference.inputs)
        run = measure(inspector, images, scenario=scenario)
        report = describe_run(run, opened, inspector, images)
    proof = {"passed": verification.passed, **dataclasses.asdict(verification)}
    return {"opening_seconds": opening_seconds, "verification": proof, "bench": report}, verification


def _examine_engine(name: str) -> dict[str, Any]:
    from edgead.runtime.engines import create_engine

    try:
        engine = create_engine(name)
        return {"works": True, "devices": engine.devices(), "problem": None}
    except EngineError as error:
        return {"works": False, "devices": {}, "problem": str(error)}


def _print(findings: dict[str, Any]) -> None:
    machine = findings["machine"]
    click.echo(f"python      {machine['python']} ({findings['executable']}) on {machine['system']}")
    click.echo(f"processor   {machine['cpu']}: {machine['usable_cores']} of {machine['cores']} cores usable")
    click.echo(f"            {' '.join(machine['cpu_flags']) or 'no relevant instructions known'}")
    for check in findings["nvidia"]:
        click.echo(
            f"{'nvidia' if check['mend'] is None else 'nvidia !':<11} {check['name']}: {check['found']}"
        )
    packages = {**machine["versions"], **findings["optional_packages"]}
    for name, version in packages.items():
        click.echo(f"package     {name} {version or 'is not installed'}")
    for name, engine in findings["engines"].items():
        devices = ", ".join(f"{device} ({title})" for device, title in engine["devices"].items())
        click.echo(f"engine      {name}: {f'works on {devices}' if engine['works'] else engine['problem']}")
    for advice in findings["advice"]:
        click.echo(f"to mend     {advice}")


def _print_trial(trial: dict[str, Any], verification: Verification, json_path: str | None) -> None:
    report = trial["bench"]
    stages = report["stages_ns"]
    click.echo(f"bundle      {report['bundle']['path']}, for {report['bundle']['target']}")
    for name, value in report["engine"].items():
        click.echo(f"            {name.replace('_', ' ')}: {value}")
    click.echo(f"opened      in {trial['opening_seconds']:.1f} s")
    verdict = "right" if verification.passed else "WRONG"
    click.echo(f"answers     {verdict}: {verification.describe()}")
    for stage in ("total", "infer", "gpu"):
        if stage in stages:
            figures = ", ".join(f"{name} {stages[stage][name] / 1e6:.3f}" for name in ("p50", "p99", "max"))
            click.echo(f"latency     {stage}: {figures} ms ({stages[stage]['count']} images)")
    click.echo(f"            {'valid' if report['valid'] else 'NOT VALID: ' + '; '.join(report['doubts'])}")
    if not _has_run_there(report["bundle"]["target"]):
        hint = json_path or "--json doctor.json"
        click.echo(
            f"to help     edgead has not yet run on the device that this target describes: please send {hint}"
        )


def _has_run_there(target: str) -> bool:
    from edgead.errors import EdgeadError
    from edgead.profiles.target import read_target

    try:
        return read_target(target).run_on_device
    except EdgeadError:  # a user's own
        return True
