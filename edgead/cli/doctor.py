"""`edgead doctor`: what this machine can do, what it lacks and how that is fixed; a trial of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import engine_option, json_option, write_json
from edgead.errors import EngineError
from edgead.installation import how_to_install

if TYPE_CHECKING:
    from edgead.runtime.verification import Verification

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
    from edgead.bench.doctor import examine, try_bundle

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
        raise EngineError(f"No engine works here. Install one: {how_to_install('openvino')}")
    if trial is not None and verification is not None and json_path != "-":
        _print_trial(trial, verification, json_path)
    if verification is not None:
        from edgead.runtime.verification import demand

        demand(verification, origin=str(bundle))


def _print(findings: dict[str, Any]) -> None:
    machine = findings["machine"]
    click.echo(f"python      {machine['python']} ({findings['executable']}) on {machine['system']}")
    click.echo(f"processor   {machine['cpu']}: {machine['usable_cores']} of {machine['cores']} cores usable")
    click.echo(f"            {' '.join(machine['cpu_flags']) or 'no relevant instructions known'}")
    for check in findings["nvidia"]:
        click.echo(
            f"{'nvidia' if check['fix'] is None else 'nvidia !':<11} {check['name']}: {check['found']}"
        )
    packages = {**machine["versions"], **findings["optional_packages"]}
    for name, version in packages.items():
        click.echo(f"package     {name} {version or 'is not installed'}")
    for name, engine in findings["engines"].items():
        devices = ", ".join(f"{device} ({title})" for device, title in engine["devices"].items())
        click.echo(f"engine      {name}: {f'works on {devices}' if engine['works'] else engine['problem']}")
    for advice in findings["advice"]:
        click.echo(f"to fix      {advice}")


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
