"""The inference engines, one file each; their table is edgead/engines.py."""

from __future__ import annotations

import importlib

from edgead.engines import engine_entry
from edgead.errors import EngineError
from edgead.runtime.engines.base import Engine

__all__ = ["Engine", "create_engine"]


def create_engine(name: str, *, threads: int | None = None) -> Engine:
    """An engine without a model yet; raises UnknownNameError, or EngineError when its package is missing."""
    entry = engine_entry(name)
    if not entry.is_installed:
        raise EngineError(f"The engine '{name}' is not installed here. Install it with: {entry.install}")
    try:
        module = importlib.import_module(entry.module)
    except (ImportError, OSError) as error:  # installed, but broken: a missing shared library, for instance
        raise EngineError(
            f"The engine '{name}' does not start: {error}. Reinstall it: {entry.install}"
        ) from error
    engine: Engine = getattr(module, entry.class_name)(threads=threads)
    return engine
