"""What every engine must do, run over each that is installed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgead.engines import BUILT_IN, EngineEntry, engines
from edgead.errors import EngineError, UnknownNameError, UsageError
from edgead.runtime.engines import create_engine
from edgead.runtime.engines.base import Engine
from tests.runtime.tiny_bundle import tiny_answer, tiny_manifest, tiny_onnx

HEIGHT, WIDTH = 16, 24


@pytest.fixture(params=sorted(engines()))
def name(request: pytest.FixtureRequest) -> str:
    if not engines()[request.param].is_installed:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def engine(name: str) -> Iterator[Engine]:
    engine = create_engine(name, threads=1)
    engine.load({"model.onnx": tiny_onnx(HEIGHT, WIDTH)}, tiny_manifest(HEIGHT, WIDTH, engine=name))
    yield engine
    engine.close()


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


class TestContract:
    def test_answers(self, engine: Engine):
        anomaly_map, score = engine.infer(image(0))
        expected_map, expected_score = tiny_answer(image(0))
        assert anomaly_map.dtype == np.float32
        assert type(score) is float
        np.testing.assert_allclose(anomaly_map, expected_map, atol=1e-5)
        assert score == pytest.approx(expected_score, abs=1e-5)

    def test_an_answer_is_the_callers_own(self, engine: Engine):
        first, _ = engine.infer(image(0))
        kept = first.copy()
        engine.infer(image(1))
        np.testing.assert_array_equal(first, kept)

    def test_the_image_is_left_alone(self, engine: Engine):
        picture = image(0)
        picture.flags.writeable = False
        engine.infer(picture)
        np.testing.assert_array_equal(picture, image(0))

    def test_views_are_taken(self, engine: Engine):
        wide = np.repeat(image(0), 2, axis=1)
        np.testing.assert_array_equal(engine.infer(wide[:, ::2])[0], engine.infer(image(0))[0])

    def test_equal_images_give_equal_answers(self, engine: Engine):
        assert engine.infer(image(0))[1] == engine.infer(image(0))[1]

    def test_it_describes_itself(self, name: str, engine: Engine):
        assert engine.describe()["engine"] == name
        assert {"version", "device"} <= set(engine.describe())

    def test_devices_need_no_model(self, name: str):
        assert create_engine(name).devices()

    def test_nothing_is_written(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        create_engine(name).load({"model.onnx": tiny_onnx()}, tiny_manifest(engine=name))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
    def test_threads_are_checked(self, name: str, threads: object):
        with pytest.raises(UsageError, match="threads"):
            create_engine(name, threads=threads)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            pytest.param({"model.plan": b""}, "found model.plan", id="another engine's file"),
            pytest.param({"model.onnx": b"junk"}, "cannot load", id="junk"),
            pytest.param({"model.onnx": b""}, "cannot load|do not fit", id="empty"),
            pytest.param({"model.onnx": tiny_onnx(32, 32)}, "do not fit the manifest", id="another size"),
        ],
    )
    def test_what_cannot_be_loaded(self, name: str, files: dict[str, bytes], message: str):
        with pytest.raises(EngineError, match=message):
            create_engine(name).load(files, tiny_manifest(HEIGHT, WIDTH, engine=name))

    def test_an_input_of_another_name_is_refused(self, name: str):
        model = onnx.load_from_string(tiny_onnx())
        model.graph.input[0].name = model.graph.node[0].input[0] = "picture"
        with pytest.raises(EngineError, match=r"found .*picture"):
            create_engine(name).load({"model.onnx": model.SerializeToString()}, tiny_manifest(engine=name))


def test_unknown_engines_get_near_matches():
    with pytest.raises(UnknownNameError, match="Did you mean openvino"):
        create_engine("openvno")


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    entry = EngineEntry("nowhere", "Nothing", ("no_such_package",), "pip install 'edgead[openvino]'")
    monkeypatch.setitem(BUILT_IN, "openvino", entry)
    with pytest.raises(EngineError, match=r"pip install 'edgead\[openvino\]'"):
        create_engine("openvino")


def test_a_broken_package_says_how_to_fix_it(monkeypatch: pytest.MonkeyPatch):
    entry = EngineEntry("no_such_module", "Nothing", ("numpy",), "pip install x")
    monkeypatch.setitem(BUILT_IN, "broken", entry)
    with pytest.raises(EngineError, match=r"does not start: .*pip install x"):
        create_engine("broken")


def test_openvino_reads_its_own_format():
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(tiny_onnx(HEIGHT, WIDTH))
    xml, weights = serialized(model)
    manifest = dataclasses.replace(tiny_manifest(HEIGHT, WIDTH), model_files=["model.xml", "model.bin"])
    engine = create_engine("openvino", threads=1)
    engine.load({"model.xml": memoryview(xml), "model.bin": memoryview(weights)}, manifest)
    np.testing.assert_allclose(engine.infer(image(0))[0], tiny_answer(image(0))[0], atol=1e-5)


def test_openvino_computes_in_float32_for_int8_and_f32():
    pytest.importorskip("openvino")
    for precision in ("f32", "int8"):
        engine = create_engine("openvino", threads=1)
        engine.load({"model.onnx": tiny_onnx()}, dataclasses.replace(tiny_manifest(), precision=precision))
        assert "float32" in engine.describe()["inference_precision_hint"]


def serialized(model: object) -> tuple[bytes, bytes]:
    import tempfile

    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.serialize(model, path)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()
