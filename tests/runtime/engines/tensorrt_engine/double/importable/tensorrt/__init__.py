"""`import tensorrt` in a process of a test: the double of the version that its world states."""

from tests.runtime.engines.tensorrt_engine.double import tensorrt_double, world

globals().update(tensorrt_double.build(world.current.tensorrt))
