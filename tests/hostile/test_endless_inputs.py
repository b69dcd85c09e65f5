"""A pipe, a device or a folder where a file is expected: an error at once, in every command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgead.cli import main
from tests.runtime.tiny_bundle import write_tiny_bundle

DEEP = "[" * 200_000


@pytest.fixture(params=["pipe", "/dev/zero", "folder", "deep.json"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "deep.json").write_text(DEEP)
    return tmp_path / str(request.param)


@pytest.mark.parametrize(
    "command",
    [
        ("run", "{bundle}", "{endless}"),
        ("inspect", "{endless}"),
        ("verify", "{endless}"),
        ("bench", "{endless}"),
        ("verify", "{bundle}", "--trusted", "{endless}"),
        ("evaluate", "{run}", "{data}"),
        ("compile", "{run}", "--target", "intel-cpu", "--out", "{data}/x.edgead"),
        ("bench", "{bundle}", "--compare", "{run}/run.json"),
    ],
    ids=" ".join,
)
def test_it_ends(tmp_path: Path, endless: Path, command: tuple[str, ...]):
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir()
    data.mkdir()
    (run / "run.json").symlink_to(endless)
    names = {"bundle": write_tiny_bundle(tmp_path / "t.edgead"), "endless": endless, "run": run, "data": data}
    if "--compare" in command and endless.name in ("pipe", "zero"):
        pytest.skip("it may come through a pipe, and is read to its limit")
    found = CliRunner().invoke(main, [word.format(**names) for word in command])
    assert found.exit_code in (1, 2), found.output
    assert isinstance(found.exception, SystemExit)
