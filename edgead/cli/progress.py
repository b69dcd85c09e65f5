"""A progress bar for a person who watches, nothing for a program that reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import click

_T = TypeVar("_T")
_STEPS = 1000


def is_watched() -> bool:
    """Whether stderr, where the bars go, is a terminal."""
    return sys.stderr.isatty()


def with_progress(items: Sequence[_T], *, label: str, quiet: bool = False) -> Iterator[_T]:
    """The items, with a bar on stderr when a person is watching and `quiet` is not set."""
    if quiet or not is_watched():
        yield from items
        return
    with click.progressbar(items, label=label, file=sys.stderr) as bar:
        yield from bar


@contextmanager
def progress_share(label: str) -> Iterator[Callable[[float], None]]:
    """A function that takes the share done, 0 to 1, and draws it when a person is watching."""
    if not is_watched():
        yield lambda share: None
        return
    with click.progressbar(length=_STEPS, label=label, file=sys.stderr) as bar:
        yield lambda share: bar.update(max(0, int(share * _STEPS) - bar.pos))
