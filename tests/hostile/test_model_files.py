"""What a crafted model file could make an engine do: each is refused before an engine sees a byte."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgead
from edgead.bundle import read_bundle, write_bundle
from edgead.bundle.model_check import check_onnx, check_openvino_xml
from edgead.errors import BundleError
from tests.runtime.tiny_bundle import tiny_manifest, tiny_onnx, tiny_reference

ENGINES = ("openvino", "onnxruntime")


def external(tensor: TensorProto, **entries: object) -> None:
    """Make a tensor's numbers lie elsewhere."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))


def in_memory(model: onnx.ModelProto) -> None:
    secret = ctypes.create_string_buffer(b"a key of the host program" * 8)
    address = ctypes.addressof(secret)
    external(model.graph.initializer[0], location="*/_ORT_MEM_ADDR_/*", offset=address, length=192)


def in_a_file(model: onnx.ModelProto) -> None:
    external(model.graph.initializer[0], location="weights.bin", offset=0, length=192)


def location_alone(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def in_an_attribute(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "more")
    external(tensor, location="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))


def in_a_subgraph(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "more")
    external(tensor, location="weights.bin")
    inner = helper.make_graph([], "inner", [], [], [tensor])
    model.graph.node.append(
        helper.make_node("If", ["flag"], ["unused"], then_branch=inner, else_branch=inner)
    )


def in_a_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.zeros(4, np.float32)))
    external(node.attribute[0].t, location="weights.bin")
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("", "Mine", [], ["y"], [node], opsets))


def endless_loop(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "times"))
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["times", ""], [], body=body))


def foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Run", ["image"], ["unused"], domain="com.example"))


def foreign_opset(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def sparse_weights(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2**40]))


def more_elements_than_bytes(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def negative_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


HOSTILE = (
    in_memory,
    in_a_file,
    location_alone,
    in_an_attribute,
    in_a_subgraph,
    in_a_function,
    endless_loop,
    foreign_operator,
    foreign_opset,
    sparse_weights,
    more_elements_than_bytes,
    negative_size,
)


@pytest.fixture(params=HOSTILE, ids=lambda change: change.__name__)
def hostile_onnx(request: pytest.FixtureRequest) -> bytes:
    change: Callable[[onnx.ModelProto], None] = request.param
    model = onnx.load_from_string(tiny_onnx())
    change(model)
    return bytes(model.SerializeToString())


def test_a_bundle_with_it_is_refused_before_an_engine_reads_it(
    hostile_onnx: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edgead.runtime.inspector.create_engine", lambda *_, **__: pytest.fail("an engine"))
    path = tmp_path / "hostile.edgead"
    write_bundle(path, tiny_manifest(), files={"model.onnx": hostile_onnx}, reference=tiny_reference())
    with pytest.raises(BundleError, match=r"hostile\.edgead: model\.onnx: it has"):
        edgead.open(path)


@pytest.mark.parametrize("change", [in_memory, in_a_file, in_an_attribute, in_a_subgraph, in_a_function])
def test_weights_elsewhere_are_refused_where_operators_are_judged_by_another(change: Callable[..., None]):
    model = onnx.load_from_string(tiny_onnx())
    change(model)
    with pytest.raises(BundleError, match="external data"):
        check_onnx(model.SerializeToString(), origin="x", any_operators=True)


def test_foreign_operators_are_another_s_to_judge():
    model = onnx.load_from_string(tiny_onnx())
    foreign_operator(model)
    endless_loop(model)
    check_onnx(model.SerializeToString(), origin="x", any_operators=True)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<?xml version='1.0'?><net name='x'></net>",
        b" <net/>",
        b"TFL3" * 9,
        b"\x1c\0\0\0TFL3",
        b"\xff" * 99,
    ],
    ids=["empty", "xml", "space and xml", "text", "flatbuffer", "ones"],
)
def test_another_format_under_the_name_of_onnx_is_refused(content: bytes):
    """OpenVINO finds the format by the bytes, whatever the name."""
    with pytest.raises(BundleError, match="expected an ONNX model"):
        check_onnx(content, origin="model.onnx")


