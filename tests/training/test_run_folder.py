"""Damaged run folders: a clear error for each, naming the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgead.errors import DataError, EdgeadError, TrainingError
from edgead.learning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_tensors,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    save_tensors,
)
from edgead.training.run import RUN_FILE, WEIGHTS_FILE, read_run
from edgead.training.train import train
from tests.training.small_training import draw_good, settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    train(draw_good(root / "good"), root / "run", settings=settings(steps=1))
    return root / "run"


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / RUN_FILE).read_text())
    edit(content)
    (folder / RUN_FILE).write_text(json.dumps(content))


def rewrite(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    edit(tensors)
    save_tensors(folder / WEIGHTS_FILE, tensors, {})


def test_a_whole_folder_reads_and_computes(folder: Path):
    anomaly_map, score = read_run(folder).model()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert anomaly_map.isfinite().all()
    assert score.isfinite().all()


def test_no_folder(tmp_path: Path):
    with pytest.raises(DataError, match="no such folder"):
        read_run(tmp_path / "nothing")


def test_an_empty_folder(tmp_path: Path):
    with pytest.raises(DataError, match=r"run\.json cannot be read"):
        read_run(tmp_path)


DAMAGED_JSON: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("no threshold", lambda c: c.pop("threshold"), "threshold"),
    ("no rule", lambda c: c.pop("rule"), "rule"),
    ("a setting missing", lambda c: c["settings"].pop("seed"), "seed"),
    ("a setting unknown", lambda c: c["settings"].update(colour=1), "colour"),
    ("a field of the model missing", lambda c: c["settings"]["model"].pop("channels"), "channels"),
    ("a setting that cannot be", lambda c: c["settings"].update(batch=3), "batch"),
    ("another schema", lambda c: c.update(schema_version=99), "schema version 99"),
    ("a selection of no channels", lambda c: c["selection"]["stages"][0].update(indices=[]), "stage 2"),
    ("a scale missing", lambda c: c["rule"]["scales"].pop("logits"), "rule: scales: .*logits"),
    ("a threshold unknown", lambda c: c["threshold"].update(magic=1), "magic"),
]


@pytest.mark.parametrize(
    ("edit", "message"), [row[1:] for row in DAMAGED_JSON], ids=[row[0] for row in DAMAGED_JSON]
)
def test_a_damaged_run_json(folder: Path, edit: Callable[[dict[str, Any]], object], message: str):
    change(folder, edit)
    with pytest.raises(EdgeadError, match=message):
        read_run(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_run_json_that_is_none(folder: Path, text: str):
    (folder / RUN_FILE).write_text(text)
    with pytest.raises(DataError, match=r"run\.json"):
        read_run(folder)


DAMAGED_WEIGHTS: list[tuple[str, Callable[[dict[str, torch.Tensor]], object], str]] = [
    ("NaN", lambda t: t["discriminator.leave.bias"].fill_(float("nan")), "not finite"),
    ("infinity", lambda t: t["bank.offset"].fill_(float("inf")), "'bank.offset'"),
    ("a tensor missing", lambda t: t.pop("discriminator.leave.bias"), "does not fit"),
    ("a tensor too many", lambda t: t.update(more=torch.zeros(1)), "does not fit"),
    ("another shape", lambda t: t.update({"bank.offset": torch.zeros(3)}), "does not fit"),
]


@pytest.mark.parametrize(
    ("edit", "message"), [row[1:] for row in DAMAGED_WEIGHTS], ids=[row[0] for row in DAMAGED_WEIGHTS]
)
def test_damaged_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object], message: str):
    rewrite(folder, edit)
    with pytest.raises(TrainingError, match=message):
        read_run(folder).model()


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_truncated_weights(folder: Path, kept: int):
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(TrainingError, match=r"weights\.safetensors cannot be read"):
        read_run(folder).model()


def test_missing_weights(folder: Path):
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(TrainingError, match=r"weights\.safetensors"):
        read_run(folder).model()


def test_a_checkpoint_round_trip(tmp_path: Path):
    saved = Checkpoint(7, {"a": torch.arange(6.0).reshape(2, 3).T, "n": torch.tensor(3)}, {"identity": "x"})
    save_checkpoint(tmp_path / "c.safetensors", saved)
    found = load_checkpoint(tmp_path / "c.safetensors")
    assert (found.step, found.facts) == (7, {"identity": "x"})
    assert torch.equal(found.tensors["a"], saved.tensors["a"])
    assert found.tensors["n"].shape == ()


def test_an_optimizer_round_trip_takes_the_same_next_step():
    def stepped(layer: torch.nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        layer(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    first, second = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    one, two = torch.optim.AdamW(first.parameters(), 0.1), torch.optim.AdamW(second.parameters(), 0.1)
    for _ in range(3):
        stepped(first, one)
    second.load_state_dict(first.state_dict())
    taken = {name: tensor.clone() for name, tensor in optimizer_tensors(one).items()}
    restore_optimizer(two, taken)
    stepped(first, one)
    stepped(second, two)
    assert torch.equal(first.weight, second.weight)


def test_weights_without_facts_are_refused(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(TrainingError, match="facts"):
        load_tensors(tmp_path / "plain.safetensors")
