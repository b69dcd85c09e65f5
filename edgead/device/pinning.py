"""Keep this process on some processors, before an engine makes its threads."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from edgead.errors import UsageError

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def parse_cpus(text: str) -> tuple[int, ...]:
    """Numbers of processors, ascending, from a list as taskset takes it: "1", "0,2-3"."""
    found: set[int] = set()
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if match is None:
            raise UsageError(f"Expected processors as in 0,2-3, found {text!r}.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UsageError(f"Expected processors as in 0,2-3, found {item!r}, which ends before it begins.")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


@contextlib.contextmanager
def pinned(cpus: tuple[int, ...] | None) -> Iterator[None]:
    """Keep this thread, and the threads that it makes meanwhile, on these processors; None changes nothing.

    Raises UsageError for processors that it may not use, and where the system cannot do it.
    """
    if cpus is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("This system cannot keep a process on given processors; leave --cpus out.")
    usable = os.sched_getaffinity(0)
    if missing := sorted(set(cpus) - usable):
        raise UsageError(
            f"Processor {', '.join(map(str, missing))} is not one that this process may use: "
            f"{', '.join(map(str, sorted(usable)))}."
        )
    os.sched_setaffinity(0, set(cpus))
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)