def test_models_of_every_age_pass():
    check_onnx(tiny_onnx(), origin="tiny")
    read_bundle(Path(__file__).parents[1] / "kept" / "realnet.edgead")


def test_every_truncation_is_refused():
    content = tiny_onnx()
    for size in range(0, len(content), 7):
        if size != len(content):
            check = _verdict(content[:size])
            assert check is None or isinstance(check, BundleError)


def test_random_changes_end_in_a_verdict():
    generator, content = np.random.default_rng(0), tiny_onnx()
    for _ in range(3000):
        changed = bytearray(content)
        for place in generator.integers(0, len(changed), 1 + int(generator.integers(4))):
            changed[place] = int(generator.integers(256))
        assert not isinstance(_verdict(bytes(changed)), RecursionError)


def _verdict(content: bytes) -> BundleError | None:
    try:
        check_onnx(content, origin="x")
    except BundleError as error:
        return error
    return None


NET = '<net name="x" version="11"><layers>{}</layers></net>'
LAYER = '<layer id="0" name="c" type="{}" version="{}">{}</layer>'


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ('<!DOCTYPE net SYSTEM "file:///etc/passwd"><net/>', "DTD"),
        ('<!DOCTYPE net [<!ENTITY a "aaaa">]><net>&a;</net>', "DTD"),
        (NET.format(LAYER.format("Mine", "extension", "")), "not OpenVINO's"),
        (NET.format(LAYER.format("TensorIterator", "opset1", "<body/>")), "may not end"),
        (NET.format(LAYER.format("Const", "opset1", '<data offset="8" size="99"/>')), "beyond its 100 bytes"),
        (NET.format(LAYER.format("Const", "opset1", '<data offset="-8" size="9"/>')), "beyond its 100 bytes"),
        (NET.format(LAYER.format("Const", "opset1", '<data offset="a" size="9"/>')), "not a number"),
        ("<other/>", "found <other>"),
        ("<net>", "no element found"),
        ("<net>" + "<a>" * 100 + "</a>" * 100 + "</net>", "too deep"),
    ],
)
def test_openvino_xml_that_reaches_outside_is_refused(xml: str, reason: str):
    with pytest.raises(BundleError, match=reason):
        check_openvino_xml(xml.encode(), weights=100, origin="model.xml")


def test_openvino_xml_of_its_own_passes(tmp_path: Path):
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "model.xml"
    openvino.serialize(openvino.Core().read_model(tiny_onnx()), path)
    check_openvino_xml(path.read_bytes(), weights=path.with_suffix(".bin").stat().st_size, origin="model.xml")


MUTATIONS = int(os.environ.get("EDGEAD_FUZZ", "1")) * 150  # EDGEAD_FUZZ=14: the 2,000 of a release
_OPEN_EACH = """
import sys, numpy as np
from pathlib import Path
from edgead.errors import EdgeadError
from edgead.runtime.engines import create_engine
from edgead.bundle.model_check import check_onnx
from tests.runtime.tiny_bundle import tiny_manifest, tiny_onnx
name, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
generator, content, image = np.random.default_rng(seed), tiny_onnx(), np.zeros((32, 32, 3), np.uint8)
opened = 0
for number in range(count):
    changed = bytearray(content)
    for place in generator.integers(0, len(changed), 1 + int(generator.integers(3))):
        changed[place] = int(generator.integers(256))
    try:
        check_onnx(bytes(changed), origin="x")
        engine = create_engine(name, threads=1)
        engine.load({"model.onnx": bytes(changed)}, tiny_manifest(engine=name))
        engine.infer(image)
        opened += 1
    except EdgeadError:
        pass
print("opened", opened)
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_changed_models_crash_no_engine_and_raise_edgead_s_errors_alone(engine: str):
    pytest.importorskip(engine)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _OPEN_EACH, engine, str(MUTATIONS), "0"]
    found = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    assert int(found.stdout.split()[-1]) > 0  # some changes do no harm: the engines were reached
