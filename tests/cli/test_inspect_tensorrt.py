"""`edgead inspect --tensorrt`: exit status, words, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from edgead.cli import main
from edgead.compiler.tensorrt_rules import versions
from tests.runtime.tiny_bundle import write_tiny_bundle


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A model of an opset that TensorRT 10.13 and older do not read."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "newer",
        [value("x", onnx.TensorProto.FLOAT, [1, 4])],
        [value("y", onnx.TensorProto.FLOAT, [1, 4])],
    )
    opsets = [onnx.helper.make_opsetid("", 21)]
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


def test_a_bundle_that_is_taken_or_not_says_so_by_status(tmp_path: Path):
    path = write_tiny_bundle(tmp_path / "tiny.edgead")
    result = invoke(path, "--tensorrt", "10.3.0")
    assert result.exit_code == (3 if "1 refused" in result.output else 0)
    assert "TensorRT 10.3: " in result.output


def test_a_refusal_names_the_rule_and_its_source(refused: Path):
    result = invoke(refused, "--tensorrt", "8.5")
    assert result.exit_code == 3
    assert "opset 21, and it reads 9 to 17" in result.output
    assert "onnx-tensorrt docs/operators.md" in result.output
    assert "TensorRT would refuse it in" in result.output


def test_json_holds_the_findings_of_all_versions(refused: Path):
    result = invoke(refused, "--tensorrt", "all", "--json", "-")
    assert result.exit_code == 3
    answer = json.loads(result.stdout[: result.stdout.rindex("}") + 1])
    assert answer["versions"] == list(versions())
    found = {finding["version"] for finding in answer["findings"] if finding["rule"] == "opset"}
    assert found == {"8.5", "8.6", "10.3", "10.13"}


@pytest.mark.parametrize(
    ("name", "content", "version", "status", "message"),
    [
        ("model.onnx", b"junk", "10.3", 1, "expected an ONNX model"),
        ("model.onnx", b"", "10.3", 1, "expected an ONNX model"),
        ("model.onnx", None, "10.3", 1, "cannot be read"),
        ("a.edgead", b"PK", "10.3", 1, "a.edgead"),
        ("model.onnx", b"", "10.33", 2, "Unknown TensorRT version '10.33'"),
        ("model.onnx", b"", "newest", 2, "Unknown TensorRT version 'newest'"),
    ],
)
def test_bad_input(tmp_path: Path, name: str, content: bytes | None, version: str, status: int, message: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = invoke(tmp_path / name, "--tensorrt", version)
    assert result.exit_code == status
    assert message in result.output
    assert "Traceback" not in result.output
