"""Bad input as a user meets it, on the command line: each ends in one clear message that names the file."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from edgead.bundle.archive import decode_archive, encode_archive
from edgead.cli import main
from edgead.errors import EdgeadError
from edgead.images import write_image
from edgead.learning.checkpoint import save_tensors
from edgead.training.run import WEIGHTS_FILE
from edgead.training.train import train
from tests.runtime.tiny_bundle import write_tiny_bundle
from tests.training.small_training import draw_good, settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_refused(result: Result, *words: object, status: int = 1) -> None:
    assert isinstance(result.exception, SystemExit), result.exception  # no other error came through
    assert result.exit_code == status, result.output
    for word in words:
        assert str(word) in result.stderr


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.edgead")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A labelled data set: one dark good part, and two with a bright spot and its mask."""
    root = tmp_path / "parts"
    for folder in ("train/good", "test/good", "test/spot", "ground_truth/spot"):
        (root / folder).mkdir(parents=True)
    image, mask = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
    for folder in ("train/good", "test/good"):
        write_image(root / folder / "0.png", image)
    image[8:16, 8:16], mask[8:16, 8:16] = 255, 255
    for number in range(2):
        write_image(root / "test" / "spot" / f"{number}.png", image)
        write_image(root / "ground_truth" / "spot" / f"{number}.png", mask)
    return root


