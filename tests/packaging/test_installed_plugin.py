"""A plugin needs no edit of edgead: an installed package adds a camera, a destination, an engine and a model
family by entry points, and all four are used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "edgead-tiny-plugin"
version = "1"
[tool.setuptools]
py-modules = ["tiny_plugin"]
[project.entry-points."edgead.cameras"]
noise = "tiny_plugin:NOISE"
[project.entry-points."edgead.verdict_sinks"]
counter = "tiny_plugin:open_counter"
[project.entry-points."edgead.engines"]
plain-numpy = "tiny_plugin:NumpyEngine"
[project.entry-points."edgead.model_families"]
tiny = "tiny_plugin:FAMILY"
"""
MODULE = '''
import pathlib
import numpy as np
from edgead.cameras.addresses import CameraKind
from edgead.cameras.base import Driver, Frame
from edgead.models.families import ModelFamily
from edgead.models.realnet.config import RealNetConfig
from edgead.models.realnet.network import RealNet
from edgead.runtime.engines.base import Engine
from edgead.verdicts import Sink, SinkStatistics


class NoiseDriver(Driver):
    """Three frames of noise."""

    def __init__(self, seed):
        self._random, self._number = np.random.default_rng(seed), 0

    is_live = False

    def open(self):
        pass

    def grab(self, timeout_s):
        if self._number == 3:
            return None
        self._number += 1
        return Frame(self._random.integers(0, 256, (32, 32, 3), np.uint8), self._number, self._number)

    def close(self):
        pass


NOISE = CameraKind("noise:7", {}, lambda where: NoiseDriver(int(where)), lambda: "")


class Counter(Sink):
    """Writes how many verdicts came."""

    def __init__(self, path):
        self.statistics, self._path = SinkStatistics(), pathlib.Path(path)

    def send(self, verdict):
        self.statistics.accepted += 1
        self.statistics.delivered += 1

    def close(self):
        self._path.write_text(str(self.statistics.delivered))


def open_counter(address, *, spool, on_event):
    return Counter(address.partition("://")[2])


class NumpyEngine(Engine):
    """Answers as the tests' tiny model does: means of 4 x 4 cells."""

    name = "plain-numpy"

    def load(self, files, manifest):
        pass

    def describe(self):
        return {"engine": self.name, "version": np.__version__, "device": "CPU"}

    def devices(self):
        return {"CPU": "numpy"}

    def infer(self, image):
        cells = image.astype(np.float64).reshape(image.shape[0] // 4, 4, image.shape[1] // 4, 4, 3)
        anomaly_map = (cells.mean(axis=(1, 3, 4)) / 255).astype(np.float32)
        return anomaly_map, float(anomaly_map.max())


class TinyConfig(RealNetConfig):
    family = "tiny"


FAMILY = ModelFamily(TinyConfig, RealNet, {"compact": TinyConfig()})
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin installed in it."""
    source, site = tmp_path_factory.mktemp("plugin"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "tiny_plugin.py").write_text(MODULE)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*command, "--target", str(site), str(source)], check=True, capture_output=True)
    return site


def python(site: Path, code: str, *arguments: str | Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_camera_a_destination_and_an_engine_work_together(site: Path, tmp_path: Path):
    bundle = write_tiny_bundle(tmp_path / "tiny.edgead", engine="onnxruntime")
    code = "import sys; from edgead.cli import main; main(sys.argv[1:])"
    options = ("--engine", "plain-numpy", "--send", f"counter://{tmp_path / 'count'}")
    said = python(site, code, "run", bundle, "noise:7", *options, "--json-lines", "-")
    assert [json.loads(line)["number"] for line in said.splitlines()] == [1, 2, 3]
    assert (tmp_path / "count").read_text() == "3"


def test_a_model_family_is_there_by_its_name(site: Path):
    code = "from edgead.models.families import model_family; print(sorted(model_family('tiny').presets))"
    assert "compact" in python(site, code)


def test_without_the_plugin_its_names_are_unknown():
    code = "from edgead.engines import engines; print('plain-numpy' in engines())"
    assert python(ROOT, code).strip() == "False"
