"""The doubles of tensorrt and pycuda in the place of the libraries, in a world that the test sets."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgead.runtime.engines.base import Engine
from tests.runtime.engines.tensorrt_engine.double import pycuda_double, tensorrt_double, world
from tests.runtime.engines.tensorrt_engine.double.world import World

IMPORTABLE = Path(__file__).parent / "double" / "importable"
VERSIONS = ("8.6.1", "10.3.0", "10.13.3", "11.4.0")
_REPLACED = ("tensorrt", "pycuda", "edgead.runtime.engines.tensorrt")


def _forget() -> None:
    for name in [
        name
        for name in sys.modules
        if name in _REPLACED or name.startswith(tuple(f"{root}." for root in _REPLACED))
    ]:
        del sys.modules[name]


@pytest.fixture
def enter(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., World]]:
    """A function that puts this process into a World of the fields given; its cache is an empty folder."""
    if not tensorrt_double.stub_of("10.3.0").is_file():
        pytest.skip("the signatures of TensorRT (../shared/typings) are not beside this checkout")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.syspath_prepend(str(IMPORTABLE))

    def make(**fields: object) -> World:
        _forget()
        monkeypatch.setattr(world, "current", World(**fields))  # type: ignore[arg-type]
        graphs = importlib.import_module("edgead.runtime.engines.tensorrt.cuda_graph")
        execution = importlib.import_module("edgead.runtime.engines.tensorrt.execution")
        monkeypatch.setattr(execution, "_TIMED_SECONDS", 0.0)
        driver = pycuda_double.GraphDriver()
        monkeypatch.setattr(graphs, "load_driver", lambda: driver)
        vars(world.current)["graphs"] = driver
        return world.current

    yield make
    _forget()


@pytest.fixture
def here(enter: Callable[..., World]) -> World:
    """The plain world: an Orin with TensorRT 10.3."""
    return enter()


def open_engine(root: Path = Path("/nowhere")) -> Engine:
    """A TensorRT engine in the world entered, on the file system below `root`."""
    module = importlib.import_module("edgead.runtime.engines.tensorrt.engine")
    return module.TensorRtEngine(root=root)  # type: ignore[no-any-return]
