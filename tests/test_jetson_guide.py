"""The guide for Jetson: what can run here runs, and no command has an option that does not exist."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from edgead.cli import COMMANDS, main
from edgead.images import write_image
from tests.runtime.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL)
SHELL = "\n".join(block for language, block in BLOCKS if language == "sh").replace("\\\n", " ").splitlines()
UNIT = next(block for language, block in BLOCKS if language == "ini")


def edgead_lines() -> list[list[str]]:
    """The arguments of each call of edgead in the guide: in blocks, in the text, in the unit."""
    found = [line for line in SHELL if "edgead" in line.split() or line.startswith("edgead ")]
    found += re.findall(r"`(edgead [^`]+)`", GUIDE)
    found += re.findall(r"^ExecStart=(.*)$", UNIT, flags=re.MULTILINE)
    words = [shlex.split(line) for line in found]
    calls = []
    for line in words:
        places = [i for i, word in enumerate(line) if Path(word).name == "edgead" and line[i + 1 : i + 2]]
        calls += [line[place + 1 :] for place in places[-1:] if line[place + 1] in COMMANDS]
    return calls


@pytest.mark.parametrize("arguments", edgead_lines(), ids=" ".join)
def test_every_call_parses(arguments: list[str]):
    command = main.get_command(click.Context(main), arguments[0])
    assert command is not None
    if len(arguments) > 1 and not arguments[-1].startswith("--"):  # else the text names an option alone
        command.make_context(arguments[0], arguments[1:], parent=click.Context(main))


def test_the_guide_has_its_calls():
    assert len(edgead_lines()) >= 8


@pytest.mark.parametrize(
    "line", ["edgead inspect part.edgead --tensorrt all", "edgead run part.edgead photos/"]
)
def test_what_can_run_here_runs(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert any(found.startswith(line) for found in SHELL)
    full = next(found for found in SHELL if found.startswith(line))
    monkeypatch.chdir(tmp_path)
    write_tiny_bundle(tmp_path / "part.edgead", engine="tensorrt", target="jetson-orin")
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "a.png", np.zeros((40, 60, 3), np.uint8))
    arguments = shlex.split(full)[1:]
    if "--engine" not in arguments and arguments[0] == "run":
        arguments += ["--engine", "onnxruntime"]  # as the last section has it: no TensorRT is here
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output


def test_the_unit_is_one_that_systemd_reads():
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT)
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    assert unit["Service"]["Environment"] == f"EDGEAD_CACHE=/var/cache/{unit['Service']['CacheDirectory']}"


def test_links_and_files_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", GUIDE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    named = re.findall(r"`((?:edgead|tests|docs)/[\w/.]+)`", GUIDE)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_extras_exist():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for extra in set(re.findall(r"\.(?:whl)?\[(\w+)\]", GUIDE)):
        assert f'"{extra}":' in setup


def test_the_figures_are_those_of_the_file():
    rows = json.loads((ROOT / "benchmarks" / "results" / "jetson.json").read_text(encoding="utf-8"))["rows"]
    found = {row["claim"]: row["value"] for row in rows}
    words = " ".join(GUIDE.split())
    assert f"| maps, correlation with float | {found['maps: correlation with float']:.4f} |" in words
    assert f"| image AUROC, drop from float | {found['image AUROC: drop from float']:.4f} |" in words
