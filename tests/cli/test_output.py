"""Standard output that cannot take a character, or anything at all: a message, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.runtime.tiny_bundle import write_tiny_bundle


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "\u90e8\u54c1.png"
    path.write_bytes(cv2.imencode(".png", np.zeros((32, 32), np.uint8))[1].tobytes())
    return path


def run(
    *arguments: object, encoding: str = "utf-8", out: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "edgead", *map(str, arguments)]
    return subprocess.run(command, env=environment, stdout=out, stderr=subprocess.PIPE, check=False)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_a_name_that_the_console_lacks_is_escaped(tmp_path: Path, picture: Path, encoding: str):
    bundle = write_tiny_bundle(tmp_path / "tiny.edgead")
    found = run("run", bundle, picture, encoding=encoding)
    assert found.returncode == 0, found.stderr
    assert rb"\u90e8\u54c1.png: good" in found.stdout
    missing = run("run", bundle, f"{picture}x.png", encoding=encoding)
    assert missing.returncode == 1
    assert b"Traceback" not in missing.stderr


@pytest.mark.parametrize("command", [["inspect"], ["verify"], ["inspect", "--json", "-"]])
def test_a_full_disk_behind_stdout_is_an_error_in_words(tmp_path: Path, command: list[str]):
    bundle = write_tiny_bundle(tmp_path / "tiny.edgead")
    full = os.open("/dev/full", os.O_WRONLY)
    found = run(command[0], bundle, *command[1:], out=full)
    os.close(full)
    assert found.returncode == 1
    assert found.stderr.startswith(b"Error: The output cannot be written (No space left on device).")
    assert b"Traceback" not in found.stderr
