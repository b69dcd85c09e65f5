"""The ring in C, without Python, under the sanitizers: races, reads beyond the end, undefined behaviour.

EDGEAD_NATIVE_SECONDS is how long each program runs; `make sanitize` asks for longer than the test suite does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "native"
LINE = Path(__file__).resolve().parents[3] / "edgead" / "runtime" / "line"
RING = [LINE / "src" / f"{name}.c" for name in ("ring", "producer", "consumer")]
COMPILER = shutil.which(os.environ.get("CC", "") or "cc") or shutil.which("gcc") or shutil.which("clang")
SECONDS = os.environ.get("EDGEAD_NATIVE_SECONDS", "0.4")
STRICT = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
SANITIZERS = {
    "address-undefined": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}
POLICIES = {"wait": "0", "drop_oldest": "1", "drop_newest": "2"}

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="there is no C compiler (apt-get install gcc)"),
    pytest.mark.skipif(sysconfig.get_platform().startswith("win"), reason="the tests use POSIX threads"),
]


@pytest.fixture(scope="module", params=SANITIZERS)
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A function that compiles a program with this sanitizer; skips where the compiler does not have it."""
    folder = tmp_path_factory.mktemp(request.param)
    flags = SANITIZERS[request.param]
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if compile_c([probe], folder / "probe", flags).returncode or run([folder / "probe"]).returncode:
        pytest.skip(f"{COMPILER} cannot build and run programs with {flags[0]}")

    def build_program(name: str) -> Path:
        program = folder / name
        if not program.exists():
            done = compile_c([HERE / f"{name}.c", *RING], program, [*STRICT, *flags])
            assert done.returncode == 0, done.stderr
        return program

    return build_program


def compile_c(sources: list[Path], program: Path, flags: list[str]) -> subprocess.CompletedProcess[str]:
    include = [f"-I{LINE / 'include'}", f"-I{LINE / 'src'}"]
    return run([COMPILER, *flags, *include, *sources, "-o", program, "-pthread"])


def run(command: list[object]) -> subprocess.CompletedProcess[str]:
    # handle_segv: the test of a producer that dies brings its own handler.
    environment = {
        **os.environ,
        "ASAN_OPTIONS": "handle_segv=0:handle_sigbus=0",
        "TSAN_OPTIONS": "halt_on_error=1",
    }
    return subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("seed", ["1", "2", "3"])  # overlap with and without, ended by either side
@pytest.mark.parametrize("policy", POLICIES)
def test_two_sides_at_full_speed_agree_on_every_line(build, policy: str, seed: str):
    done = run([build("stress"), POLICIES[policy], SECONDS, seed])
    assert done.returncode == 0, done.stderr


def test_every_stream_ends_with_its_last_line(build):
    done = run([build("endings"), SECONDS, "5"])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 10


def test_hostile_calls_change_nothing_but_the_count_of_refusals(build):
    done = run([build("fuzz"), SECONDS, "7"])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 10


def test_a_producer_that_dies_in_mid_line_leaves_whole_lines(build):
    done = run([build("mid_line")])
    assert done.returncode == 0, done.stderr
