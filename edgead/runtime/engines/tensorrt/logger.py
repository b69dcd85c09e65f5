"""TensorRT's messages: passed to Python's logging, and the errors kept for the exception that follows."""

from __future__ import annotations

import functools
import logging
from typing import Any

import tensorrt as trt

_LOG = logging.getLogger("edgead.tensorrt")
_KEPT = 20
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "could not be allocated")


@functools.cache
def message_log() -> MessageLog:
    """The one log of the process: TensorRT keeps the first that it gets, which must outlive everything."""
    return MessageLog()


class MessageLog(trt.ILogger):
    """Errors since the last `clear`; nothing is printed."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)  # the binding refuses an object whose C++ half was not made
        self.errors: list[str] = []

    def log(self, severity: Any, msg: str) -> None:
        """Called by TensorRT, from any of its threads."""
        if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
            self.errors = [*self.errors[-_KEPT:], msg]
            _LOG.debug("TensorRT: %s", msg)

    def clear(self) -> None:
        """Forget the errors of what went before."""
        self.errors = []

    def gist(self) -> str:
        """The last errors in a line."""
        return "; ".join(message.strip()[:300] for message in self.errors[-2:]) or "no reason given"

    @property
    def tells_of_memory(self) -> bool:
        """Whether an error says that memory ran out, rather than that the model cannot be built."""
        return any(sign in message.lower() for message in self.errors for sign in _OUT_OF_MEMORY)
