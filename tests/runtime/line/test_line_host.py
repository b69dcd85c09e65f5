"""The example host, compiled and run: a camera's thread in C, with the loop in Python and in C."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import edgead
from edgead.errors import LineError
from edgead.runtime.inspector import Inspector
from edgead.runtime.line.buffer import LineBuffer
from edgead.web.stream import WebStream, inspect_web
from tests.runtime.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "line_host"
WIDTH, TILE = 48, 32

pytestmark = pytest.mark.skipif(
    not (shutil.which("cc") or shutil.which("gcc")), reason="there is no C compiler (apt-get install gcc)"
)


def build(folder: Path, *flags: str) -> Path:
    """Compile the example as its README says, in a folder of its own; where the module lies."""
    sources = shutil.copytree(EXAMPLE, folder / "line_host", ignore=shutil.ignore_patterns("*.so", "build"))
    if flags:
        setup = sources / "setup.py"
        setup.write_text(setup.read_text().replace('["-std=c11"]', repr(["-std=c11", *flags])))
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CFLAGS": "-Wall -Wextra -Werror"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return sources


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def host(sources: Path) -> ModuleType:
    (library,) = sources.glob("line_host.*.so")
    spec = importlib.util.spec_from_file_location("line_host", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspector]:
    path = write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edgead", TILE, TILE)
    with edgead.open(path, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def web() -> np.ndarray:
    """Dark material with two bright defects, the first across the border of two blocks."""
    material = np.full((320, WIDTH), 20, np.uint8)
    material[60:72, 8:20] = 255
    material[200:212, 28:40] = 255
    return material


def line_buffer(**changes: object) -> LineBuffer:
    return LineBuffer(WIDTH, **{"block_lines": 64, "overlap": 16, "blocks": 16, **changes})


def defects_in_one_piece(inspector: Inspector, web: np.ndarray) -> list[tuple]:
    whole = LineBuffer(WIDTH, block_lines=len(web), blocks=4)
    whole.push(web)
    whole.close()
    return [
        (strip.part, defect.line, defect.column, defect.score)
        for strip in inspect_web(inspector, whole)
        for defect in strip.defects
    ]


def test_python_owns_the_loop(host: ModuleType, inspector: Inspector, web: np.ndarray):
    lines = line_buffer()
    camera = host.Camera(lines.capsule, web, 20_000, lines_total=len(web))
    camera.start()
    with lines:
        found = [
            (strip.part, defect.line, defect.column, defect.score)
            for strip in inspect_web(inspector, lines)
            for defect in strip.defects
        ]
    camera.join()
    assert found == defects_in_one_piece(inspector, web)
    assert len(found) == 2
    end = lines.statistics
    assert (end.pushed, end.consumed, end.missing) == (len(web), len(web), 0)


def test_c_owns_the_loop_and_is_called_back(host: ModuleType, inspector: Inspector, web: np.ndarray):
    lines = line_buffer()
    camera = host.Camera(lines.capsule, web, 20_000, lines_total=len(web))
    gate = host.Gate(lines, WebStream(inspector))
    gate.start()
    camera.start()
    assert gate.join() == defects_in_one_piece(inspector, web)
    camera.join()
    assert lines.statistics.consumed == len(web)


def test_parts_are_ended_by_the_camera(host: ModuleType, web: np.ndarray):
    lines = line_buffer()
    camera = host.Camera(lines.capsule, web, 50_000, lines_total=250, part_lines=100)
    camera.start()
    parts = [(block.part, block.first_number, block.ends_part, len(block)) for block in lines]
    assert [part for part, _, ends, _ in parts if ends] == [0, 1, 2]
    assert lines.statistics.consumed + lines.statistics.lost == 250


def test_metadata_of_each_line(host: ModuleType, web: np.ndarray):
    lines = line_buffer(overlap=0)
    camera = host.Camera(lines.capsule, web, 10_000, lines_total=64)
    camera.start()
    block = lines.take(timeout_s=10)
    assert block.encoders.tolist() == [4 * number for number in range(64)]
    assert set(np.diff(block.timestamps_ns)) <= {99_999, 100_000, 100_001}
    np.testing.assert_array_equal(block.pixels, web[:64])


def test_an_inspection_that_raises_in_the_c_loop_stops_the_camera(host: ModuleType, web: np.ndarray):
    class Broken:
        def push(self, block: object) -> list:
            raise ArithmeticError("the model is gone")

    lines = line_buffer(wait_s=60)
    camera, gate = host.Camera(lines.capsule, web, 50_000), host.Gate(lines, Broken())
    camera.start()
    gate.start()
    with pytest.raises(ArithmeticError, match="the model is gone"):
        gate.join()
    camera.join()  # returns, for the camera has ended
    end = lines.statistics
    assert end.pushed == end.consumed + end.waiting + end.dropped


def test_an_inspection_that_raises_in_python_stops_the_camera(host: ModuleType, web: np.ndarray):
    lines = line_buffer(wait_s=60)
    camera = host.Camera(lines.capsule, web, 50_000)
    camera.start()

    def inspect() -> None:
        with lines:
            for _ in lines:
                raise ArithmeticError

    with pytest.raises(ArithmeticError):
        inspect()
    camera.join()


def test_a_camera_that_is_switched_off_leaves_its_last_lines(host: ModuleType, web: np.ndarray):
    lines = line_buffer()
    camera = host.Camera(lines.capsule, web, 20_000)
    camera.start()
    blocks = iter(lines)
    next(blocks)
    camera.switch_off()
    camera.join()
    assert [block.ends_part for block in blocks][-1:] == [True]
    assert lines.statistics.waiting == 0


def test_a_camera_and_a_gate_that_are_forgotten_end_their_threads(host: ModuleType, web: np.ndarray):
    lines = line_buffer(wait_s=60)
    camera, gate = host.Camera(lines.capsule, web, 50_000), host.Gate(lines, object())
    camera.start()
    gate.start()
    del camera, gate  # joins both threads, or hangs here
    gc.collect()
    assert lines.take(timeout_s=0) is None
    with pytest.raises(LineError, match="closed the buffer"):  # by the camera's thread, which has ended
        lines.push(web[:1], number=2**40)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (lambda lines, web: (object(), web, 1.0), ValueError),
        (lambda lines, web: (lines.capsule, web[:0], 1.0), ValueError),
        (lambda lines, web: (lines.capsule, web[:1, :-1].copy(), 1.0), ValueError),
        (lambda lines, web: (lines.capsule, web, 0.0), ValueError),
        (lambda lines, web: (lines.capsule, web, float("nan")), ValueError),
        (lambda lines, web: (lines.capsule, 3, 1.0), TypeError),
    ],
)
def test_what_a_host_gets_wrong(host: ModuleType, web: np.ndarray, arguments, error: type):
    with pytest.raises(error):
        host.Camera(*arguments(line_buffer(), web))


def test_a_failure_of_the_camera_reaches_python(host: ModuleType, web: np.ndarray):
    lines = line_buffer()
    lines.push(web[:1], number=10**6)  # the camera's own numbers now go back: it is refused, and says so
    camera = host.Camera(lines.capsule, web, 50_000)
    camera.start()
    with pytest.raises(LineError, match="goes back"):
        list(lines)


def test_a_host_of_another_version_is_told(tmp_path: Path):
    other = build(tmp_path, "-DEDGEAD_LINE_VERSION=99")
    done = subprocess.run(
        [sys.executable, "-c", "import line_host"],
        cwd=other,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ImportError: edgead_line.h is of version 99" in done.stderr
    assert "Compile this extension against the installed edgead.get_include()" in done.stderr


@pytest.mark.parametrize("loop", ["python", "c"])
def test_the_program_of_the_example(sources: Path, shared_data: Path, tmp_path: Path, loop: str):
    images = shared_data / "pcb" / "train" / "good"
    if not images.is_dir():
        pytest.skip(f"there are no pictures at {images}")
    bundle = write_tiny_bundle(tmp_path / "tiny.edgead", 64, 64)
    few = tmp_path / "few"
    few.mkdir()
    for picture in sorted(images.iterdir())[:2]:
        shutil.copy(picture, few)
    command = [sys.executable, "run.py", str(bundle), "--images", str(few), "--loop", loop]
    done = subprocess.run(
        [*command, "--lines", "1280", "--line-rate", "4000"],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)["lines"]
    assert lines["pushed"] == lines["consumed"] + lines["overwritten"] + lines["dropped"]
    assert lines["pushed"] + lines["lost"] == 1280