def odd_images(folder: Path) -> dict[str, tuple[int, int]]:
    """Images that are rare and right, by name with their height and width."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {
        "alpha.png": np.full((40, 30, 4), 255, np.uint8),
        "deep.png": np.full((40, 30), 65535, np.uint16),
        "deep colour.tif": np.full((40, 30, 3), 65535, np.uint16),
        "one.png": np.full((1, 1), 255, np.uint8),
        "wide.png": np.full((20, 20_000), 255, np.uint8),
        "tall.png": np.full((20_000, 20, 3), 255, np.uint8),
    }
    for name, pixels in stored.items():
        assert cv2.imwrite(str(folder / name), pixels)
    return {name: (pixels.shape[0], pixels.shape[1]) for name, pixels in stored.items()}


def test_rare_images_are_inspected_and_drawn(bundle: Path, tmp_path: Path):
    sizes = odd_images(tmp_path / "odd")
    result = invoke("run", bundle, tmp_path / "odd", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert {Path(record["path"]).name for record in records} == set(sizes)
    for record in records:
        name = Path(record["path"]).name
        assert record["score"] == pytest.approx(1.0, abs=1e-5), name
        drawn = cv2.imread(str(tmp_path / "out" / "overlays" / f"{name}.png"))
        assert drawn.shape[:2] == sizes[name]
        assert (record["regions"][0]["height"], record["regions"][0]["width"]) == sizes[name]


def test_truncated_images_are_named_and_the_rest_inspected(bundle: Path, parts: Path):
    broken = parts / "test" / "spot" / "1.png"
    broken.write_bytes(broken.read_bytes()[:-20])
    result = invoke("run", bundle, parts / "test", "--json-lines", "-")
    assert_refused(result, "1 of 3 images could not be inspected")
    errors = [record["error"] for record in map(json.loads, result.stdout.splitlines()) if "error" in record]
    assert len(errors) == 1
    assert str(broken) in errors[0]
    assert "truncated" in errors[0]


def _remove_mask(parts: Path) -> str:
    (parts / "ground_truth" / "spot" / "1.png").unlink()
    return "1 of 2 images of kind 'spot' have no mask"


def _shrink_mask(parts: Path) -> str:
    write_image(parts / "ground_truth" / "spot" / "1.png", np.zeros((16, 32), np.uint8))
    return "should be as large as its image, 32 x 32"


def _truncate_image(parts: Path) -> str:
    path = parts / "test" / "spot" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    return "spot/1.png cannot be used"


def _truncate_mask(parts: Path) -> str:
    path = parts / "ground_truth" / "spot" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    return "ground_truth/spot/1.png cannot be used"


def _empty(parts: Path) -> str:
    shutil.rmtree(parts)
    parts.mkdir()
    return "holds no images"


@pytest.mark.parametrize("spoil", [_remove_mask, _shrink_mask, _truncate_image, _truncate_mask, _empty])
def test_data_that_cannot_be_evaluated(bundle: Path, parts: Path, spoil: Callable[[Path], str]):
    message = spoil(parts)
    answer = parts.parent / "answer.json"
    result = invoke("evaluate", bundle, parts, "--json", answer, "--report", parts.parent / "report.html")
    assert_refused(result, message, parts)
    assert sorted(path.name for path in parts.parent.iterdir()) == ["parts", "tiny.edgead"]


def _repacked(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        files = {name: bytes(data) for name, data in decode_archive(path.read_bytes(), origin="t").items()}
        manifest = json.loads(files["manifest.json"])
        edit(manifest)
        files["manifest.json"] = json.dumps(manifest).encode()
        path.write_bytes(b"".join(encode_archive(files, origin="t")))

    return spoil


def _flipped(share: float) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(share * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    return spoil


def _renamed_inside(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"model.onnx", b"../../a.sh"))


BUNDLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "0 bytes"),
    "half": (lambda path: os.truncate(path, path.stat().st_size // 2), ""),
    "flipped in its first header": (_flipped(0.0), ""),
    "flipped in its contents": (_flipped(0.5), "damaged"),
    "flipped in its end": (_flipped(1.0), ""),
    "a path inside": (_renamed_inside, "unsafe file name"),
    "a wrong hash": (
        _repacked(lambda m: m["hashes"]["files"].update({"model.onnx": "0" * 64})),
        "model.onnx",
    ),
    "a field missing": (_repacked(lambda m: m.pop("threshold")), "threshold"),
    "a field unknown": (_repacked(lambda m: m.update(colour=1)), "colour"),
    "a field of another type": (_repacked(lambda m: m.update(name=1)), "name"),
}


@pytest.mark.parametrize("command", ["run", "bench", "verify", "inspect", "evaluate"])
@pytest.mark.parametrize("case", BUNDLES)
def test_a_spoilt_bundle(bundle: Path, parts: Path, command: str, case: str):
    spoil, message = BUNDLES[case]
    spoil(bundle)
    data = [parts] if command in ("run", "evaluate") else []
    extra = ["--out", bundle.parent / "out"] if command == "run" else ["--json", bundle.parent / "a.json"]
    assert_refused(invoke(command, bundle, *data, *extra), bundle.name, message)
    assert {path.name for path in bundle.parent.iterdir()} <= {"parts", "tiny.edgead"}


@pytest.mark.parametrize("command", ["run", "bench", "verify", "evaluate"])
def test_a_bundle_for_another_target(tmp_path: Path, parts: Path, command: str):
    path = write_tiny_bundle(tmp_path / "jetson.edgead", engine="tensorrt", target="jetson-orin")
    data = [parts] if command in ("run", "evaluate") else []
    assert_refused(invoke(command, path, *data), "jetson.edgead", "made for target 'jetson-orin'")
    assert invoke("inspect", path).exit_code == 0


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("inspect", "--json", "answer.json"),
        ("evaluate", "--json", "answer.json"),
        ("evaluate", "--report", "report.html"),
        ("run", "--json-lines", "lines.jsonl"),
    ],
)
def test_a_full_disk(
    bundle: Path, parts: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str, name: str
):
    path = bundle.parent / name
    path.write_text("older")
    data = [parts] if command != "inspect" else []
    monkeypatch.setattr(Path, "replace", _no_room)
    assert_refused(invoke(command, bundle, *data, option, path), name, "No space left")
    assert path.read_text() == "older"
    left = {item.name for item in bundle.parent.iterdir()} - {"parts", "tiny.edgead", name}
    assert left == ({"lines.jsonl.part"} if command == "run" else set())  # what was done is kept


def test_a_disk_that_is_full_when_training_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    good = draw_good(tmp_path / "good", count=4)
    monkeypatch.setattr(Path, "replace", _no_room)
    with pytest.raises(
        EdgeadError, match=r"run/.* cannot be written \(No space left on device\)\. Free space"
    ):
        train(good, tmp_path / "run", settings=settings(steps=1))
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on rare images among the usual ones."""
    root = tmp_path_factory.mktemp("odd")
    odd_images(draw_good(root / "good", count=4))
    train(root / "good", root / "run", settings=settings(steps=1))
    return root / "run"


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_no_numbers(odd_run: Path, parts: Path, tmp_path: Path, value: str):
    """A run trained on rare images is a run; the same run with one weight spoilt is none."""
    assert invoke("evaluate", odd_run, parts).exit_code == 0
    spoilt = Path(shutil.copytree(odd_run, tmp_path / "spoilt"))
    tensors = load_file(spoilt / WEIGHTS_FILE)
    tensors["discriminator.leave.bias"].fill_(torch.tensor(float(value)))
    save_tensors(spoilt / WEIGHTS_FILE, tensors, {})
    for command in (
        ("evaluate", spoilt, parts),
        ("compile", spoilt, "--target", "cpu", "--precision", "f32", "--out", tmp_path / "a.edgead"),
    ):
        assert_refused(invoke(*command), spoilt / WEIGHTS_FILE, "not finite")
    assert not (tmp_path / "a.edgead").exists()
