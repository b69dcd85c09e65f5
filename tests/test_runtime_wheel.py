"""The wheel of a line's PC: without what trains and compiles, it inspects and says what it lacks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.installation import how_to_install
from tests.runtime.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
# An editable install of the checkout would find the parts that the wheel leaves out.
MAIN = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__editable__")]
from edgead.cli import main
main(prog_name="edgead")
"""
# All that a line's PC runs; everything else stays with the server.
PARTS = {
    "bench",
    "bundle",
    "cameras",
    "cli",
    "device",
    "inspection",
    "profiles",
    "runtime",
    "verdicts",
    "web",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's files, as `make runtime-wheel` builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("edgead", "targets", "calibration"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True, env={**os.environ, "EDGEAD_PARTS": "runtime"})
    (wheel,) = folder.glob("edgead-*+runtime-*.whl")
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    return folder / "site"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "part.edgead")


def edgead(installed: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line of the installed wheel, from a folder where the checkout is not on the path."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", MAIN, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=installed, timeout=60)


def test_it_holds_what_a_line_needs_and_no_more(installed: Path):
    there = {path.name for path in (installed / "edgead").iterdir() if path.is_dir()}
    assert there - {"__pycache__"} == PARTS


def test_it_opens_verifies_and_inspects(installed: Path, bundle: Path, tmp_path: Path):
    picture = tmp_path / "part.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    verified = edgead(installed, "verify", bundle)
    assert verified.returncode == 0, verified.stderr
    ran = edgead(installed, "run", bundle, picture, "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    (line,) = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(line)["score"])


@pytest.mark.parametrize("command", ["doctor", "targets", "inspect", "bench"])
def test_the_commands_of_the_line_work(installed: Path, bundle: Path, command: str):
    words = {"inspect": [bundle], "bench": [bundle, "--seconds", "0.1", "--count", "5"]}.get(command, [])
    done = edgead(installed, command, *words)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", ["train", "compile", "synthesize"])
def test_the_others_say_what_is_missing(installed: Path, command: str, tmp_path: Path):
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((64, 64, 3), number, np.uint8))
    words = {"compile": [tmp_path, "--target", "cpu"], "synthesize": ["fit", tmp_path]}.get(
        command, [tmp_path]
    )
    done = edgead(installed, command, *words, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "the runtime alone" in done.stderr
    assert how_to_install("train") in done.stderr
