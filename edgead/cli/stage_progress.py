"""How a training stands: a bar for a person who watches, a line now and then for a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.progress import is_watched

if TYPE_CHECKING:
    from edgead.learning.progress import Progress

_LINE_SECONDS = 30.0  # between two lines where nobody watches
_WORDS = {
    "features": "Features of the good images",
    "selection": "Selecting channels",
    "timing": "Timing steps",
    "training": "Training",
    "fitting": "Fitting",
    "validation": "Held-out images",
}


@contextmanager
def stage_progress(label: str = "") -> Iterator[Callable[[Progress], None]]:
    """A function for `on_progress` of a training; what it draws goes to stderr."""
    shown = _Bars(label) if is_watched() else _Lines(label)
    try:
        yield shown.report
    finally:
        shown.close()


class _Stages:
    """Notices where a stage begins; the first step reported may be far from 0 in a training that goes on."""

    def __init__(self, label: str) -> None:
        self.prefix = f"{label}: " if label else ""
        self.stage, self.first = "", 0

    def report(self, progress: Progress) -> None:
        if progress.stage == "resuming":
            self.close()
            click.echo(f"{self.prefix}going on from step {progress.step} of {progress.steps}", err=True)
            return
        if progress.stage != self.stage:
            self.close()
            # A stage is reported after its first step, except those that are reported as a whole.
            self.stage, self.first = progress.stage, max(0, progress.step - 1)
            self.begin(progress)
        self.show(progress)

    def begin(self, progress: Progress) -> None:
        """A new stage."""

    def show(self, progress: Progress) -> None:
        """A step within the stage."""

    def close(self) -> None:
        """The stage has ended."""


class _Bars(_Stages):
    """One bar per stage, with the time left."""

    bar: Any = None

    def begin(self, progress: Progress) -> None:
        words = self.prefix + _WORDS.get(progress.stage, progress.stage)
        if not progress.step:
            click.echo(f"{words}: {progress.steps} images", err=True)
            return
        length = progress.steps - self.first
        self.bar = click.progressbar(length=length, label=words, file=sys.stderr, show_eta=True)
        self.bar.__enter__()

    def show(self, progress: Progress) -> None:
        if self.bar is not None:
            self.bar.update(progress.step - self.first - self.bar.pos)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.__exit__(None, None, None)
            self.bar = None


class _Lines(_Stages):
    """A line when a stage begins, and one every half minute with losses and the time left."""

    began = last = 0.0

    def begin(self, progress: Progress) -> None:
        self.began = self.last = time.monotonic()
        click.echo(self.prefix + _WORDS.get(progress.stage, progress.stage) + " ...", err=True)

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.last < _LINE_SECONDS:
            return
        self.last = now
        done = progress.step - self.first - 1  # the first step's end is when the clock began
        left = (now - self.began) / max(1, done) * (progress.steps - progress.step)
        losses = "".join(f", {name} loss {value:.3g}" for name, value in progress.losses.items())
        estimate = "" if progress.stage == "timing" else f", {time_left(left)}"  # it may end before its last
        click.echo(f"{self.prefix}step {progress.step} of {progress.steps}{losses}{estimate}", err=True)


def time_left(seconds: float) -> str:
    """The estimate in words: seconds below two minutes, minutes from there."""
    if seconds < 120:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left"
