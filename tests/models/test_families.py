"""The table of model families: everything that is asked of a family, of each that is in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from edgead.errors import DataError, UnknownNameError, UsageError
from edgead.models import families
from edgead.models.backbones import build_backbone
from edgead.models.families import GROUP, build_network, model_families, model_family
from edgead.models.inspection import InspectionModel
from edgead.models.network import Optimisation
from edgead.models.scoring.rule import ScoreRule, fit_rule
from edgead.training.settings import TrainSettings

PRESETS = [(name, preset) for name, family in model_families().items() for preset in family.presets]


@pytest.mark.parametrize(("family", "preset"), PRESETS)
def test_a_configuration_survives_json(family: str, preset: str):
    config = model_family(family).configure(preset)
    assert type(config).from_json(config.to_json()) == config
    settings = TrainSettings.of_preset(family, preset)
    assert settings.model == config
    assert TrainSettings.from_json(settings.to_json(), family=family) == settings


@pytest.mark.parametrize(("family", "preset"), PRESETS)
def test_a_network_gives_maps_of_the_stated_size(family: str, preset: str):
    config = model_family(family).configure(preset)
    with torch.device("meta"):
        backbone = build_backbone(config.backbone, stages=config.stages, weights=None)
        network = build_network(config, backbone).eval()
        components = network.score_components(backbone(torch.zeros(1, 3, *config.input_size)))
    assert components.size == config.map_size
    assert not any("backbone" in name for name in network.state_dict())


@pytest.mark.parametrize(("family", "preset"), PRESETS)
def test_a_field_of_another_version_is_named(family: str, preset: str):
    content = model_family(family).configure(preset).to_json()
    with pytest.raises(DataError, match="colour"):
        model_family(family).config.from_json({**content, "colour": 1})


def test_an_unknown_family_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="realnet"):
        model_family("realnett")


@pytest.mark.parametrize(("family", "preset"), PRESETS)
def test_every_preset_says_in_words_what_it_is(family: str, preset: str):
    facts = model_family(family).configure(preset).facts
    assert model_family(family).config.title in facts["model"]


def test_rates_of_the_two_schedules():
    cosine, step = Optimisation(), Optimisation(schedule="step")
    assert cosine.rate(0, 1000) == pytest.approx(0.02, abs=0.001)  # the first of 50 steps of warm-up
    assert cosine.rate(50, 1000) > 0.95
    assert cosine.rate(999, 1000) == pytest.approx(0.02, abs=0.001)
    assert [step.rate(number, 10) for number in (0, 7, 8, 9)] == [1.0, 1.0, 0.1, 0.1]


def test_the_network_bears_its_family_s_name_in_the_model():
    config = model_family("realnet").configure("compact")
    with torch.device("meta"):
        backbone = build_backbone(config.backbone, weights=None)
        model = InspectionModel(build_network(config, backbone), ScoreRule())
    assert model.network is model.get_submodule("realnet")


def test_a_model_without_a_discriminator_is_scored_by_its_residuals():
    from edgead.models.scoring.components import ScoreComponents
    from edgead.models.scoring.rule import fuse

    generator = torch.Generator().manual_seed(0)
    good = ScoreComponents(None, [torch.rand(20, 8, 8, generator=generator)])
    rule = fit_rule(ScoreRule(), good)
    odd = ScoreComponents(None, [good.residuals[0][:1].clone()])
    odd.residuals[0][0, 2, 3] += 5
    anomaly_map, score = fuse(odd, rule)
    assert anomaly_map.shape == (1, 8, 8)
    assert int(anomaly_map.argmax()) == 2 * 8 + 3
    assert float(score) > float(fuse(good, rule)[1].max())


def test_presets_bring_their_training():
    assert TrainSettings.of_preset("invad", "lite").batch == 32
    assert TrainSettings.of_preset("realnet", "multi-class").synthesis == {"textures": 1.0}
    assert TrainSettings.of_preset() == TrainSettings()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package on the path that adds a family: RealNet's networks under another name."""
    info = tmp_path / "my_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nmynet = my_models:FAMILY\n")
    (tmp_path / "my_models.py").write_text(
        "from dataclasses import dataclass, replace\n"
        "from edgead.models.families import ModelFamily, model_family\n"
        "realnet = model_family('realnet')\n"
        "@dataclass(frozen=True)\n"
        "class MyConfig(realnet.config):\n"
        "    family, title = 'mynet', 'MyNet'\n"
        "FAMILY = ModelFamily(MyConfig, realnet.network, {'compact': MyConfig()})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_models", raising=False)
    return info


def test_a_plugin_adds_a_family(plugin: Path):
    assert list(model_families()) == ["realnet", "invad", "mynet"]
    settings = TrainSettings.of_preset("mynet")
    assert TrainSettings.from_json(settings.to_json(), family="mynet") == settings
    with torch.device("meta"):
        backbone = build_backbone(settings.model.backbone, weights=None)
        assert build_network(settings.model, backbone).config.title == "MyNet"
    with pytest.raises(UnknownNameError, match="Did you mean mynet"):
        model_family("mynets")


def test_a_plugin_under_another_name_than_its_family_is_refused(plugin: Path):
    points = plugin / "entry_points.txt"
    points.write_text(points.read_text().replace("mynet =", "yournet ="))
    with pytest.raises(UsageError, match="'mynet' has the entry point 'yournet'"):
        model_family("yournet")


def test_a_plugin_does_not_replace_a_family(plugin: Path):
    points = plugin / "entry_points.txt"
    points.write_text(points.read_text().replace("mynet =", "invad ="))
    with pytest.raises(UsageError, match="a name that edgead itself has"):
        model_families()
    assert model_family("invad").config.title == "InvAD"


@pytest.mark.parametrize("family", ["realnet", "invad"])
def test_the_folders_of_families_have_one_shape(family: str):
    folder = Path(families.__file__).parent / family
    found = {path.name for path in folder.iterdir() if not path.name.startswith("__")}
    assert found == {"config.py", "presets.py", "network.py", "parts"}
