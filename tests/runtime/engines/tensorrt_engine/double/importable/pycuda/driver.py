"""pycuda.driver, made from its stub."""

from tests.runtime.engines.tensorrt_engine.double import pycuda_double

globals().update(pycuda_double.build())
