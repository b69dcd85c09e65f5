"""Several cameras at once: a thread for each, every verdict to every destination, an orderly end.

A library in a host process installs no signal handlers: whoever runs a session calls `stop`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead.cameras import Camera
from edgead.errors import EdgeadError
from edgead.images import write_image
from edgead.inspection.camera import Inspected, inspect_camera, inspect_web_camera
from edgead.runtime.inspector import Inspector
from edgead.runtime.overlay import draw_regions, heatmap_overlay, overlay_range
from edgead.verdicts import Sink, Verdict
from edgead.web.stream import StreamSettings

_LONGEST_NAME = 60  # letters of a camera's name in a file name: 240 bytes at most, of the 255 that there are


@dataclass
class CameraCounts:
    """What became of the frames of one camera."""

    inspected: int = 0
    anomalous: int = 0
    not_inspected: int = 0
    error: str = ""

    def add(self, verdict: Verdict) -> None:
        self.inspected += verdict.is_anomalous is not None
        self.anomalous += verdict.is_anomalous is True
        self.not_inspected += verdict.is_anomalous is None


def told_apart(names: Sequence[str]) -> list[str]:
    """The names, each once: of equal ones the second has a -2 behind it, and so on."""
    taken: set[str] = set()
    found = []
    for name in names:
        numbers = (f"{name}-{number}" for number in itertools.count(2))
        free = next(one for one in itertools.chain((name,), numbers) if one not in taken)
        taken.add(free)
        found.append(free)
    return found


def _file_name(source: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in source)[:_LONGEST_NAME]


class InspectionSession:
    """Cameras with an inspector each, and the sinks that all verdicts go to, in the order of each camera.

    `count` ends a camera after so many verdicts; `pictures` is a folder for the anomalous frames with their
    maps; `on_event` is given messages for people. An error of edgead's ends its own camera; any other ends
    all.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        inspectors: Sequence[Inspector],
        sinks: Sequence[Sink],
        *,
        web: StreamSettings | None = None,
        count: int | None = None,
        pictures: Path | None = None,
        on_event: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.cameras, self.sinks = tuple(cameras), tuple(sinks)
        for camera, name in zip(cameras, told_apart([camera.name for camera in cameras]), strict=True):
            camera.name = name  # addresses that differ in a password alone are shown alike
        files = told_apart([_file_name(camera.name) for camera in cameras])
        self._file_names = {camera.name: file for camera, file in zip(cameras, files, strict=True)}
        self.counts = {camera.name: CameraCounts() for camera in cameras}
        self.errors: list[BaseException] = []
        self._inspectors = tuple(inspectors)
        self._web, self._count, self._pictures, self._on_event = web, count, pictures, on_event
        self._sending = threading.Lock()  # held while a verdict goes to the sinks

    def run(self) -> None:
        """Inspect until every camera has ended; errors are in `errors`."""
        threads = [
            threading.Thread(target=self._inspect, args=pair, name=pair[0].name)
            for pair in zip(self.cameras, self._inspectors, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # in steps: a signal is handled between them

    def stop(self) -> None:
        """End every camera in order; `run` then returns."""
        for camera in self.cameras:
            camera.stop()

    def to_json(self) -> dict[str, Any]:
        """What became of every frame and every verdict, as plain values."""
        return {
            "cameras": {
                camera.name: {**vars(self.counts[camera.name]), "frames": camera.statistics.to_json()}
                for camera in self.cameras
            },
            "verdicts": {
                name: sink.statistics.to_json()
                for name, sink in zip(
                    told_apart([type(sink).__name__ for sink in self.sinks]), self.sinks, strict=True
                )
            },
        }

    def _inspect(self, camera: Camera, inspector: Inspector) -> None:
        """One camera's thread, from its first frame to its last."""
        counts = self.counts[camera.name]
        try:
            answers = (
                inspect_camera(inspector, camera)
                if self._web is None
                else inspect_web_camera(inspector, camera, settings=self._web)
            )
            for number, answer in enumerate(answers, start=1):
                counts.add(answer.verdict)
                self._deliver(answer.verdict)
                if self._pictures is not None and answer.verdict.is_anomalous:
                    self._draw(self._pictures, camera.name, answer)
                if number == self._count:
                    break
        except EdgeadError as error:  # this camera's; the others go on
            counts.error = str(error)
            self.errors.append(error)
            self._on_event(str(error))
        except BaseException as error:  # whatever else, all end
            counts.error = repr(error)
            self.errors.insert(0, error)
            self.stop()
        finally:
            camera.close()

    def _deliver(self, verdict: Verdict) -> None:
        with self._sending:
            for sink in self.sinks:
                sink.send(verdict)

    def _draw(self, folder: Path, source: str, answer: Inspected) -> None:
        """The anomalous frame with its map and regions; a disk that takes no more ends no inspection."""
        frame, result = answer.frame, answer.result
        if frame is None or result is None:
            return
        low, high = overlay_range(result.pixel_threshold)
        drawn = heatmap_overlay(frame.pixels, result.anomaly_map, low=low, high=high)
        name = self._file_names[source]
        try:
            write_image(folder / f"{name}-{frame.number:08}.png", draw_regions(drawn, result.regions))
        except EdgeadError as error:
            self._on_event(str(error))
