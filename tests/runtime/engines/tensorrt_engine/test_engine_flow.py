"""What happens when a bundle is opened: built, found, built again, built smaller, refused."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgead
from edgead.errors import EngineError, UsageError, VerificationError
from tests.runtime.engines.tensorrt_engine.bundles import write_jetson_bundle
from tests.runtime.engines.tensorrt_engine.conftest import IMPORTABLE
from tests.runtime.engines.tensorrt_engine.double.world import World
from tests.runtime.tiny_bundle import tiny_answer

Enter = Callable[..., World]
INT8, HALF, STRICT = "f16+int8+tf32", "f16+tf32", "int8"
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_jetson_bundle(tmp_path / "part.edgead")


@pytest.fixture
def with_half(tmp_path: Path) -> Path:
    return write_jetson_bundle(tmp_path / "half.edgead", half=True)


def cache() -> Path:
    return Path(os.environ["EDGEAD_CACHE"])


def engine_files() -> list[Path]:
    return sorted(cache().glob("*.engine"))


def described(path: Path) -> dict[str, str]:
    with edgead.open(path) as inspector:
        return inspector.engine.describe()


class TestCache:
    def test_the_first_opening_builds_and_the_second_finds(self, here: World, bundle: Path):
        assert described(bundle)["built"].startswith("now")
        assert described(bundle)["built"] == "before, from the cache"
        assert len(here.builds) == 1
        assert [path.name for path in engine_files()] == [Path(described(bundle)["engine_file"]).name]

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"tensorrt": "10.13.3"}, id="TensorRT"),
            pytest.param({"multiprocessors": 4}, id="power mode with fewer multiprocessors"),
            pytest.param({"compute_capability": (8, 9)}, id="GPU"),
        ],
    )
    def test_another_device_or_version_builds_its_own(
        self, enter: Enter, bundle: Path, change: dict[str, object]
    ):
        enter()
        described(bundle)
        there = enter(**change)
        assert described(bundle)["built"].startswith("now")
        assert len(there.builds) == 1
        assert len(engine_files()) == 2

    def test_the_power_mode_is_part_of_the_key(
        self,
        here: World,
        bundle: Path,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ):
        from edgead.bundle import read_bundle
        from tests.device.jetson_root import write_jetson
        from tests.runtime.engines.tensorrt_engine.conftest import open_engine

        content = read_bundle(bundle)
        caplog.set_level(logging.INFO, "edgead.tensorrt")
        monkeypatch.setattr(logging.getLogger("edgead"), "propagate", True)  # a command may have ended that
        for mode in (0, 2, 0):
            engine = open_engine(write_jetson(tmp_path / "root", mode=mode))
            engine.load(content.files, content.manifest)
            description = engine.describe()
            engine.close()
        assert len(here.builds) == 2
        assert description["power_mode"] == "MAXN"
        assert "INT8 TOPS" in description["note"]
        assert "15W" in description["note"]
        assert {line for line in caplog.messages if "power mode MAXN" in line} == {description["note"]}
        assert description["cuda_of_driver"] == "12.6"
        assert description["jetpack"] == "6.2 (L4T 36.4.3)"

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda content: b"", id="empty"),
            pytest.param(lambda content: content[:-1], id="truncated"),
            pytest.param(lambda content: content[:-1] + bytes([content[-1] ^ 1]), id="a bit flipped"),
            pytest.param(lambda content: b"junk" * 999, id="junk"),
            pytest.param(lambda content: content.replace(b'"recipe"', b'"rezept"'), id="another header"),
            pytest.param(lambda content: content.replace(b"10.3.0.30", b"10.3.0.31"), id="another version's"),
            pytest.param(lambda content: content.splitlines()[0] + b"\n" + b"[" * 10**5, id="hostile header"),
        ],
    )
    def test_a_damaged_entry_is_built_again(
        self, here: World, bundle: Path, damage: Callable[[bytes], bytes]
    ):
        described(bundle)
        (path,) = engine_files()
        path.write_bytes(damage(path.read_bytes()))
        assert described(bundle)["built"].startswith("now")
        assert described(bundle)["built"].startswith("before")
        assert len(here.builds) == 2

    def test_a_plan_that_tensorrt_refuses_is_built_again(self, enter: Enter, bundle: Path):
        """A driver's update changes the device under a key that stays: the double's plans know the device."""
        enter(multiprocessors=8)
        described(bundle)
        there = enter(multiprocessors=4)
        (path,) = engine_files()
        described(bundle)
        (other,) = set(engine_files()) - {path}
        kept = path.read_bytes()
        header, plan = kept.split(b"\n--plan--\n")
        stated = other.read_bytes().split(b"\n--plan--\n")[0]
        import hashlib
        import json

        lines = stated.split(b"\n")
        foreign = header.split(b"\n")[2] + b"\n--plan--\n" + plan
        fields = json.loads(lines[1]) | {"bytes": len(foreign), "sha256": hashlib.sha256(foreign).hexdigest()}
        other.write_bytes(lines[0] + b"\n" + json.dumps(fields).encode() + b"\n" + foreign)
        assert described(bundle)["built"].startswith("now")
        assert len(there.builds) == 2

    def test_the_timing_cache_serves_the_next_model(self, here: World, bundle: Path, with_half: Path):
        described(bundle)
        assert len(list(cache().glob("timings-*.cache"))) == 1
        described(with_half)
        assert len(list(cache().glob("timings-*.cache"))) == 1

    def test_a_damaged_timing_cache_is_left_out(self, here: World, bundle: Path, with_half: Path):
        described(bundle)
        (path,) = cache().glob("timings-*.cache")
        path.write_bytes(path.read_bytes()[:-3])
        assert described(with_half)["built"].startswith("now")

    def test_a_folder_that_all_may_write_is_refused(self, here: World, bundle: Path):
        cache().chmod(0o777)
        with pytest.raises(EngineError, match="chmod go-rwx"):
            edgead.open(bundle)

    def test_a_folder_that_cannot_be(self, here: World, bundle: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("EDGEAD_CACHE", str(bundle))
        with pytest.raises(EngineError, match="EDGEAD_CACHE"):
            edgead.open(bundle)
        assert here.builds == []


class TestSelection:
    def test_the_faster_of_both_is_kept(self, enter: Enter, with_half: Path):
        enter(gpu_ms={INT8: 2.0, HALF: 1.5})
        assert described(with_half)["precision"] == "f16"
        assert described(with_half)["tried"] == "int8 with f16 2.000 ms; f16 1.500 ms"

    def test_int8_is_kept_where_it_is_faster(self, enter: Enter, with_half: Path):
        enter(gpu_ms={INT8: 1.0, HALF: 1.5})
        assert described(with_half)["precision"] == "int8 with f16"

    def test_speed_does_not_excuse_wrong_answers(self, enter: Enter, with_half: Path):
        enter(gpu_ms={INT8: 2.0, HALF: 0.5}, wrong=[HALF])
        description = described(with_half)
        assert description["precision"] == "int8 with f16"
        assert "f16 0.500 ms, but its answers are not those of the reference" in description["tried"]

    def test_stricter_arithmetic_where_half_precision_fails(self, enter: Enter, bundle: Path):
        here = enter(wrong=[INT8])
        assert described(bundle)["precision"] == "int8 with f32, without tf32"
        assert [build["precisions"] for build in here.builds] == [INT8, STRICT]

    def test_stricter_arithmetic_is_not_built_in_vain(self, here: World, bundle: Path):
        described(bundle)
        assert [build["precisions"] for build in here.builds] == [INT8]

    def test_nothing_right_is_refused_with_the_figures(self, enter: Enter, bundle: Path):
        enter(wrong=[INT8, STRICT])
        with pytest.raises(VerificationError, match=r"maps differ by 0\.1"):
            edgead.open(bundle)

    def test_a_precision_that_cannot_be_built_is_passed_over(self, enter: Enter, with_half: Path):
        enter(unbuildable=[INT8])
        assert described(with_half)["precision"] == "f16"
        assert "int8 with f16 failed" in described(with_half)["tried"]

    def test_a_model_that_cannot_be_built_says_why(self, enter: Enter, bundle: Path):
        enter(unbuildable=[INT8, STRICT])
        with pytest.raises(EngineError, match="Could not find any implementation"):
            edgead.open(bundle)
        assert engine_files() == []

    def test_tensorrt_11_takes_precisions_from_the_model(self, enter: Enter, with_half: Path):
        here = enter(tensorrt="11.4.0", gpu_ms={"int8+tf32": 2.0, "tf32": 1.0})
        assert described(with_half)["precision"] == "f16"
        assert [build["precisions"] for build in here.builds] == ["int8+tf32", "tf32"]


class TestMemory:
    def test_less_workspace_after_running_out(self, enter: Enter, bundle: Path):
        here = enter(out_of_memory_above_mb=600)
        assert described(bundle)["workspace_mb"] == "512"
        assert [build["workspace_mb"] for build in here.builds] == [2048, 1024, 512]
        assert not list(cache().glob("*.building"))

    def test_a_comparison_that_lacks_memory_is_left_out(self, enter: Enter, with_half: Path):
        here = enter(starved=[HALF])
        assert described(with_half)["precision"] == "int8 with f16"
        assert [build["precisions"] for build in here.builds] == [INT8, HALF]

    def test_the_smallest_was_too_large(self, enter: Enter, bundle: Path):
        enter(out_of_memory_above_mb=10)
        with pytest.raises(EngineError, match="add swap"):
            edgead.open(bundle)
        assert not list(cache().glob("*.building"))

    def test_the_environment_sets_the_limit(self, here: World, bundle: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("EDGEAD_TENSORRT_WORKSPACE_MB", "300")
        assert described(bundle)["workspace_mb"] == "300"

    @pytest.mark.parametrize("value", ["2 GB", "-1", "0", "63", "nan", "9" * 30])
    def test_a_limit_that_is_none(
        self, here: World, bundle: Path, monkeypatch: pytest.MonkeyPatch, value: str
    ):
        monkeypatch.setenv("EDGEAD_TENSORRT_WORKSPACE_MB", value)
        with pytest.raises(UsageError, match="expected a whole number"):
            edgead.open(bundle)

    @pytest.mark.parametrize(
        ("memory_mb", "workspace_mb"), [(15_000, 2048), (7_600, 1900), (3_900, 975), (200, 64)]
    )
    def test_a_small_device_gets_a_quarter(
        self, enter: Enter, bundle: Path, memory_mb: int, workspace_mb: int
    ):
        enter(memory_mb=memory_mb)
        assert described(bundle)["workspace_mb"] == str(workspace_mb)


class TestExecution:
    def test_a_device_that_shares_its_memory_copies_nothing(self, here: World, bundle: Path):
        assert described(bundle)["memory"] == "mapped, no copy"

    def test_another_copies_through_locked_pages(self, enter: Enter, bundle: Path):
        here = enter(is_integrated=False)
        assert described(bundle)["memory"] == "page-locked, copied"
        assert here.live_allocations == 0

    @pytest.mark.parametrize("is_integrated", [True, False])
    def test_nothing_is_allocated_in_the_loop(self, enter: Enter, bundle: Path, is_integrated: bool):
        here = enter(is_integrated=is_integrated)
        image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        with edgead.open(bundle) as inspector:
            before = here.allocations
            for _ in range(3):
                assert inspector.inspect(image).score == pytest.approx(tiny_answer(image)[1], abs=0.01)
            assert here.allocations == before

    def test_everything_is_given_back(self, here: World, bundle: Path):
        edgead.open(bundle).close()
        assert (here.contexts, here.live_allocations) == (0, 0)

    def test_everything_is_given_back_after_a_failure(self, enter: Enter, bundle: Path):
        here = enter(unbuildable=[INT8, STRICT])
        with pytest.raises(EngineError):
            edgead.open(bundle)
        assert (here.contexts, here.live_allocations) == (0, 0)

    def test_gpu_time_is_by_events(self, enter: Enter, bundle: Path):
        enter(gpu_ms={INT8: 2.5})
        with edgead.open(bundle) as inspector:
            inspector.inspect(np.zeros((32, 32, 3), np.uint8))
            assert inspector.engine.gpu_ns == 2_500_000

    def test_another_thread_may_inspect(self, here: World, bundle: Path):
        import threading

        scores: list[float] = []
        with edgead.open(bundle) as inspector:
            image = np.full((32, 32, 3), 100, np.uint8)
            thread = threading.Thread(target=lambda: scores.append(inspector.inspect(image).score))
            thread.start()
            thread.join()
        assert scores == [pytest.approx(100 / 255, abs=0.01)]

    @pytest.mark.parametrize("is_integrated", [True, False])
    def test_a_graph_is_used_where_it_pays(self, enter: Enter, bundle: Path, is_integrated: bool):
        here = enter(enqueue_seconds=0.002, is_integrated=is_integrated)
        image = np.full((32, 32, 3), 100, np.uint8)
        with edgead.open(bundle) as inspector:
            assert inspector.engine.describe()["launch"].startswith("CUDA graph")
            launches = vars(here)["graphs"].launches
            assert inspector.inspect(image).score == pytest.approx(100 / 255, abs=0.01)
            assert vars(here)["graphs"].launches == launches + 1
        assert vars(here)["graphs"].graphs == {}

    def test_no_graph_where_none_can_be_captured(self, enter: Enter, bundle: Path):
        here = enter(enqueue_seconds=0.002)
        vars(here)["graphs"].refuse_capture = True
        with edgead.open(bundle) as inspector:
            assert inspector.engine.describe()["launch"].startswith(
                "stream (tensorrt: cuStreamEndCapture failed"
            )
            inspector.inspect(np.zeros((32, 32, 3), np.uint8))


class TestDevice:
    def test_no_gpu(self, enter: Enter, bundle: Path):
        enter(devices=0)
        with pytest.raises(EngineError, match=r"no CUDA-capable device.*video"):
            edgead.open(bundle)

    def test_a_version_that_is_too_old(self, here: World, bundle: Path, monkeypatch: pytest.MonkeyPatch):
        import tensorrt

        monkeypatch.setattr(tensorrt, "__version__", "8.2.1.9")
        with pytest.raises(EngineError, match=r"expected version 8\.5 or newer, found 8\.2\.1\.9"):
            edgead.open(bundle)


OPEN = """
import sys, edgead
with edgead.open(sys.argv[1]) as inspector:
    print(inspector.engine.describe()["built"], inspector.engine.describe()["workspace_mb"], sep="|")
