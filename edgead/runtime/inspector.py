"""Open a bundle and inspect images with it."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Bundle, Manifest, Trust, read_bundle
from edgead.engines import engines
from edgead.errors import BundleError, EngineError, UnknownNameError, UsageError
from edgead.images import RESIZE_RULES, resize_image
from edgead.runtime.engines import create_engine
from edgead.runtime.engines.base import Engine
from edgead.runtime.result import Result
from edgead.runtime.verification import Verification, demand, verify_engine

COLOUR_ORDERS = ("rgb", "bgr")


def open(
    path: str | Path,
    *,
    engine: str | None = None,
    threshold: float | None = None,
    pixel_threshold: float | None = None,
    threads: int | None = None,
    verify: bool = True,
    trusted: str | Path | Trust | None = None,
) -> Inspector:
    """Open a bundle on this device: check every hash, load the engine, prove the reference answers.

        with edgead.open("tile.edgead") as inspector:
            result = inspector.inspect(image)

    `engine` overrides the bundle's own; the thresholds override those set from good images; `threads` limits
    the engine's threads. With `trusted`, a file of trusted keys, a bundle that none of them has signed is
    refused; without it, those of the file that EDGEAD_TRUSTED names count, or of /etc/edgead/trusted-keys.
    Raises BundleError, EngineError, UsageError, or VerificationError (unless `verify` is False).
    """
    return Inspector(
        read_bundle(path, trusted=trusted),
        engine=engine,
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        threads=threads,
        verify=verify,
    )


class Inspector:
    """A bundle on an engine; a context manager.

    Use one inspector per thread: the engine's buffers are its own, and a second thread that calls `inspect`
    at the same moment gets a UsageError, not an answer mixed from two images.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: str | None = None,
        threshold: float | None = None,
        pixel_threshold: float | None = None,
        threads: int | None = None,
        verify: bool = True,
    ) -> None:
        stated = bundle.manifest
        self._path = bundle.path
        self._process = os.getpid()
        self._opened = {"engine": engine, "threads": threads, "verify": verify}
        self._manifest = stated
        self.threshold = _finite("threshold", stated.threshold.score if threshold is None else threshold)
        pixel = stated.threshold.pixel if pixel_threshold is None else pixel_threshold
        self.pixel_threshold = _finite("pixel_threshold", pixel)
        self._busy = threading.Lock()
        self._closing: Engine | None = None  # closed by the inspection that is running
        self._engine: Engine | None = _load_engine(bundle, engine or stated.engine, threads)
        self._verification: Verification | None = None
        try:
            self._warm_up(bundle, verify)
        except BaseException:
            self.close()
            raise

    def _warm_up(self, bundle: Bundle, verify: bool) -> None:
        if verify:
            self._verification = verify_engine(self.engine, bundle.reference)
            demand(self._verification, origin=str(bundle.path))
        else:
            self.engine.infer(bundle.reference.inputs[0])

    @property
    def path(self) -> Path:
        """The bundle's file."""
        return self._path

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._manifest

    @property
    def verification(self) -> Verification | None:
        """The comparison with the reference answers made on opening; None if that was not wanted."""
        return self._verification

    @property
    def engine(self) -> Engine:
        """The loaded engine; raises UsageError once closed."""
        if self._engine is None:
            raise UsageError(
                f"{self._path}: this inspector is closed. Open the bundle again with edgead.open."
            )
        return self._engine

    def inspect(self, image: NDArray[np.uint8], *, colour_order: str = "rgb") -> Result:
        """Inspect one image: uint8, H W, H W 1 or H W 3, any size; `colour_order` "rgb" or "bgr".

        Raises UsageError for anything else, for a closed inspector and for a call while another runs.
        """
        if os.getpid() != self._process:  # a copy made by fork has no threads: the engine would wait for ever
            raise UsageError(f"{self._path}: this inspector was opened in another process. Open one in each.")
        if not self._busy.acquire(blocking=False):
            raise UsageError(
                f"{self._path}: inspect() was called while another thread is in it. "
                "Open one inspector per thread."
            )
        try:
            return self._inspect(image, colour_order)
        finally:
            self._busy.release()
            self._close_if_idle()

    def _inspect(self, image: NDArray[np.uint8], colour_order: str) -> Result:
        clock, engine = time.perf_counter_ns, self.engine
        started = clock()
        prepared = self.prepare(image, colour_order=colour_order)
        resized = clock()
        model_map, score = engine.infer(prepared)
        inferred = clock()
        is_anomalous = not score < self.threshold  # a NaN score must never pass for good
        return Result(
            score=score,
            is_anomalous=is_anomalous,
            threshold=self.threshold,
            pixel_threshold=self.pixel_threshold,
            image_height=image.shape[0],
            image_width=image.shape[1],
            model_map=model_map,
            timings_ns={
                "resize": resized - started,
                "infer": inferred - resized,
                "postprocess": clock() - inferred,
            },
        )

    def prepare(self, image: NDArray[np.uint8], *, colour_order: str = "rgb") -> NDArray[np.uint8]:
        """The image as the engine takes it: uint8 H W 3 RGB in the model's size; raises UsageError."""
        check_image(image)
        swap = _swaps_colours(colour_order)
        if image.ndim == 2 or image.shape[2] == 1:
            image, swap = _grey_to_rgb(image), False
        size = self._manifest.input
        resized = resize_image(image, size.height, size.width, rule=size.resize)
        return np.asarray(cv2.cvtColor(resized, cv2.COLOR_BGR2RGB), np.uint8) if swap else resized

    def close(self) -> None:
        """Release the engine; inspecting afterwards raises UsageError. Closing twice is allowed.

        An inspection that another thread is in ends as it would have; the engine is released behind it.
        """
        if self._engine is not None:
            self._closing, self._engine = self._engine, None
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closing is None or not self._busy.acquire(blocking=False):
            return
        try:
            engine, self._closing = self._closing, None
            if engine is not None:
                engine.close()
        finally:
            self._busy.release()

    def __enter__(self) -> Inspector:
        self.engine  # noqa: B018 - raises when closed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, it is opened again by whoever unpickles it: an engine is of one process.

        There too, keys are trusted by the environment or the machine. Raises UsageError once closed.
        """
        engine = self._opened["engine"] or self.engine.name
        settings = {**self._opened, "engine": engine}
        thresholds = (self.threshold, self.pixel_threshold)
        return _reopened, (self._path.resolve(), self._manifest, settings, thresholds)

    def __repr__(self) -> str:
        state = "closed" if self._engine is None else self._engine.name
        return f"<Inspector {self._path} ({state})>"


def _reopened(
    path: Path, expected: Manifest, settings: dict[str, Any], thresholds: tuple[float, float]
) -> Inspector:
    """The inspector of a bundle that must be what it was when the other was opened; raises BundleError."""
    bundle = read_bundle(path)
    if bundle.manifest != expected:
        raise BundleError(f"{path}: another bundle than the one that was opened. Open it anew.")
    threshold, pixel_threshold = thresholds
    return Inspector(bundle, threshold=threshold, pixel_threshold=pixel_threshold, **settings)


def _finite(name: str, value: float) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.floating))
        or not math.isfinite(value)
    ):
        raise UsageError(f"{name}: expected a finite number, found {value!r}.")
    return float(value)


def _load_engine(bundle: Bundle, name: str, threads: int | None) -> Engine:
    manifest = bundle.manifest
    if name not in engines() and name == manifest.engine:
        raise EngineError(
            f"{bundle.path}: made for target '{manifest.target}' and its engine '{name}', which this version "
            f"of edgead does not run (it runs {', '.join(engines())}). See `edgead targets`."
        )
    if manifest.input.resize not in RESIZE_RULES:
        raise UnknownNameError("resize rule in the bundle", manifest.input.resize, RESIZE_RULES)
    try:
        engine = create_engine(name, threads=threads)
        engine.prove_with(bundle.reference)
        engine.load(bundle.files, manifest)
    except EngineError as error:
        raise EngineError(f"{bundle.path} (made for target '{manifest.target}'): {error}") from error
    return engine


def check_image(image: Any) -> None:
    """Refuse what is not a uint8 H W, H W 1 or H W 3 array with pixels in it; raises UsageError."""
    if not isinstance(image, np.ndarray):
        raise UsageError(
            f"Expected an image as a numpy array, found {type(image).__name__}. Use edgead.images.read_image."
        )
    if image.dtype != np.uint8:
        raise UsageError(
            f"Expected an image of uint8 from 0 to 255, found {image.dtype}. {_conversion(image)}"
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        alpha = " Drop the alpha channel: image[..., :3]." if image.ndim == 3 and image.shape[2] == 4 else ""
        raise UsageError(f"Expected an image of shape H W, H W 1 or H W 3, found {image.shape}.{alpha}")
    if image.size == 0:
        raise UsageError(
            f"Expected an image with pixels, found an empty one of shape {image.shape}. Check the camera."
        )


def _conversion(image: NDArray[Any]) -> str:
    if image.dtype.kind != "f":
        return "Scale 16-bit images with (image / 257).round().astype('uint8')."
    if not np.isfinite(image).all():
        return "It also holds NaN or infinite values: check where it comes from, then scale it to 0..255."
    return "Scale it to 0..255, round, and convert: image.round().astype('uint8')."


def _grey_to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = image if image.ndim == 2 else image[..., 0]
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2RGB), np.uint8)


def _swaps_colours(colour_order: str) -> bool:
    if colour_order not in COLOUR_ORDERS:
        raise UnknownNameError("colour order", str(colour_order), COLOUR_ORDERS)
    return colour_order == "bgr"
