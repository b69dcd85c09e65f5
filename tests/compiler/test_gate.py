from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from standin import SIZE, EdgeDetector

from edgead.compiler.answers import answers_of_onnx
from edgead.compiler.calibration import PreparedImage
from edgead.compiler.export import onnx_from_model, torch_answers
from edgead.compiler.gate import auroc_drop_error, drops, excess, map_correlation, measure
from edgead.compiler.pipeline import ImageSets, Provenance, compile_model
from edgead.compiler.quantize import int8_onnx_from_onnx
from edgead.compiler.recipe import GateSpec, QuantizationSpec, Recipe
from edgead.errors import AccuracyGateError, CompileError
from edgead.map_and_score import MapAndScore
from edgead.profiles.target import read_target

LIMIT = 0.02


def _compile(model: EdgeDetector, images: ImageSets, provenance: Provenance, out: Path, **gate: float):
    # With 12 images of a kind one pair of scores that changes order is 0.007 of AUROC already.
    every = QuantizationSpec(keep_first_layers=1)  # the small networks have hardly more layers than are kept
    recipe = Recipe(quantization=every, gate=dataclasses.replace(GateSpec(), **gate)).with_max_drop(LIMIT)
    target = read_target("intel-cpu")
    return compile_model(model, images, provenance=provenance, target=target, recipe=recipe, out=out)


def test_a_model_that_takes_int8_well_passes_untouched(
    images: ImageSets, provenance: Provenance, tmp_path: Path
) -> None:
    report = _compile(EdgeDetector(), images, provenance, tmp_path / "ok.edgead")
    assert (report.float_figures["image_auroc"] or 0) > 0.95
    assert report.reverted == ()
    assert max(report.drops.values()) <= LIMIT


def test_the_layer_that_int8_breaks_goes_back_to_float(
    images: ImageSets, provenance: Provenance, tmp_path: Path
) -> None:
    report = _compile(EdgeDetector(brittle=True), images, provenance, tmp_path / "back.edgead")
    assert report.reverted[0].name == "/unpack/Conv"
    assert max(report.drops.values()) <= LIMIT
    assert report.reverted[0].error > 0.5


def test_a_model_that_stays_broken_is_refused_with_the_layers_that_cost(
    images: ImageSets, provenance: Provenance, tmp_path: Path
) -> None:
    with pytest.raises(AccuracyGateError, match=r"image_auroc loses 0\.\d+ .*/unpack/Conv \(\d") as caught:
        _compile(EdgeDetector(brittle=True), images, provenance, tmp_path / "no.edgead", tries=0)
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_gate_set_without_anomalies_is_refused(
    images: ImageSets, provenance: Provenance, tmp_path: Path
) -> None:
    good = [item for item in images.gate if not item.is_anomalous]
    with pytest.raises(CompileError, match="12 good and 0 anomalous"):
        _compile(EdgeDetector(), dataclasses.replace(images, gate=good), provenance, tmp_path / "x.edgead")


def test_figures_of_a_perfect_map_are_perfect(images: ImageSets) -> None:
    answers = [
        MapAndScore(
            (item.mask if item.mask is not None else np.zeros((SIZE, SIZE))).astype(np.float32),
            float(item.is_anomalous),
        )
        for item in images.gate
    ]
    figures = measure(answers, images.gate)
    assert figures["image_auroc"] == figures["au_pro"] == figures["pixel_auroc"] == 1.0


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"image_auroc": 0.9, "au_pro": 0.8}, {"image_auroc": 0.9, "au_pro": 0.8}, -0.003),
        ({"image_auroc": 0.9, "au_pro": 0.8}, {"image_auroc": 0.9, "au_pro": 0.79}, 0.007),
        ({"image_auroc": 0.9, "au_pro": None}, {"image_auroc": 0.95, "au_pro": None}, -0.053),
        ({"image_auroc": 0.9, "au_pro": 0.8}, {"image_auroc": 0.9, "au_pro": None}, np.inf),
    ],
)
def test_the_worst_drop_counts(before: dict, after: dict, expected: float) -> None:
    assert excess(drops(before, after), GateSpec()) == pytest.approx(expected)


@pytest.mark.parametrize("noise", [0.1, 0.6])
def test_the_error_of_a_drop_is_that_of_drawing_the_images_again(noise: float) -> None:
    generator = np.random.default_rng(0)

    def drawn(good: int, anomalous: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = np.arange(good + anomalous) >= good
        before = generator.normal(labels * 1.0, 1.0)
        return before, before + generator.normal(0, noise, len(labels)), labels

    found = [roc_auc_score(y, a) - roc_auc_score(y, b) for a, b, y in (drawn(60, 90) for _ in range(600))]
    stated = np.mean([auroc_drop_error(*drawn(60, 90)) for _ in range(100)])
    assert stated == pytest.approx(np.std(found), rel=0.15)


def test_equal_scores_have_a_certain_drop_and_a_single_image_none() -> None:
    scores, labels = [0.1, 0.4, 0.3, 0.9], [False, False, True, True]
    assert auroc_drop_error(scores, scores, labels) == 0
    assert auroc_drop_error(scores[1:], scores[1:], labels[1:]) == np.inf


@pytest.mark.parametrize(
    ("drop", "error", "passes"),
    [(0.0075, 0.004, True), (0.0075, 0.001, False), (0.04, 1.0, True), (0.06, np.inf, False)],
)
def test_a_drop_that_chance_can_have_made_is_no_loss(drop: float, error: float, passes: bool) -> None:
    assert (excess({"image_auroc": drop}, GateSpec(), {"image_auroc": error}) <= 0) == passes


def test_maps_correlate_with_themselves_alone(original: bytes, images: ImageSets) -> None:
    answers = answers_of_onnx(original, [item.image for item in images.gate])
    flat = [(np.zeros_like(a), s) for a, s in answers]
    assert map_correlation(answers, answers) == 1.0
    assert map_correlation(answers, flat) == 0.0
    assert map_correlation(answers, [(2 * a + 1, s) for a, s in answers]) == pytest.approx(1.0)


def test_the_huge_channel_changes_nothing_in_float(images: ImageSets) -> None:
    probes = [item.image for item in images.gate[:2]]
    plain, brittle = torch_answers(EdgeDetector(), probes), torch_answers(EdgeDetector(brittle=True), probes)
    assert map_correlation(plain, brittle) == pytest.approx(1.0)
    exported = answers_of_onnx(onnx_from_model(EdgeDetector(), height=SIZE, width=SIZE), probes)
    assert map_correlation(plain, exported) == pytest.approx(1.0)


def test_an_empty_mask_is_a_good_image() -> None:
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    assert not PreparedImage("a", image, np.zeros((SIZE, SIZE), bool)).is_anomalous


def test_ranges_leave_room_for_what_anomalies_alone_reach(images: ImageSets) -> None:
    original = onnx_from_model(EdgeDetector(), height=SIZE, width=SIZE)
    calibrating = [item.image for item in images.calibration]
    probes = [item.image for item in images.gate]
    spread = {}
    for ranges in ("maximum", "mean"):
        content = int8_onnx_from_onnx(original, calibrating, spec=QuantizationSpec(ranges=ranges))
        spread[ranges] = max(score for _, score in answers_of_onnx(content, probes))
    expected = max(score for _, score in answers_of_onnx(original, probes))
    assert spread["maximum"] == pytest.approx(expected, rel=0.02)
    assert spread["mean"] < 0.8 * expected
