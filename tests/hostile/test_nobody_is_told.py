"""Opening, inspecting and quantizing talk to nobody: no socket, no forked process, no id at home."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.tiny_bundle import write_tiny_bundle

# What libraries call, native ones too: the process ends where one of them opens a way out or forks.
_WATCH = r"""
#define _GNU_SOURCE
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
static int told(const char *what) { (void)!write(2, what, strlen(what)); _exit(9); }
int socket(int domain, int type, int protocol) {
    (void)type; (void)protocol;
    return told(domain == AF_UNIX ? "told: a local socket\n" : "told: a socket\n");
}
pid_t fork(void) { return told("told: a forked process\n"); }
"""
_OPEN = """
import sys, numpy as np, edgead
with edgead.open(sys.argv[1]) as inspector:
    inspector.inspect(np.zeros((32, 32, 3), np.uint8))
"""
_QUANTIZE = """
import edgead, numpy as np
from edgead.compiler.quantize import int8_onnx_from_onnx
from edgead.compiler.recipe import load_recipe
from tests.runtime.tiny_bundle import tiny_onnx
images = [np.zeros((32, 32, 3), np.uint8)] * 4
int8_onnx_from_onnx(tiny_onnx(), images, spec=load_recipe("default").quantization)
"""
_SILENT = ("CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV", "ORT_DISABLE_TELEMETRY")


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and Linux")
    folder = tmp_path_factory.mktemp("watch")
    (folder / "watch.c").write_text(_WATCH)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "watch.so", "watch.c"], cwd=folder, check=True)
    return folder / "watch.so"


def run(watch: Path, code: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a home of its own, without the variables under which the packages are silent anyway."""
    root = Path(__file__).parents[2]
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in _SILENT}
    environment |= {"HOME": str(home), "PYTHONPATH": str(root), "LD_PRELOAD": str(watch)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_opening_and_inspecting_tell_nobody(watch: Path, engine: str, tmp_path: Path):
    pytest.importorskip(engine)
    bundle = write_tiny_bundle(tmp_path / "tiny.edgead", engine=engine)
    found = run(watch, _OPEN, tmp_path / "home", str(bundle))
    assert found.returncode == 0, found.stderr
    assert list((tmp_path / "home").iterdir()) == []


def test_quantizing_tells_nobody(watch: Path, tmp_path: Path):
    pytest.importorskip("nncf")
    found = run(watch, _QUANTIZE, tmp_path / "home")
    assert found.returncode == 0, found.stderr
    assert not (tmp_path / "home" / "intel").exists()


@pytest.mark.parametrize("code", ["import openvino", "import socket; socket.socket()"])
def test_the_watch_sees_what_it_is_there_for(watch: Path, code: str, tmp_path: Path):
    """Without edgead, importing OpenVINO starts a process that reports."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    found = run(watch, code, tmp_path / "home")
    assert found.returncode == 9 or (tmp_path / "home" / "intel").exists()
