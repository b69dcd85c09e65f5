"""Budgets on the command line: what is refused, measuring a device, and the prediction beside a bench."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgead.cli import main
from edgead.cost.bundle_prediction import predict_bundle
from edgead.cost.measure import TimedModel, measure_models
from edgead.cost.probes import make_probes
from edgead.cost.profile_file import profile_with_table
from edgead.models.realnet.config import RealNetConfig
from edgead.profiles import read_data_text
from edgead.profiles.target import read_target
from edgead.synthesis.diffusion.sets import SetFacts, SetWriter
from edgead.training.batches import make_synthesizer
from edgead.training.settings import TrainSettings
from tests.allocation.known_device import BASE, DEVICE, measured
from tests.training.small_training import draw_good


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with the table of a known device."""
    path = tmp_path_factory.mktemp("profile") / "mine.toml"
    path.write_text(profile_with_table(read_data_text("targets", "cpu"), DEVICE, measured()))
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


REFUSED = [
    (("--latency-ms", 5), "give --target"),
    (("--allocation-only",), "go with --target"),
    (("--target", "cpu"), "give --latency-ms"),
    (("--target", "cpu", "--latency-ms", -1), "above 0"),
    (("--target", "cpu", "--latency-ms", "nan"), "above 0"),
    (("--target", "cpv", "--latency-ms", 5), "Did you mean cpu"),
    (("--target", "cpu", "--latency-ms", 5, "--channels", "8,8,8,8"), "Leave one of the two out"),
    (("--target", "cpu", "--latency-ms", 5, "--input-size", 128, "--input-sizes", 128), "not both"),
    (("--target", "cpu", "--latency-ms", 5), "edgead targets measure"),
    (("--target", "PROFILE", "--latency-ms", 5, "--preset", "paper"), "compact parts alone"),
    (("--target", "PROFILE", "--latency-ms", 5, "--precision", "int9"), "Did you mean int8"),
    (("--target", "PROFILE", "--latency-ms", 5, "--input-sizes", "100"), "multiples of 64"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[" ".join(map(str, o)) for o, _ in REFUSED])
def test_a_budget_that_cannot_be_meant_is_refused(
    options: tuple[object, ...], message: str, profile: Path, tmp_path: Path
):
    (tmp_path / "good").mkdir()
    given = [profile if option == "PROFILE" else option for option in options]
    code, output = run("train", tmp_path / "good", "--out", tmp_path / "run", *given)
    assert code == 2, output
    assert message in " ".join(output.split())
    assert not (tmp_path / "run").exists()


def test_a_profile_with_a_table_is_read_as_a_target(profile: Path):
    target = read_target(profile)
    assert target.table is not None
    assert target.table["cpu"] == DEVICE.cpu


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected a file name ending in .toml"),
        (("--out", "mine.txt"), "expected a file name ending in .toml"),
        (("--models", "a", "--make-models", "b"), "not both"),
        (("--out", "mine.toml", "--precision", "int9"), "Did you mean int8"),
        (("--out", "mine.toml", "--models", "missing"), "--make-models missing"),
        (("--out", "mine.toml", "--count", 3), "3 is not in the range"),
    ],
)
def test_measuring_refuses_what_cannot_be_meant(options: tuple[object, ...], message: str):
    code, output = run("targets", "measure", *options)
    assert code in (1, 2)
    assert message in " ".join(output.split())


def test_models_are_measured_by_the_engine_that_runs_them():
    # One stage alone has one view: nothing is joined, and the score keeps its name all the same.
    small = RealNetConfig().with_choices(stages=(1,), channels=(8,), input_size=(128, 128))
    probes = list(make_probes([small], ["f32"]))
    models = [TimedModel(one.config.to_json(), one.precision, lambda one=one: one.model) for one in probes]
    measure_models(models, engine="openvino", threads=1, rounds=1)
    (found,) = measure_models(models, engine="onnxruntime", threads=1, clock="processor", rounds=2)
    assert found.ms > 0
    assert found.file_mb == pytest.approx(len(probes[0].model) / 1e6)
    assert found.memory_mb is None or found.memory_mb >= 0
    assert json.loads(json.dumps(dict(found.config))) == small.to_json()


def test_a_bundle_is_predicted_or_says_why_not(profile: Path):
    from edgead.cost.measure import MeasuredNetwork, _manifest

    one: MeasuredNetwork = measured()[0]
    manifest = _manifest(TimedModel(one.config, "int8", bytes), "onnxruntime")
    prediction = predict_bundle(manifest, target=str(profile), threads=1)
    assert "missing" not in prediction, prediction
    assert prediction["ms"] == pytest.approx(one.ms, rel=0.1)
    assert any("engine" in note for note in prediction["notes"])
    assert "missing" in predict_bundle(manifest, target=None, threads=1)  # its target is no profile
    assert BASE.to_json() == dict(one.config)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_good(tmp_path_factory.mktemp("data") / "good", count=6)


def allocated(good: Path, profile: Path, *options: object) -> tuple[int, str]:
    limits = ("--target", profile, "--latency-ms", 50, "--input-size", 128, "--allocation-only")
    return run("train", good, "--out", good.parent / "run", *limits, *options)


def test_an_allocation_sees_the_anomalies_of_a_set(good: Path, profile: Path, tmp_path: Path):
    """With --synthesis SET the channels are judged by the anomalies that the training will see."""
    writer = SetWriter(
        tmp_path / "set", SetFacts("ab" * 32, "tile", 64, 64, (0.1, 0.2), "ancestral", 20, 2, 0, "ours")
    )
    pictures = [np.random.default_rng(number).integers(0, 256, (64, 64), np.uint8) for number in range(4)]
    encoded = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]
    writer.add(range(4), encoded, seeds=range(4), strengths=[0.1] * 4)
    code, output = allocated(good, profile, "--synthesis", tmp_path / "set")
    assert code == 0, output
    assert "Allocation for" in output


def test_an_allocation_is_made_on_the_anomalies_of_its_preset(
    good: Path, profile: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[TrainSettings] = []

    def recorded(settings: TrainSettings, *rest: object) -> object:
        seen.append(settings)
        return make_synthesizer(settings, *rest)

    monkeypatch.setattr("edgead.allocation.allocate.make_synthesizer", recorded)
    code, output = allocated(good, profile, "--preset", "multi-class")
    assert code == 0, output
    assert dict(seen[0].synthesis) == {"textures": 1.0}
    assert not seen[0].foreground
