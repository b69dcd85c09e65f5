"""The library's face: train, compile, evaluate and open, as a user's script calls them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import edgead
from edgead.errors import DataError, UsageError
from tests.runtime.tiny_bundle import write_tiny_bundle
from tests.training.small_training import CONFIG, draw_good

pytest.importorskip("openvino")


@pytest.mark.parametrize("name", ["train", "compile", "evaluate", "open"])
def test_few_arguments_are_positional_and_the_rest_has_names(name: str):
    function = getattr(edgead, name)
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    assert 1 <= kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 3
    assert set(kinds) <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert function.__doc__


def test_all_is_what_there_is():
    assert set(edgead.__all__) == set(dir(edgead))
    assert all(getattr(edgead, name) is not None for name in edgead.__all__)


def test_from_good_parts_to_a_measured_bundle(tmp_path: Path):
    data = draw_good(tmp_path / "part" / "train" / "good", count=8)
    settings = edgead.TrainSettings(model=CONFIG, steps=2, batch=4, selection_batches=2)
    run = edgead.train(data, tmp_path / "run", settings=settings)
    assert run.path == tmp_path / "run"
    report = edgead.compile(tmp_path / "run", tmp_path / "part.edgead", target="cpu", precision="f32")
    assert report.path.is_file()
    draw_good(tmp_path / "part" / "test" / "good", count=2, seed=1)
    draw_good(tmp_path / "part" / "test" / "dirt", count=2, seed=2)
    of_run = edgead.evaluate(tmp_path / "run", tmp_path / "part")
    with edgead.open(tmp_path / "part.edgead") as inspector:
        of_bundle = edgead.evaluate(inspector, tmp_path / "part", keep_maps=True)
    assert len(of_run.records) == len(of_bundle.records) == 4
    assert of_run.records[0].score == pytest.approx(of_bundle.records[0].score, rel=1e-2, abs=1e-2)


def test_what_cannot_be_evaluated_is_said(tmp_path: Path):
    bundle = write_tiny_bundle(tmp_path / "tiny.edgead")
    good = draw_good(tmp_path / "good", count=2)
    with pytest.raises(DataError, match="expected labelled images"):
        edgead.evaluate(bundle, good)
    draw_good(tmp_path / "part" / "train" / "good", count=1)
    draw_good(tmp_path / "part" / "test" / "good", count=1)
    (tmp_path / "run").mkdir()
    with pytest.raises(UsageError, match="for bundles"):
        edgead.evaluate(tmp_path / "run", tmp_path / "part", engine="openvino")


def test_the_names_are_typed(tmp_path: Path):
    """A type checker sees signatures through the lazy loading."""
    script = tmp_path / "script.py"
    script.write_text(
        "import edgead\n"
        "reveal_type(edgead.train)\n"
        'edgead.compile("run", "out.edgead")\n'  # no target
        'score: str = edgead.open("a").inspect\n'
    )
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", str(script)]
    root = Path(edgead.__file__).parents[1]
    said = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=300).stdout
    assert "minutes: float | None" in said or "minutes: Union[float, None]" in said
    assert 'Missing named argument "target"' in said
    assert said.count("error:") == 2
