"""TensorRT on Jetsons and NVIDIA GPUs: the engine is built on the device, proven, measured and kept.

Not yet run on the device: no Jetson was at hand. The calls are checked against the signatures of TensorRT
8.6, 10.3, 10.13 and 11.4, and the order of events against a double of both libraries that lives in the tests.

    engine.py          the engine class: cached or built, described
    selection.py       which precision is built, proven by the reference answers and kept as the fastest
    builder.py         ONNX -> plan; what differs is in weakly_typed.py (to 10.x) and strongly_typed.py (11.x)
    workspace.py       how much memory a build may take, and less after one that was killed
    cache.py           plans on disk, for one device, power mode and version each
    execution.py       buffers, stream, events; cuda_graph.py replays them in one call
    device.py          the GPU through pycuda
    logger.py          TensorRT's messages, kept for the error that follows
"""
