"""The code against the signatures of pycuda and four versions of TensorRT: what one lacks is not called."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.engines.tensorrt_engine.conftest import VERSIONS

ROOT = Path(__file__).resolve().parents[4]
TYPINGS = ROOT.parent / "shared" / "typings"
PACKAGE = ROOT / "edgead" / "runtime" / "engines" / "tensorrt"
PYCUDA = Path(__file__).parent / "pycuda_stub"
CUDA_HEADER = Path("/usr/local/cuda/include/cuda.h")


def modules_for(version: str) -> list[Path]:
    """Those that run on a version: all, but for the rules of typing of the others."""
    other = "weakly_typed.py" if version.startswith("11.") else "strongly_typed.py"
    return sorted(path for path in PACKAGE.glob("*.py") if path.name != other)


def check(version: str, files: list[Path], cache: Path) -> subprocess.CompletedProcess[str]:
    if not (TYPINGS / f"tensorrt-{version}").is_dir():
        pytest.skip(f"the signatures of TensorRT {version} (../shared/typings) are not beside this checkout")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--cache-dir",
        str(cache),
        "--config-file",
        str(TYPINGS / "mypy.ini"),
    ]
    environment = {
        **os.environ,
        "MYPYPATH": os.pathsep.join([str(TYPINGS / f"tensorrt-{version}"), str(PYCUDA)]),
    }
    return subprocess.run(
        [*command, *map(str, files)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_package_fits(version: str, cache: Path):
    done = check(version, modules_for(version), cache)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("version", "call", "complaint"),
    [
        ("10.3.0", "context.execute_async_v2([], 0)", "execute_async_v2"),
        ("10.3.0", "context.execute_async_v3(stream=0)", "Unexpected keyword argument"),
        ("11.4.0", "trt.BuilderFlag.INT8", "INT8"),
        ("8.6.1", "trt.BuilderFlag.BF16", "BF16"),
        ("10.3.0", "cuda.pagelocked_empty(1, 1, flags=0)", "flags"),
        ("10.3.0", "cuda.Stream().handel", "handel"),
    ],
)
def test_a_call_that_a_version_lacks_is_found(
    version: str, call: str, complaint: str, cache: Path, tmp_path: Path
):
    path = tmp_path / "lacking.py"
    path.write_text(
        "import pycuda.driver as cuda\nimport tensorrt as trt\n"
        f"def work(context: trt.IExecutionContext) -> None:\n    {call}\n"
    )
    done = check(version, [path], cache)
    assert done.returncode == 1
    assert complaint in done.stdout


def test_the_functions_of_cuda_graphs_are_those_of_the_header():
    """Number of arguments, and pointers where the header has handles or pointers."""
    if not CUDA_HEADER.is_file():
        pytest.skip(f"{CUDA_HEADER} is not here")
    import ctypes

    from edgead.runtime.engines.tensorrt.cuda_graph import SIGNATURES

    header = CUDA_HEADER.read_text(encoding="utf-8", errors="replace")
    plain = {
        "cuStreamBeginCapture_v2": "cuStreamBeginCapture",
        "cuGraphInstantiateWithFlags": "cuGraphInstantiate",
    }
    for name, arguments in SIGNATURES.items():
        found = re.search(rf"^CUresult CUDAAPI {plain.get(name, name)}\(([^)]*)\);", header, re.MULTILINE)
        assert found, name
        stated = [argument.strip() for argument in found.group(1).split(",")]
        assert len(stated) == len(arguments), name
        for text, kind in zip(stated, arguments, strict=True):
            expected = {
                "unsigned": ctypes.c_ulonglong,
                "CUstreamCaptureMode": ctypes.c_int,
            }.get(text.split()[0], ctypes.POINTER(ctypes.c_void_p) if "*" in text else ctypes.c_void_p)
            assert kind is expected, (name, text)
        symbol = plain.get(name, name)
        assert symbol == name or re.search(rf"#define\s+{symbol}\s+\S*{name}", header), name
