"""From a camera's frames to verdicts: every frame has one, also where it could not be inspected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgead.cameras import Camera, Frame
from edgead.runtime.inspector import Inspector
from edgead.runtime.result import Result
from edgead.verdicts.verdict import Verdict, verdict_from_result, verdict_from_strip
from edgead.web.stream import ArrayBlock, StreamSettings, inspect_web


@dataclass(frozen=True, eq=False)
class Inspected:
    """A verdict and what it was made of; without a result nothing was inspected."""

    verdict: Verdict
    frame: Frame | None = None
    result: Result | None = None


def inspect_camera(inspector: Inspector, camera: Camera) -> Iterator[Inspected]:
    """A verdict for each frame, in order, until the camera ends or is stopped.

    A frame that is not whole, or of another size than those of this live camera before, is not inspected: its
    verdict says so and leaves `is_anomalous` open. Raises CameraError when the camera is given up.
    """
    size: tuple[int, ...] | None = None
    last_number: int | None = None
    for sequence, frame in enumerate(camera):
        lost = 0 if last_number is None else max(0, frame.number - last_number - 1)
        last_number = frame.number if last_number is None else max(frame.number, last_number)
        problem = frame.problem
        if frame.is_whole and camera.is_live:
            size = size or frame.pixels.shape
            if frame.pixels.shape != size:
                problem = (
                    f"frame {frame.number} is {_words(frame.pixels.shape)}, those before were "
                    f"{_words(size)}: the camera was set otherwise in mid-stream. Set it back, or start "
                    "again."
                )
        if problem:
            yield Inspected(_open_verdict(inspector, camera.name, sequence, frame, problem, lost), frame)
            continue
        result = inspector.inspect(frame.pixels)
        yield Inspected(
            verdict_from_result(result, frame, source=camera.name, sequence=sequence, lost_before=lost),
            frame,
            result,
        )


def inspect_web_camera(
    inspector: Inspector, camera: Camera, *, settings: StreamSettings | None = None
) -> Iterator[Inspected]:
    """A verdict for each strip of the web whose lines the camera's frames are, one after the other.

    Raises UsageError for frames that do not fit the bundle or change their width, CameraError as above.
    """
    strips = inspect_web(inspector, blocks_from_frames(camera), settings=settings)
    for sequence, strip in enumerate(strips):
        yield Inspected(
            verdict_from_strip(
                strip,
                source=camera.name,
                sequence=sequence,
                threshold=inspector.threshold,
                pixel_threshold=inspector.pixel_threshold,
            )
        )


def blocks_from_frames(frames: Iterable[Frame]) -> Iterator[ArrayBlock]:
    """Frames of a line camera as blocks of one web; frames that are lost or broken are missing lines.

    A frame may have less lines than others (the end of a part), never another width. Lines are counted from
    the first whole frame; a missing frame counts as many as the highest one so far.
    """
    line = height = 0
    last_number: int | None = None
    for frame in frames:
        if not frame.is_whole or (last_number is not None and frame.number <= last_number):
            continue  # seen as missing with the next whole one; a straggler has been counted as that already
        height = max(height, len(frame.pixels))
        missing = 0 if last_number is None else (frame.number - last_number - 1) * height
        yield ArrayBlock(frame.pixels, line + missing, missing_before=missing)
        line += missing + len(frame.pixels)
        last_number = frame.number


def _open_verdict(
    inspector: Inspector, source: str, sequence: int, frame: Frame, problem: str, lost: int
) -> Verdict:
    return Verdict(
        source=source,
        sequence=sequence,
        number=frame.number,
        is_anomalous=None,
        score=None,
        threshold=inspector.threshold,
        pixel_threshold=inspector.pixel_threshold,
        problem=problem,
        path=frame.origin or None,
        lost_before=lost,
        device_ns=frame.device_ns,
    )


def _words(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}" + (" in colour" if len(shape) == 3 else "")
