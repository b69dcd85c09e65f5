"""What every engine must do, done by TensorRT's on the doubles of its oldest and newest version."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from edgead.runtime.engines import create_engine
from edgead.runtime.engines.base import Engine
from tests.runtime.engines.tensorrt_engine.double.world import World
from tests.runtime.test_engine_contract import HEIGHT, WIDTH
from tests.runtime.test_engine_contract import TestContract as Contract
from tests.runtime.tiny_bundle import tiny_manifest, tiny_onnx


@pytest.fixture(params=["8.6.1", "11.4.0", "discrete GPU"])
def name(request: pytest.FixtureRequest, enter: Callable[..., World]) -> str:
    enter(is_integrated=False) if request.param == "discrete GPU" else enter(tensorrt=request.param)
    return "tensorrt"


@pytest.fixture
def engine(name: str) -> Iterator[Engine]:
    engine = create_engine(name)
    engine.load({"model.onnx": tiny_onnx(HEIGHT, WIDTH)}, tiny_manifest(HEIGHT, WIDTH, engine=name))
    yield engine
    engine.close()


class TestTensorRt(Contract):
    """The contract of tests/runtime/test_engine_contract.py."""
