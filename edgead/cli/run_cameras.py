"""`edgead run` on cameras: one thread per camera, verdicts to every place that was named, an orderly end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import write_json
from edgead.errors import CameraError, EdgeadError, UsageError

if TYPE_CHECKING:
    from edgead.inspection.session import InspectionSession
    from edgead.verdicts import Sink, Verdict
    from edgead.web.stream import StreamSettings


@dataclass(frozen=True)
class Destinations:
    """Where verdicts go; None leaves one out."""

    json_lines: str | None = None
    addresses: tuple[str, ...] = ()  # by their schemes: mqtt://...
    spool: Path | None = None
    out: Path | None = None  # pictures of the anomalous frames
    counts: str | None = None


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
    from edgead.inspection.session import InspectionSession

    if len(set(addresses)) != len(addresses):
        raise UsageError("The same camera is named twice. Name each once.")
    cameras = [open_camera(address, on_event=_print_event) for address in addresses]
    with contextlib.ExitStack() as stack:
        inspectors = [stack.enter_context(edgead.open(bundle, **engine_settings)) for _ in cameras]
        session = InspectionSession(
            cameras,
            inspectors,
            [stack.enter_context(sink) for sink in _sinks(destinations)],
            web=web,
            count=count,
            pictures=destinations.out,
            on_event=_print_event,
        )
        for camera in cameras:
            stack.enter_context(camera)
        with _ended_by_signals(session):
            session.run()
    _conclude(session, destinations)


def _sinks(destinations: Destinations) -> Iterator[Sink]:
    from edgead.inspection.files import make_folder
    from edgead.verdicts import CallbackSink, JsonLinesSink, open_sink

    if destinations.out is not None:
        make_folder(destinations.out)
    lines = destinations.json_lines or (str(destinations.out / "results.jsonl") if destinations.out else None)
    if lines is None:
        yield CallbackSink(lambda verdict: click.echo(_in_words(verdict)))
    elif lines == "-":
        yield CallbackSink(lambda verdict: click.echo(verdict.to_line(), nl=False))
    else:
        yield JsonLinesSink(lines, on_event=_print_event)
    for address in destinations.addresses:
        yield open_sink(address, spool=destinations.spool, on_event=_print_event)


@contextlib.contextmanager
def _ended_by_signals(session: InspectionSession) -> Iterator[None]:
    """SIGTERM and SIGINT end the cameras; a second one is the system's own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def end(number: int, frame: object) -> None:
        session.stop()
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in (int(signal.SIGTERM), int(signal.SIGINT)):
        before[name] = signal.signal(name, end)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _conclude(session: InspectionSession, destinations: Destinations) -> None:
    for camera in session.cameras:
        counts, frames = session.counts[camera.name], camera.statistics
        _print_event(
            f"{camera.name}: {counts.inspected} inspected, {counts.anomalous} anomalous, "
            f"{counts.not_inspected} not inspected; {frames.lost} lost, {frames.overwritten} overwritten, "
            f"{frames.incomplete} incomplete, {frames.stalls} stalls, {frames.reconnects} reconnections."
        )
    if waiting := sum(sink.statistics.waiting for sink in session.sinks):
        _print_event(f"{waiting} verdicts wait on disk; the next run with this address delivers them.")
    if destinations.counts is not None:
        write_json(destinations.counts, session.to_json())
    if session.errors:
        first = session.errors[0]
        if not isinstance(first, EdgeadError):
            raise first
        raise CameraError(
            f"{len(session.errors)} of {len(session.cameras)} cameras ended with an error: {first}"
        )
    if dropped := sum(sink.statistics.dropped for sink in session.sinks):
        raise EdgeadError(
            f"{dropped} verdicts could not be delivered and are lost; the messages above say why."
        )


def _in_words(verdict: Verdict) -> str:
    place = f"{verdict.source} {'line' if verdict.lines else 'frame'} {verdict.number}"
    if verdict.is_anomalous is None:
        return f"{place}: not inspected: {verdict.problem}"
    word = "ANOMALOUS" if verdict.is_anomalous else "good"
    regions = f", {len(verdict.regions)} region(s)" if verdict.is_anomalous else ""
    return f"{place}: {word}, score {verdict.score:.4g} (threshold {verdict.threshold:.4g}){regions}"


def _print_event(message: str) -> None:
    click.echo(message, err=True)
