"""What `edgead inspect --tensorrt` answers: the rules of a version that a model breaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgead.bundle import read_bundle
from edgead.bundle.model_check import check_onnx
from edgead.cli.options import write_json
from edgead.errors import DataError, GateError, UsageError
from edgead.files import read_file
from edgead.installation import how_to_install

if TYPE_CHECKING:
    from edgead.compiler.tensorrt_rules import Finding, Version

_MOST_BYTES = 2**31  # of an ONNX file, by its format
ALL = "all"


def answer_for_tensorrt(path: Path, name: str, json_path: str | None) -> None:
    """Print or write the findings; raises GateError (exit status 3) where a node is refused."""
    try:
        from edgead.compiler.tensorrt_rules import REFUSE, check_model, find_version, versions
    except ImportError as error:
        raise UsageError(
            f"--tensorrt reads the graph, for which '{error.name}' is missing here. "
            f"Install it ({how_to_install('train')}), or ask on the machine that compiles."
        ) from error
    wanted = tuple(versions().values()) if name == ALL else (find_version(name),)
    findings = [finding for _, model in models(path) for finding in check_model(model, wanted)]
    if json_path is not None:
        answer = {
            "model": str(path),
            "versions": [version.name for version in wanted],
            "findings": [finding.to_json() for finding in findings],
        }
        write_json(json_path, answer)
    if json_path != "-":
        for line in lines(path, wanted, findings):
            click.echo(line)
    refused = sum(finding.level == REFUSE for finding in findings)
    if refused:
        raise GateError(f"{path}: TensorRT would refuse it in {refused} places.")


def models(path: Path) -> list[tuple[str, bytes]]:
    """The ONNX graphs of a bundle, or the .onnx file itself; raises DataError and BundleError."""
    if path.suffix != ".onnx":
        files = read_bundle(path).files.items()
        found = [(name, bytes(content)) for name, content in files if name.endswith(".onnx")]
        if not found:
            raise DataError(f"{path}: expected a model in ONNX, found none. Name another bundle.")
        return found
    try:
        content = read_file(path, most=_MOST_BYTES)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Name an .onnx or .edgead file."
        ) from error
    check_onnx(content, origin=str(path), any_operators=True)
    return [(path.name, content)]


def lines(path: Path, wanted: Sequence[Version], findings: Sequence[Finding]) -> Iterator[str]:
    """The answer for a person: a line for each version, then its findings."""
    for version in wanted:
        own = [finding for finding in findings if finding.version == version.name]
        refused = sum(finding.level == "refuse" for finding in own)
        basis = version.read or "its own table of operators"
        yield f"TensorRT {version.name}: {refused} refused, {len(own) - refused} slow (from {basis})"
        for finding in own:
            where = f"{finding.operator} '{finding.name}'" if finding.operator else f"'{finding.name}'"
            yield f"  {finding.level}: {where}: {finding.reason} ({finding.found}). {finding.remedy}"
            yield f"      {finding.rule}, from {finding.source}"
