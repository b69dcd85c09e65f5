"""What is published: a source distribution that builds, complete metadata, one source of the version."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import edgead

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, and the wheel that is built from it, as `make wheels` does."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    pytest.importorskip("build")
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.mark.slow
def test_one_wheel_serves_all_python_versions_from_311_on(built: Path):
    (wheel,) = built.glob("*.whl")
    stable = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")
    assert ("-cp311-abi3-" in wheel.name) == stable
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("edgead/py.typed", "edgead/profiles/targets/cpu.toml", "edgead/report/template.html"):
        assert part in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.slow
def test_the_source_distribution_holds_what_it_is_built_from(built: Path):
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for part in ("setup.py", "LICENSE", "edgead/runtime/line/src/ring.h", "targets/cpu.toml"):
        assert part in names


@pytest.mark.slow
def test_the_metadata_is_complete(built: Path):
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    found = Parser().parsestr(archive.read(name).decode())
    assert found["Version"] == edgead.__version__
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Requires-Python"] == ">=3.10"
    assert {"openvino", "train", "mqtt", "dev"} <= set(found.get_all("Provides-Extra") or ())
    assert subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(wheel)]).returncode == 0
