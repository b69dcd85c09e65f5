"""Opening a bundle and inspecting: the answers, what is accepted, and what is refused in which words."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgead
from edgead.bundle import InputSpec, write_bundle
from edgead.errors import BundleError, EngineError, UnknownNameError, UsageError, VerificationError
from edgead.images import resize_image
from tests.runtime.tiny_bundle import (
    tiny_answer,
    tiny_manifest,
    tiny_onnx,
    tiny_reference,
    write_tiny_bundle,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edgead")


@pytest.fixture(scope="module")
def inspector(bundle: Path) -> Iterator[edgead.Inspector]:
    with edgead.open(bundle, threads=1) as inspector:
        yield inspector


def picture(height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def with_spot() -> np.ndarray:
    image = np.zeros((64, 96, 3), np.uint8)
    image[16:32, 24:48] = 255
    return image


class TestAnswers:
    def test_a_good_part(self, inspector: edgead.Inspector):
        result = inspector.inspect(np.zeros((32, 32, 3), np.uint8))
        assert (result.score, result.is_anomalous, result.regions) == (0.0, False, ())
        np.testing.assert_array_equal(result.anomaly_map, np.zeros((32, 32), np.float32))

    def test_a_defect_has_a_region_where_it_is(self, inspector: edgead.Inspector):
        result = inspector.inspect(with_spot())
        assert result.is_anomalous
        (region,) = result.regions
        assert region.peak == pytest.approx(1.0)
        assert abs(region.x - 24) <= 6
        assert abs(region.y - 16) <= 4
        assert abs(region.width - 24) <= 12
        assert abs(region.height - 16) <= 8
        assert region.area == np.count_nonzero(result.anomaly_map >= 0.5)

    def test_the_map_has_the_images_size(self, inspector: edgead.Inspector):
        result = inspector.inspect(with_spot())
        assert result.anomaly_map.shape == (64, 96)
        assert result.anomaly_map.dtype == np.float32
        assert result.model_map.shape == (8, 8)

    def test_training_and_runtime_resize_alike(self, inspector: edgead.Inspector):
        image = picture(123, 457)
        expected_map, expected_score = tiny_answer(resize_image(image, 32, 32, rule="stretch-area"))
        result = inspector.inspect(image)
        np.testing.assert_allclose(result.model_map, expected_map, atol=1e-5)
        assert result.score == pytest.approx(expected_score, abs=1e-5)

    def test_stages_are_timed(self, inspector: edgead.Inspector):
        timings = inspector.inspect(picture()).timings_ns
        assert list(timings) == ["resize", "infer", "postprocess"]
        assert all(type(value) is int and value >= 0 for value in timings.values())

    def test_a_result_outlives_the_next(self, inspector: edgead.Inspector):
        result = inspector.inspect(with_spot())
        inspector.inspect(np.zeros((8, 8, 3), np.uint8))
        assert result.anomaly_map.max() == pytest.approx(1.0)


class TestImages:
    @pytest.mark.parametrize("size", [(1, 1), (1, 500), (2000, 3), (31, 33), (32, 32), (257, 129)])
    @pytest.mark.parametrize("channels", [(), (1,), (3,)])
    def test_any_size_grey_or_colour(
        self, inspector: edgead.Inspector, size: tuple[int, int], channels: tuple[int, ...]
    ):
        result = inspector.inspect(np.full((*size, *channels), 255, np.uint8))
        assert result.anomaly_map.shape == size
        assert result.score == pytest.approx(1.0, abs=1e-5)

    def test_20000_by_20(self, inspector: edgead.Inspector):
        assert inspector.inspect(np.zeros((20, 20_000, 3), np.uint8)).anomaly_map.shape == (20, 20_000)

    def test_views_give_the_answer_of_their_copies(self, inspector: edgead.Inspector):
        image = picture(64, 64)
        for view in (
            image[::2, ::2],
            image[:, ::-1],
            image.transpose(1, 0, 2),
            image[..., :1],
            image[..., 1],
        ):
            assert inspector.inspect(view).score == inspector.inspect(view.copy()).score

    def test_bgr_is_turned(self, inspector: edgead.Inspector):
        image = picture(40, 50)
        prepared = inspector.prepare(np.ascontiguousarray(image[..., ::-1]), colour_order="bgr")
        np.testing.assert_array_equal(prepared, inspector.prepare(image))

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            pytest.param(None, "found NoneType", id="none"),
            pytest.param([[1]], "found list", id="list"),
            pytest.param(np.zeros((8, 8, 3), np.uint16), "found uint16.*257", id="16 bit"),
            pytest.param(np.zeros((8, 8, 3), bool), "found bool", id="bool"),
            pytest.param(np.zeros((8, 8, 3), np.float32), "found float32. Scale it to 0..255", id="float"),
            pytest.param(np.full((8, 8), np.nan), "NaN or infinite", id="nan"),
            pytest.param(np.zeros(8, np.uint8), r"found \(8,\)", id="one dimension"),
            pytest.param(np.zeros((1, 8, 8, 3), np.uint8), r"found \(1, 8, 8, 3\)", id="batch"),
            pytest.param(np.zeros((8, 8, 4), np.uint8), r"Drop the alpha channel", id="alpha"),
            pytest.param(np.zeros((3, 8, 8), np.uint8), r"H W 3, found \(3, 8, 8\)", id="channels first"),
            pytest.param(np.zeros((0, 8, 3), np.uint8), "an empty one", id="empty"),
        ],
    )
    def test_what_is_refused(self, inspector: edgead.Inspector, image: Any, message: str):
        with pytest.raises(UsageError, match=message):
            inspector.inspect(image)

    def test_an_unknown_colour_order(self, inspector: edgead.Inspector):
        with pytest.raises(UnknownNameError, match=r"colour order 'bg'\. Did you mean bgr"):
            inspector.inspect(picture(), colour_order="bg")

    def test_a_refused_image_does_not_block_the_next(self, inspector: edgead.Inspector):
        with pytest.raises(UsageError):
            inspector.inspect(np.zeros(3, np.uint8))
        inspector.inspect(picture())


class TestOpening:
    def test_it_is_verified(self, inspector: edgead.Inspector):
        assert inspector.verification is not None
        assert inspector.verification.passed
        assert "2 reference images" in inspector.verification.describe()

    def test_a_closed_inspector_says_so(self, bundle: Path):
        inspector = edgead.open(bundle, threads=1)
        inspector.close()
        inspector.close()
        with pytest.raises(UsageError, match="is closed"):
            inspector.inspect(picture())
        with pytest.raises(UsageError, match="is closed"), inspector:
            pass

    @pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
    def test_another_engine_gives_the_same(self, bundle: Path, engine: str):
        with edgead.open(bundle, engine=engine, threads=1) as inspector:
            assert inspector.inspect(with_spot()).score == pytest.approx(1.0, abs=1e-5)

    def test_an_anomalous_part_below_the_pixel_threshold_still_shows_where(self, bundle: Path):
        with edgead.open(bundle, threads=1, pixel_threshold=5.0) as inspector:
            result = inspector.inspect(with_spot())
        assert float(result.anomaly_map.max()) < 5.0
        (region,) = result.regions
        assert (region.x, region.y) == pytest.approx((24, 16), abs=6)
        assert region.peak == pytest.approx(1.0)

    def test_a_good_part_below_the_pixel_threshold_has_no_region(self, bundle: Path):
        with edgead.open(bundle, threads=1, threshold=2.0, pixel_threshold=5.0) as inspector:
            assert inspector.inspect(with_spot()).regions == ()

    def test_thresholds_are_the_bundles_unless_given(self, bundle: Path):
        image = np.full((32, 32, 3), 128, np.uint8)
        with edgead.open(bundle, threads=1) as inspector:
            assert not inspector.inspect(image).is_anomalous
        with edgead.open(bundle, threads=1, threshold=0.4, pixel_threshold=0.6) as inspector:
            result = inspector.inspect(image)
        assert (result.is_anomalous, result.regions) == (True, ())

    def test_a_score_at_the_threshold_is_anomalous(self, bundle: Path):
        with edgead.open(bundle, threads=1, threshold=0.0) as inspector:
            assert inspector.inspect(np.zeros((4, 4), np.uint8)).is_anomalous

    @pytest.mark.parametrize("threshold", [float("nan"), float("inf"), "0.5", True])
    def test_a_threshold_must_be_a_number(self, bundle: Path, threshold: Any):
        with pytest.raises(UsageError, match="threshold: expected a finite number"):
            edgead.open(bundle, threshold=threshold)

    def test_wrong_answers_are_refused_with_figures(self, tmp_path: Path):
        reference = tiny_reference()
        wrong = dataclasses.replace(reference, scores=reference.scores + np.float32(0.25))
        path = tmp_path / "wrong.edgead"
        write_bundle(path, tiny_manifest(), files={"model.onnx": tiny_onnx()}, reference=wrong)
        with pytest.raises(VerificationError, match=r"scores by at most 0\.25 \(allowed 0\.0001\)") as caught:
            edgead.open(path, threads=1)
        assert caught.value.exit_code == 3
        with edgead.open(path, threads=1, verify=False) as inspector:
            assert inspector.verification is None

    def test_a_bundle_for_an_engine_of_elsewhere(self, tmp_path: Path):
        path = write_tiny_bundle(tmp_path / "rk.edgead", engine="rknn", target="rk3588")
        with pytest.raises(EngineError, match="made for target 'rk3588' and its engine 'rknn'"):
            edgead.open(path)

    def test_an_engine_that_is_not_installed(self, bundle: Path, monkeypatch: pytest.MonkeyPatch):
        import importlib.util

        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name)
        )
        with pytest.raises(EngineError, match=r"intel-cpu.*pip install '\.\[openvino\]'"):
            edgead.open(bundle)

    def test_an_unknown_resize_rule(self, tmp_path: Path):
        path = write_tiny_bundle(tmp_path / "a.edgead", input=InputSpec(32, 32, resize="stretch-aera"))
        with pytest.raises(UnknownNameError, match="stretch-area"):
            edgead.open(path)

    def test_a_damaged_bundle(self, tmp_path: Path):
        path = tmp_path / "broken.edgead"
        path.write_bytes(b"PK")
        with pytest.raises(BundleError, match=r"broken\.edgead"):
            edgead.open(path)


def test_a_second_thread_is_refused_not_mixed_up(bundle: Path):
    with edgead.open(bundle, threads=1) as inspector:
        entered, leave = threading.Event(), threading.Event()
        infer = inspector.engine.infer

        def slow(image: np.ndarray) -> tuple[np.ndarray, float]:
            entered.set()
            leave.wait(10)
            return infer(image)

        inspector.engine.infer = slow  # type: ignore[method-assign]
        thread = threading.Thread(target=inspector.inspect, args=(picture(),))
        thread.start()
        entered.wait(10)
        with pytest.raises(UsageError, match="one inspector per thread"):
            inspector.inspect(picture())
        leave.set()
        thread.join()
        inspector.inspect(picture())


def test_a_score_that_is_not_a_number_is_never_good(bundle: Path):
    with edgead.open(bundle, threads=1) as inspector:
        inspector.engine.infer = lambda image: (np.zeros((8, 8), np.float32), float("nan"))  # type: ignore[method-assign]
        assert inspector.inspect(picture()).is_anomalous


def test_two_processes_open_one_bundle(bundle: Path):
    code = (
        "import sys, numpy, edgead\n"
        "with edgead.open(sys.argv[1], threads=1) as inspector:\n"
        "    print(inspector.inspect(numpy.full((9, 9), 255, numpy.uint8)).score)\n"
    )
    command = [sys.executable, "-c", code, str(bundle)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [float(process.communicate()[0]) for process in processes] == pytest.approx([1.0, 1.0], abs=1e-5)


def test_pickled_it_is_opened_again(tmp_path: Path):
    path = write_tiny_bundle(tmp_path / "tiny.edgead")
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with edgead.open(path, threshold=0.25, threads=1) as inspector:
        content, score = pickle.dumps(inspector), inspector.inspect(picture).score
    with pickle.loads(content) as again:
        assert again.threshold == 0.25
        assert again.inspect(picture).score == pytest.approx(score)
    with pytest.raises(UsageError, match="closed"):
        pickle.dumps(inspector)


def test_pickled_it_is_not_opened_as_another_bundle(tmp_path: Path):
    path = write_tiny_bundle(tmp_path / "tiny.edgead")
    with edgead.open(path) as inspector:
        content = pickle.dumps(inspector)
    write_tiny_bundle(path, name="other")
    with pytest.raises(BundleError, match="another bundle"):
        pickle.loads(content)


def test_a_worker_of_a_pool_inspects(tmp_path: Path):
    path = write_tiny_bundle(tmp_path / "tiny.edgead")
    picture = np.full((32, 32, 3), 9, np.uint8)
    with (
        edgead.open(path, threads=1) as inspector,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        assert pool.submit(inspector.inspect, picture).result(120).score == inspector.inspect(picture).score


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_copy_says_so(tmp_path: Path):
    with edgead.open(write_tiny_bundle(tmp_path / "tiny.edgead"), threads=1) as inspector:
        inspector._process = -1  # as the copy finds it
        with pytest.raises(UsageError, match="opened in another process"):
            inspector.inspect(np.zeros((32, 32, 3), np.uint8))


def test_closing_during_an_inspection_lets_it_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inspector = edgead.open(write_tiny_bundle(tmp_path / "tiny.edgead"), threads=1)
    engine, inside, go_on = inspector.engine, threading.Event(), threading.Event()
    answer = engine.infer

    def slow(image: np.ndarray) -> tuple[np.ndarray, float]:
        inside.set()
        go_on.wait(10)
        return answer(image)

    monkeypatch.setattr(engine, "infer", slow)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(inspector.inspect, np.zeros((32, 32, 3), np.uint8))
        inside.wait(10)
        inspector.close()
        go_on.set()
        assert running.result(10).score >= 0
    with pytest.raises(UsageError, match="closed"):
        inspector.inspect(np.zeros((32, 32, 3), np.uint8))
    assert engine._compiled is None
