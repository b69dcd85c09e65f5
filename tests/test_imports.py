"""What a clean interpreter loads: the runtime needs no training library, `import edgead` next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgead
from edgead.cli import COMMANDS
from tests.runtime.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).resolve().parents[1]
TRAINING_SIDE = ["torch", "onnx", "nncf", "sklearn", "scipy", "safetensors", "matplotlib", "jinja2", "pandas"]
REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
"""
MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def clean(code: str, *arguments: str, without: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` in an interpreter in which the packages `without` do not exist."""
    prefix = REFUSE.format(names=set(without)) if without else ""
    command = [sys.executable, "-c", prefix + code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def roots(done: subprocess.CompletedProcess[str]) -> set[str]:
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_import_edgead_loads_next_to_nothing():
    assert roots(clean(f"import edgead; {MODULES}")) & {"numpy", "cv2", "click", "openvino", "torch"} == set()


def test_the_public_names_are_there():
    for name in edgead.__all__:
        assert getattr(edgead, name) is not None
    with pytest.raises(AttributeError, match="it has EdgeadError"):
        _ = edgead.opn  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_bundle_is_run_without_training_libraries(tmp_path: Path, engine: str):
    pytest.importorskip(engine)
    path = write_tiny_bundle(tmp_path / "tiny.edgead", engine=engine)
    other = {"openvino": "onnxruntime", "onnxruntime": "openvino"}[engine]
    code = (
        "import sys, edgead, numpy\n"
        "inspector = edgead.open(sys.argv[1])\n"
        "result = inspector.inspect(numpy.zeros((9, 9), numpy.uint8))\n"
        "result.anomaly_map, result.regions\n" + MODULES
    )
    loaded = roots(clean(code, str(path), without=[*TRAINING_SIDE, other, "click"]))
    assert loaded & {*TRAINING_SIDE, other} == set()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_needs_no_extra(name: str):
    if not (ROOT / "edgead" / "cli" / f"{name.replace('-', '_')}.py").is_file():
        pytest.skip(f"edgead {name} is not written yet")
    engines = ["openvino", "onnxruntime"]
    code = "import sys; from edgead.cli import main; main(sys.argv[1:])"
    done = clean(code, name, "--help", without=[*TRAINING_SIDE, *engines, "numpy", "cv2"])
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout


@pytest.mark.parametrize("name", ["inspect", "verify", "run"])
def test_the_commands_of_the_line_need_no_training_library(tmp_path: Path, name: str):
    import cv2
    import numpy as np

    path = write_tiny_bundle(tmp_path / "tiny.edgead")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9), np.uint8))
    arguments = [name, str(path), *([str(tmp_path / "a.png")] if name == "run" else [])]
    done = clean(
        "import sys; from edgead.cli import main; main(sys.argv[1:])", *arguments, without=TRAINING_SIDE
    )
    assert done.returncode == 0, done.stderr
