"""run.json of schema version 1 reads as the current one: names, scales of products, the order of the mix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgead.errors import DataError
from edgead.models.config import ModelConfig
from edgead.models.scoring.rule import ScoreRule
from edgead.synthesis.subtle import SubtleSource
from edgead.training.migrations import MIGRATIONS, SCHEMA_VERSION, current_run
from edgead.training.settings import TrainSettings
from tests.training.small_training import CONFIG, INVAD_CONFIG, settings

NEXT = SCHEMA_VERSION + 1
SCALE = {"mean": 0.5, "deviation": 2.0}
_NAMES = ("logits", "distances", "pooled_logits", "pooled_residuals", "pooled_distances")
WEIGHTS = {"top_share": 0.02, "map_weights": [1.0, 1.0, 1.0], "score_weights": [1.0, 0.5, 1.0]}
RULE: dict[str, Any] = {**WEIGHTS, **dict.fromkeys(_NAMES, SCALE), "residuals": [SCALE, SCALE]}


def old_run(**changed: Any) -> dict[str, Any]:
    content = settings().to_json()
    for name in ("foreground", "balanced", "anomaly_set", "group_by"):
        del content[name]
    model = content["model"]
    renamed = {"channels": "budgets", "residual_kind": "residual", "residual_count": "residuals"}
    content["model"] = {renamed.get(name, name): value for name, value in model.items()}
    for name in ("detail_stages", "detail_size", "detail_stride", "image_weight"):
        del content["model"][name]
    content["synthesis"] = {"textures": 0.2, "near": 0.5, "cutpaste": 0.3}
    usual = {"rule": RULE, "data_root": "/parts", "threshold": {"good_images": 7}}
    return {"schema_version": 1, "settings": content, **usual, **changed}


def test_every_earlier_version_has_a_migration():
    assert list(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_settings_of_version_1():
    found = TrainSettings.from_json(current_run(old_run(), origin="run.json")["settings"])
    mix = {"textures": 0.2, SubtleSource.name: 0.5, "cutpaste": 0.3}
    assert found == settings(
        synthesis=mix,
        group_by="image",
        model=replace(CONFIG, detail_stages=(), detail_size=2048, detail_stride=1, image_weight=0.0),
    )
    assert list(found.synthesis) == list(mix)  # what is drawn depends on the order


@pytest.mark.parametrize("config", [CONFIG, INVAD_CONFIG], ids=["realnet", "invad"])
def test_networks_of_version_3_compared_every_place_and_had_no_loss_of_images(config: ModelConfig):
    before = {"image_weight": 0.0, "detail_stride": 1}
    model = {name: value for name, value in config.to_json().items() if name not in before}
    old = {"schema_version": 3, "settings": {**settings().to_json(), "model": model}}
    found = current_run(old, origin="run.json")["settings"]
    assert found["augment"] == "none"
    assert type(config).from_json(found["model"]).to_json() == {
        **config.to_json(),
        **{name: value for name, value in before.items() if name in config.to_json()},
    }


def test_each_good_image_of_version_1_was_a_group():
    assert current_run(old_run(), origin="run.json")["threshold"]["good_groups"] == 7


def test_a_rule_of_one_product_of_version_1():
    found = ScoreRule.from_json(current_run(old_run(), origin="run.json")["rule"])
    assert found.score_weights == (1.0, 0.5, 1.0)
    assert [(scale.mean, scale.deviation) for scale in found.scales.all] == [(0.5, 2.0)] * 7
    assert found.scales_of(None) == found.scales


def test_a_rule_of_two_products_of_version_1():
    other = {**RULE, "distances": {"mean": 3, "deviation": 4}, "products": [], "teller": None}
    classifier = {"weights": [[1.0, 0.0], [0.0, 1.0]], "biases": [0.0, 1.0]}
    old = old_run(rule={**RULE, "products": [other, other], "teller": classifier})
    found = ScoreRule.from_json(current_run(old, origin="run.json")["rule"])
    assert [[scale.mean for scale in scales.distances] for scales in found.products] == [[3.0], [3.0]]
    assert found.product_classifier is not None
    assert found.product_classifier.biases == (0.0, 1.0)


@pytest.mark.parametrize("root", ["/parts", ["/parts"]], ids=["text", "list"])
def test_folders_of_version_1(root: object):
    assert current_run(old_run(data_root=root), origin="run.json")["data_roots"] == ["/parts"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({}, "schema version None", id="none"),
        pytest.param(
            {"schema_version": SCHEMA_VERSION + 1}, f"schema version {SCHEMA_VERSION + 1}", id="of the future"
        ),
        pytest.param({"schema_version": 1}, r"^run\.json is damaged .*settings", id="without settings"),
        pytest.param(old_run(rule=[]), r"^run\.json is damaged", id="a rule that is none"),
    ],
)
def test_what_cannot_be_migrated_is_refused(content: dict[str, Any], message: str):
    with pytest.raises(DataError, match=message):
        current_run(content, origin="run.json")
