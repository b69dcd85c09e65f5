"""What other installed packages add to edgead's tables: entry points, found by group and loaded when used.

A package that adds a model family says so in its pyproject.toml:

    [project.entry-points."edgead.model_families"]
    my-family = "my_package.family:FAMILY"
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import metadata
from typing import TypeVar

from edgead.errors import UsageError

_Object = TypeVar("_Object")


def entries(group: str, *, built_in: Collection[str] = ()) -> dict[str, metadata.EntryPoint]:
    """The entry points of a group by name, none of them loaded.

    Raises UsageError for a name that edgead itself has (`built_in`), or that two packages give to different
    objects: nothing is replaced silently.
    """
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=group):
        if point.name in built_in:
            raise UsageError(
                f"{_origin(point)} adds '{point.name}' to {group}, a name that edgead itself has. Uninstall "
                "that package, or give its entry point another name."
            )
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise UsageError(
                f"{_origin(other)} and {_origin(point)} both add '{point.name}' to {group}. Uninstall one of "
                "them, or give one entry point another name."
            )
    return found


def load(point: metadata.EntryPoint, expected: type[_Object]) -> _Object:
    """Import the object of an entry point; UsageError where that fails or it is no `expected`."""
    what = f"The plugin '{point.name}' ({point.value}) of {_origin(point)}"
    try:
        found = point.load()
    except Exception as error:  # whatever the code of another package raises while it is imported
        raise UsageError(
            f"{what} cannot be loaded ({type(error).__name__}: {error}). Install that package again, or "
            "uninstall it."
        ) from error
    if not isinstance(found, expected):
        raise UsageError(
            f"{what} must be a {expected.__name__} for {point.group}, found a {type(found).__name__}. Use a "
            "version of that package made for this edgead, or uninstall it."
        )
    return found


def _origin(point: metadata.EntryPoint) -> str:
    """The package that an entry point belongs to, for messages."""
    return f"the package {point.dist.name}" if point.dist is not None else "a package"
