"""The doubles refuse what the libraries would: otherwise a test that passes on them says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtime.engines.tensorrt_engine.double.world import World


@pytest.fixture
def on_device(here: World):
    import pycuda.driver as cuda

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    yield cuda
    cuda.Context.pop()


def logger():
    import tensorrt as trt

    class Silent(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, msg):
            pass

    return Silent()


def test_what_a_version_lacks_is_not_there(enter):
    enter(tensorrt="11.4.0")
    import tensorrt as trt

    assert not hasattr(trt.BuilderFlag, "INT8")
    assert not hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
    enter(tensorrt="10.3.0")
    import tensorrt as older

    assert not hasattr(older.IExecutionContext, "execute_async_v2")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda trt, log: trt.Builder(), id="an argument missing"),
        pytest.param(lambda trt, log: trt.Builder(log, 1), id="one too many"),
        pytest.param(lambda trt, log: trt.Builder(logging=log), id="another name"),
        pytest.param(lambda trt, log: trt.Builder(log).create_network(flags="1"), id="another type"),
        pytest.param(lambda trt, log: trt.OnnxParser(log, log), id="another class"),
        pytest.param(lambda trt, log: trt.IBuilderConfig(), id="no constructor"),
        pytest.param(
            lambda trt, log: trt.Builder(log).create_builder_config().set_memory_pool_limit("WORKSPACE", 1),
            id="text for an enumeration",
        ),
    ],
)
def test_wrong_arguments(on_device, call):
    import tensorrt as trt

    with pytest.raises(TypeError):
        call(trt, logger())


def test_attributes_that_are_not_declared(on_device):
    import tensorrt as trt

    config = trt.Builder(logger()).create_builder_config()
    config.builder_optimization_level = 3
    with pytest.raises(AttributeError):
        config.max_workspace_size = 1


def test_what_the_double_does_not_do_says_so(on_device):
    import tensorrt as trt

    with pytest.raises(NotImplementedError, match="is_network_supported"):
        trt.Builder(logger()).is_network_supported(
            trt.Builder(logger()).create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)),
            trt.Builder(logger()).create_builder_config(),
        )


def test_work_waits_for_the_stream(on_device):
    cuda = on_device
    stream, host, device = cuda.Stream(), cuda.pagelocked_empty((4,), np.uint8), cuda.mem_alloc(4)
    host[:] = 7
    cuda.memcpy_htod_async(device, host, stream)
    cuda.memcpy_dtoh_async(host, device, stream)
    host[:] = 1
    stream.synchronize()
    assert host.tolist() == [1] * 4
    device.free()
    with pytest.raises(cuda.LogicError):
        device.free()


def test_a_context_is_needed(here: World):
    import pycuda.driver as cuda

    with pytest.raises(cuda.LogicError, match="invalid device context"):
        cuda.Stream()


def test_pages_that_are_not_mapped_have_no_address(on_device):
    host = on_device.pagelocked_empty((4,), np.uint8)
    with pytest.raises(on_device.LogicError):
        host.base.get_device_pointer()


def test_capture_allows_no_waiting(on_device, here: World):
    stream, driver = on_device.Stream(), vars(here)["graphs"]
    driver.cuStreamBeginCapture_v2(stream.handle, 1)
    with pytest.raises(on_device.LogicError, match="capturing"):
        stream.synchronize()
