"""Aravis' fake GigE Vision camera as a process: one at a time on a machine, for its port is fixed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgead.cameras.addresses import CAMERA_KINDS
from edgead.cameras.gige import GigeDriver
from edgead.errors import CameraError

PROGRAM = "arv-fake-gv-camera-0.8"
Start = Callable[..., "subprocess.Popen[bytes]"]


def why_not() -> str:
    """What keeps these tests from running here; nothing when they can."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not installed (apt-get install aravis-tools)"
    return CAMERA_KINDS["gige"].missing()


@contextmanager
def fake_cameras() -> Iterator[Start]:
    """A function that starts one with options, and waits until it answers; all are ended at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        command = [PROGRAM, "-i", "127.0.0.1", *options]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        started.append(process)
        _wait_for_answer()
        return process

    with (Path(tempfile.gettempdir()) / "edgead-fake-gige.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers of this test run use the same port
        try:
            yield start
        finally:
            for process in started:
                process.kill()
                process.wait()


def _wait_for_answer() -> None:
    deadline = time.monotonic() + 10
    while True:
        driver = GigeDriver("127.0.0.1")
        try:
            driver.open()
        except CameraError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            driver.close()
            return
