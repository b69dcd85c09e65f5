"""What earlier versions wrote opens, and gives the answers that it gave."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgead
from edgead.bundle import SCHEMA_VERSION, read_bundle
from edgead.bundle.manifest import MIGRATIONS

KEPT = Path(__file__).parent / "kept"


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    with np.load(KEPT / "answers.npz") as kept:
        return dict(kept)


def test_a_bundle_of_the_first_schema_proves_its_answers(answers: dict[str, np.ndarray]):
    pytest.importorskip("onnxruntime")
    with edgead.open(KEPT / "realnet.edgead") as inspector:  # raises where a reference answer differs
        assert inspector.verification is not None
        scores = [inspector.inspect(image).score for image in answers["images"]]
    assert np.corrcoef(scores, answers["scores"])[0, 1] > 0.98  # INT8 against float


def test_its_manifest_is_brought_to_the_names_of_today():
    manifest = read_bundle(KEPT / "realnet.edgead").manifest
    assert manifest.schema_version == SCHEMA_VERSION
    assert manifest.config["channels"] == [8, 16, 32]
    assert manifest.config["residual_kind"] == "absolute"
    assert {"budgets", "residual", "residuals"}.isdisjoint(manifest.config)


def test_its_latency_is_predicted():
    pytest.importorskip("torch")
    from edgead.cost.bundle_prediction import predict_bundle

    manifest = read_bundle(KEPT / "realnet.edgead").manifest
    assert predict_bundle(manifest, target="jetson-orin", threads=1)["ms"] > 0


def test_every_earlier_schema_has_a_way_to_the_present_one():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_a_run_gives_the_scores_it_gave(answers: dict[str, np.ndarray]):
    torch = pytest.importorskip("torch")
    from edgead.training.run import read_run

    model = read_run(KEPT / "realnet").model()
    with torch.inference_mode():
        maps, scores = model(torch.from_numpy(answers["images"]))
    # Equal to the bit on the processor that trained it; others sum in another order.
    np.testing.assert_allclose(scores.numpy(), answers["scores"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(maps.numpy(), answers["maps"], rtol=1e-3, atol=1e-2)


def test_a_run_of_two_products_is_read():
    from edgead.training.run import read_run

    run = read_run(KEPT / "two_products")
    written = json.loads((KEPT / "two_products" / "run.json").read_text(encoding="utf-8"))
    assert run.threshold.score == written["threshold"]["score"]
    assert len(run.rule.products) == len(run.data_roots) == 2


def test_the_plan_of_a_run_is_its_allocation(tmp_path: Path):
    from edgead.report.allocation import allocation_facts, allocation_rows
    from edgead.training.run import read_run

    for name in ("run.json", "split.json"):
        shutil.copy(KEPT / "realnet" / name, tmp_path)
    shutil.copy(KEPT / "planned" / "plan.json", tmp_path)
    allocation = read_run(tmp_path).allocation
    assert allocation is not None
    assert allocation["config"]["channels"]
    assert allocation_rows(allocation)
    assert "3 ms" in allocation_facts(allocation)["limits"]


# (precision, its size, where it has fewer stages) -> ms, by the version that wrote the profile. Since then a
# bank has one operation more (its density), so the last digits differ.
PREDICTED = {
    ("f32", 256, False): 10.1129,
    ("f32", 128, False): 3.1976,
    ("f32", 256, True): 7.0148,
    ("int8", 256, False): 4.7734,
    ("int8", 128, False): 1.2895,
    ("int8", 256, True): 3.3141,
}


@pytest.mark.parametrize(("precision", "size", "is_small"), PREDICTED)
def test_a_measured_profile_predicts_what_it_predicted(precision: str, size: int, is_small: bool):
    from edgead.cost.compact_layers import network_layers
    from edgead.cost.table import read_table
    from edgead.models.realnet.config import RealNetConfig
    from edgead.profiles.target import read_target

    config = RealNetConfig(
        input_height=size, input_width=size, discriminator_width=64, bank_size=4096, detail_stages=()
    )
    if is_small:
        config = replace(
            config,
            stages=(2, 3),
            channels=(24, 48),
            reconstruction_widths=(16, 24),
            residual_count=48,
            bank_stages=(3,),
        )
    table = read_table(read_target(KEPT / "measured-profile.toml").table or {}, origin="kept")
    found = table.model(precision).predict(network_layers(config)).total_ms
    assert found == pytest.approx(PREDICTED[precision, size, is_small], rel=0.005)
