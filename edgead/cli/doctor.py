"""`edgead doctor`: what this installation can do, what it lacks, and the command that mends it."""

from __future__ import annotations

import sys
from typing import Any

import click

from edgead.cli.options import json_option, write_json
from edgead.errors import EngineError

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


@click.command()
@json_option
def command(json_path: str | None) -> None:
    """Check this machine: Python, packages, engines and their devices, processor.

    \b
    Examples:
      edgead doctor
      edgead doctor --json doctor.json

    Exit status 1 when no engine works, for then no bundle can run here.
    """
    findings = examine()
    if json_path is not None:
        write_json(json_path, findings)
    if json_path != "-":
        _print(findings)
    if not any(engine["works"] for engine in findings["engines"].values()):
        raise EngineError("No engine works here. Install one: pip install 'edgead[openvino]'")


def examine() -> dict[str, Any]:
    """machine, engines (name -> works, devices, problem), line buffer, optional packages, advice."""
    from edgead.runtime.engines import ENGINES
    from edgead.runtime.machine import describe_machine, package_versions

    engines = {name: _examine_engine(name) for name in ENGINES}
    installed = package_versions(tuple(_OPTIONAL))
    advice = [f"{name}: {entry.install}" for name, entry in ENGINES.items() if not engines[name]["works"]]
    if missing := [name for name in _OPTIONAL if name not in installed]:
        purposes = ", ".join(sorted({_OPTIONAL[name][0] for name in missing}))
        advice.append(f"to {purposes} ({', '.join(missing)} missing): pip install 'edgead[train]'")
    return {
        "machine": describe_machine(),
        "executable": sys.executable,
        "engines": engines,
        "line_buffer": _examine_line_buffer(),
        "optional_packages": {name: installed.get(name) for name in _OPTIONAL},
        "advice": advice,
    }


def _examine_engine(name: str) -> dict[str, Any]:
    from edgead.runtime.engines import create_engine

    try:
        engine = create_engine(name)
        return {"works": True, "devices": engine.devices(), "problem": None}
    except EngineError as error:
        return {"works": False, "devices": {}, "problem": str(error)}


def _examine_line_buffer() -> dict[str, Any]:
    try:
        import edgead.runtime.line.buffer  # noqa: F401
    except ImportError as error:
        return {"works": False, "problem": str(error)}
    return {"works": True, "problem": None}


def _print(findings: dict[str, Any]) -> None:
    machine = findings["machine"]
    click.echo(f"python      {machine['python']} ({findings['executable']}) on {machine['system']}")
    click.echo(f"processor   {machine['cpu']}: {machine['usable_cores']} of {machine['cores']} cores usable")
    click.echo(f"            {' '.join(machine['cpu_flags']) or 'no relevant instructions known'}")
    packages = {**machine["versions"], **findings["optional_packages"]}
    for name, version in packages.items():
        click.echo(f"package     {name} {version or 'is not installed'}")
    for name, engine in findings["engines"].items():
        devices = ", ".join(f"{device} ({title})" for device, title in engine["devices"].items())
        click.echo(f"engine      {name}: {f'works on {devices}' if engine['works'] else engine['problem']}")
    lines = findings["line_buffer"]
    click.echo(f"lines       {'the line buffer works' if lines['works'] else lines['problem']}")
    for advice in findings["advice"]:
        click.echo(f"to mend     {advice}")
