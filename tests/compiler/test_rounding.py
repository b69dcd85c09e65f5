"""Rounding of weights together, on graphs of one convolution, run by ONNX Runtime by the letter."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgead.compiler import rounding
from edgead.compiler.answers import answers_of_onnx
from edgead.compiler.export import INPUT
from edgead.compiler.gate import map_correlation
from edgead.compiler.pipeline import ImageSets
from edgead.compiler.quantize import int8_onnx_from_onnx
from edgead.compiler.recipe import QuantizationSpec
from edgead.compiler.rounding import round_weights

SIZE = 24
CHANNELS = 8  # that a fixed 1 x 1 convolution makes of the pixels, so that there is something to group


def _images(count: int, *, seed: int) -> list[np.ndarray]:
    """Bright, smooth pictures: neighbouring pixels are alike, as on a part."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        rough = generator.normal(0, 25, (4, 4, 3)).repeat(SIZE // 4, 0).repeat(SIZE // 4, 1)
        noise = generator.normal(0, 4, (SIZE, SIZE, 3))
        images.append(np.clip(170 + rough + noise, 0, 255).astype(np.uint8))
    return images


def _weights(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


def _steps(weights: np.ndarray) -> np.ndarray:
    return (np.abs(weights).reshape(len(weights), -1).max(1) / 127).astype(np.float32)


def _graph(nodes: list, constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    before = [
        helper.make_node("Transpose", [INPUT], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "spread"], ["read"], name="/spread"),
    ]
    spread = np.abs(np.random.default_rng(0).normal(0, 1, (CHANNELS, 3, 1, 1))).astype(np.float32)
    graph = helper.make_graph(
        before + nodes,
        "one",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in {"spread": spread, **constants}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _pair(weights: np.ndarray, **attributes: object) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """One convolution in float, and with weights rounded to the nearest step of each output channel."""
    step = _steps(weights)
    codes = np.round(weights / step.reshape(-1, 1, 1, 1)).astype(np.int8)
    conv = helper.make_node("Conv", ["read", "weights"], ["out"], name="/conv", **attributes)
    dequantize = helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["decoded"], axis=0)
    coded = helper.make_node("Conv", ["read", "decoded"], ["out"], name="/conv", **attributes)
    constants = {"codes": codes, "step": step, "zero": np.zeros(len(step), np.int8)}
    return _graph([conv], {"weights": weights}), _graph([dequantize, coded], constants)


def _codes(model: onnx.ModelProto) -> np.ndarray:
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "codes"))


def _outputs(model: onnx.ModelProto, images: list[np.ndarray]) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {INPUT: image[None]})[0] for image in images])


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((12, CHANNELS, 1, 1), {}),
        ((12, CHANNELS, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((12, CHANNELS, 3, 3), {"pads": [0, 0, 1, 1], "strides": [2, 2]}),
        ((CHANNELS, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": CHANNELS}),
        ((12, CHANNELS // 2, 3, 5), {"pads": [1, 2, 1, 2], "strides": [1, 2], "group": 2}),
    ],
)
def test_outputs_on_other_images_change_less_than_with_the_nearest_steps(
    shape: tuple[int, ...], attributes: dict
) -> None:
    original, model = _pair(_weights(shape), **attributes)
    others = _images(4, seed=9)
    wanted, nearest = _outputs(original, others), _outputs(model, others)
    assert round_weights(model, original, _images(6, seed=2)) > 0
    together = _outputs(model, others)
    assert np.square(together - wanted).mean() < 0.5 * np.square(nearest - wanted).mean()


def test_of_two_weights_that_read_the_same_one_goes_up_and_one_down() -> None:
    """Both lie 0.4 of a step above a whole number; together 0.8, which is nearer to one step than to none."""
    weights = np.zeros((1, CHANNELS, 1, 1), np.float32)
    weights[0, :3, 0, 0] = 127, 10.4, 10.4
    original, model = _pair(weights)
    spread = next(t for t in model.graph.initializer if t.name == "spread")
    same = numpy_helper.to_array(spread).copy()
    same[2] = same[1]
    for graph in (original, model):
        place = next(t for t in graph.graph.initializer if t.name == "spread")
        place.CopyFrom(numpy_helper.from_array(same, "spread"))
    round_weights(model, original, _images(6, seed=2))
    assert sorted(_codes(model)[0, 1:3, 0, 0]) == [10, 11]


def test_steps_stay_and_codes_stay_in_range() -> None:
    original, model = _pair(_weights((12, CHANNELS, 3, 3)))
    before = [t.SerializeToString() for t in model.graph.initializer if t.name != "codes"]
    round_weights(model, original, _images(6, seed=2))
    assert [t.SerializeToString() for t in model.graph.initializer if t.name != "codes"] == before
    assert _codes(model).dtype == np.int8
    assert np.abs(_codes(model).astype(int)).max() <= 127


def test_what_is_never_read_is_rounded_to_the_nearest_step() -> None:
    original, model = _pair(_weights((12, CHANNELS, 3, 3)))
    nearest = _codes(model)
    assert round_weights(model, original, [np.zeros((SIZE, SIZE, 3), np.uint8)] * 2) == 0
    np.testing.assert_array_equal(_codes(model), nearest)


def test_weights_that_the_quantizer_moved_are_left() -> None:
    weights = _weights((12, CHANNELS, 3, 3))
    original, _ = _pair(weights)
    _, model = _pair(weights * np.float32(1.1))
    before = _codes(model)
    assert round_weights(model, original, _images(3, seed=2)) == 0
    np.testing.assert_array_equal(_codes(model), before)


def test_filters_that_are_too_large_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    original, model = _pair(_weights((12, CHANNELS, 3, 3)))
    monkeypatch.setattr(rounding, "_LARGEST", CHANNELS * 9 - 1)
    assert round_weights(model, original, _images(3, seed=2)) == 0


@pytest.mark.parametrize("attributes", [{"auto_pad": "SAME_UPPER"}, {"dilations": [2, 2], "pads": [2] * 4}])
def test_convolutions_that_read_elsewhere_are_left(attributes: dict) -> None:
    original, model = _pair(_weights((12, CHANNELS, 3, 3)), **attributes)
    assert round_weights(model, original, _images(3, seed=2)) == 0


def test_more_layers_than_memory_allows_take_several_passes(
    original: bytes, images: ImageSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in network in passes of one layer: each has its turn, and reads what those before it give."""
    spec = QuantizationSpec(keep_first_layers=1, weight_rounding="nearest")
    pictures = [item.image for item in images.calibration]
    float_model = onnx.load_model_from_string(original)
    at_once = onnx.load_model_from_string(int8_onnx_from_onnx(original, pictures, spec=spec))
    one_by_one = onnx.ModelProto()
    one_by_one.CopyFrom(at_once)
    layers = list(rounding._layers(at_once, float_model))
    assert len(layers) > 5
    round_weights(at_once, float_model, pictures)
    monkeypatch.setattr(rounding, "_MOST_MOMENTS", 1)
    assert list(rounding._in_passes(layers)) == [[layer] for layer in layers]
    assert round_weights(one_by_one, float_model, pictures) > len(layers)
    probes = [item.image for item in images.gate]
    wanted = answers_of_onnx(original, probes)
    found = [
        map_correlation(wanted, answers_of_onnx(model.SerializeToString(), probes))
        for model in (at_once, one_by_one)
    ]
    assert found[1] == pytest.approx(found[0], abs=0.01)
