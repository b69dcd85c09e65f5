"""`edgead run` on cameras: one thread per camera, verdicts to every place that was named, an orderly end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import write_json
from edgead.errors import CameraError, EdgeadError, UsageError

if TYPE_CHECKING:
    from edgead.cameras import Camera
    from edgead.inspection.camera import Inspected
    from edgead.runtime.inspector import Inspector
    from edgead.verdicts import Sink, Verdict
    from edgead.web.stream import StreamSettings


@dataclass(frozen=True)
class Destinations:
    """Where verdicts go; None leaves one out."""

    json_lines: str | None = None
    mqtt: str | None = None
    spool: Path | None = None
    out: Path | None = None  # pictures of the anomalous frames
    counts: str | None = None


@dataclass
class _Counts:
    """What a camera's inspection came to."""

    inspected: int = 0
    anomalous: int = 0
    not_inspected: int = 0
    error: str = ""


@dataclass
class _Run:
    """What the threads share. The lock is held while a verdict goes to the sinks."""

    sinks: list[Sink]
    cameras: list[Camera]
    counts: dict[str, _Counts] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self) -> None:
        for camera in self.cameras:
            camera.stop()


def run_cameras(
    bundle: Path,
    addresses: Sequence[str],
    *,
    destinations: Destinations,
    web: StreamSettings | None,
    count: int | None,
    engine_settings: dict[str, Any],
) -> None:
    """Inspect until every camera has ended, or a signal says so; raises what ends a camera for good."""
    import edgead
    from edgead.cameras import open_camera

    if len(set(addresses)) != len(addresses):
        raise UsageError("The same camera is named twice. Name each once.")
    cameras = [open_camera(address, on_event=_tell) for address in addresses]
    with contextlib.ExitStack() as stack:
        inspectors = [stack.enter_context(edgead.open(bundle, **engine_settings)) for _ in cameras]
        sinks = [stack.enter_context(sink) for sink in _sinks(destinations)]
        run = _Run(sinks, [stack.enter_context(camera) for camera in cameras])
        with _ended_by_signals(run):
            threads = [
                threading.Thread(
                    target=_inspect,
                    args=(run, camera, inspector, web, count, destinations.out),
                    name=camera.name,
                )
                for camera, inspector in zip(cameras, inspectors, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)  # in steps: a signal is handled between them
    _conclude(run, destinations)


def _inspect(
    run: _Run,
    camera: Camera,
    inspector: Inspector,
    web: StreamSettings | None,
    count: int | None,
    out: Path | None,
) -> None:
    """One camera's thread, from its first frame to its last."""
    from edgead.inspection.camera import inspect_camera, inspect_web_camera

    counts = run.counts.setdefault(camera.name, _Counts())
    try:
        answers = (
            inspect_camera(inspector, camera)
            if web is None
            else inspect_web_camera(inspector, camera, settings=web)
        )
        for number, answer in enumerate(answers, start=1):
            _count(counts, answer.verdict)
            _deliver(run, answer.verdict)
            if out is not None and answer.verdict.is_anomalous:
                _draw(out, camera.name, answer)
            if number == count:
                break
    except EdgeadError as error:  # this camera's; the others go on
        counts.error = str(error)
        run.errors.append(error)
        _tell(str(error))
    except BaseException as error:  # whatever else, all end
        counts.error = repr(error)
        run.errors.insert(0, error)
        run.stop()
    finally:
        camera.close()


def _deliver(run: _Run, verdict: Verdict) -> None:
    with run.lock:
        for sink in run.sinks:
            sink.send(verdict)


def _count(counts: _Counts, verdict: Verdict) -> None:
    counts.inspected += verdict.is_anomalous is not None
    counts.anomalous += verdict.is_anomalous is True
    counts.not_inspected += verdict.is_anomalous is None


def _sinks(destinations: Destinations) -> Iterator[Sink]:
    from edgead.verdicts import CallbackSink, JsonLinesSink

    if destinations.out is not None:
        _make_folder(destinations.out)
    lines = destinations.json_lines or (str(destinations.out / "results.jsonl") if destinations.out else None)
    if lines is None:
        yield CallbackSink(lambda verdict: click.echo(_in_words(verdict)))
    elif lines == "-":
        yield CallbackSink(lambda verdict: click.echo(verdict.to_line(), nl=False))
    else:
        yield JsonLinesSink(lines, tell=_tell)
    if destinations.mqtt is not None:
        from edgead.verdicts.mqtt import MqttSink

        spool = destinations.spool or _default_spool(destinations.mqtt)
        yield MqttSink(destinations.mqtt, spool=spool, tell=_tell)


def _default_spool(address: str) -> Path:
    """A folder of the user's state, for each broker and topic its own."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "edgead" / "spool" / hashlib.sha256(address.encode()).hexdigest()[:16]


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeadError(
            f"{path}: cannot be made ({error.strerror}). Name another folder with --out."
        ) from error


def _draw(out: Path, source: str, answer: Inspected) -> None:
    """The anomalous frame with its map and regions; a disk that takes no more is told, and no more."""
    from edgead.images import write_image
    from edgead.runtime.overlay import draw_regions, heatmap_overlay, overlay_range

    frame, result = answer.frame, answer.result
    if frame is None or result is None:
        return
    low, high = overlay_range(result.pixel_threshold)
    drawn = heatmap_overlay(frame.pixels, result.anomaly_map, low=low, high=high)
    name = "".join(letter if letter.isalnum() else "_" for letter in source)[:80]
    try:
        write_image(out / f"{name}-{frame.number:08}.png", draw_regions(drawn, result.regions))
    except EdgeadError as error:
        _tell(str(error))


@contextlib.contextmanager
def _ended_by_signals(run: _Run) -> Iterator[None]:
    """SIGTERM and SIGINT end the cameras; a second one is the system's own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def end(number: int, frame: object) -> None:
        run.stop()
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in (int(signal.SIGTERM), int(signal.SIGINT)):
        before[name] = signal.signal(name, end)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _conclude(run: _Run, destinations: Destinations) -> None:
    for camera in run.cameras:
        counts, frames = run.counts.get(camera.name, _Counts()), camera.statistics
        _tell(
            f"{camera.name}: {counts.inspected} inspected, {counts.anomalous} anomalous, "
            f"{counts.not_inspected} not inspected; {frames.lost} lost, {frames.overwritten} overwritten, "
            f"{frames.incomplete} incomplete, {frames.stalls} stalls, {frames.reconnects} reconnections."
        )
    if waiting := sum(sink.statistics.waiting for sink in run.sinks):
        _tell(f"{waiting} verdicts wait on disk; the next run with this --mqtt address delivers them.")
    if destinations.counts is not None:
        write_json(destinations.counts, _summary(run))
    if run.errors:
        first = run.errors[0]
        if not isinstance(first, EdgeadError):
            raise first
        raise CameraError(f"{len(run.errors)} of {len(run.cameras)} cameras ended with an error: {first}")
    if dropped := sum(sink.statistics.dropped for sink in run.sinks):
        raise EdgeadError(f"{dropped} verdicts could not be delivered and are lost; what was told says why.")


def _summary(run: _Run) -> dict[str, Any]:
    return {
        "cameras": {
            camera.name: {
                **vars(run.counts.get(camera.name, _Counts())),
                "frames": camera.statistics.to_json(),
            }
            for camera in run.cameras
        },
        "verdicts": {type(sink).__name__: sink.statistics.to_json() for sink in run.sinks},
    }


def _in_words(verdict: Verdict) -> str:
    place = f"{verdict.source} {'line' if verdict.lines else 'frame'} {verdict.number}"
    if verdict.is_anomalous is None:
        return f"{place}: not inspected: {verdict.problem}"
    word = "ANOMALOUS" if verdict.is_anomalous else "good"
    regions = f", {len(verdict.regions)} region(s)" if verdict.is_anomalous else ""
    return f"{place}: {word}, score {verdict.score:.4g} (threshold {verdict.threshold:.4g}){regions}"


def _tell(words: str) -> None:
    click.echo(words, err=True)