"""


def start(bundle: Path, world: World) -> subprocess.Popen[str]:
    """Open a bundle in a process of its own, which ends with what it did."""
    path = os.pathsep.join([str(IMPORTABLE), str(ROOT)])
    environment = {**os.environ, **world.to_environment(), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(bundle)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_processes_at_once_build_one_engine(here: World, bundle: Path):
    here.build_seconds = 1.5
    processes = [start(bundle, here) for _ in range(2)]
    answers = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    built = sorted(answer.split("|")[0][:4] for answer, _ in answers)
    assert built == ["befo", "now,"], answers


def test_a_killed_build_resumes_smaller(here: World, bundle: Path):
    here.killed_above_mb = 1000
    for _ in range(2):
        killed = start(bundle, here)
        killed.communicate(timeout=100)
        assert killed.returncode == -9
        assert len(list(cache().glob("*.building"))) == 1
    process = start(bundle, here)
    answer, problem = process.communicate(timeout=100)
    assert answer.strip().endswith("|512"), problem
    assert not list(cache().glob("*.building"))


def test_a_build_killed_at_its_smallest_says_what_to_do(
    here: World, bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EDGEAD_TENSORRT_WORKSPACE_MB", "64")
    here.killed_above_mb = 10
    start(bundle, here).communicate(timeout=100)
    with pytest.raises(EngineError, match=r"was killed\. .*swap"):
        edgead.open(bundle)
    here.killed_above_mb = 10**9
    assert described(bundle)["workspace_mb"] == "64"
