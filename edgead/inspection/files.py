"""Inspection of image files: which files are meant, and the record of each."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgead.errors import DataError, EdgeadError
from edgead.images import IMAGE_SUFFIXES, read_image, write_image
from edgead.runtime.inspector import Inspector
from edgead.runtime.overlay import draw_regions, heatmap_overlay, overlay_range
from edgead.runtime.result import Result


def find_images(arguments: Sequence[str]) -> list[Path]:
    """The image files that files, folders (searched through) and patterns stand for, each once.

    A file that does not exist stays in the list, for the record; a folder or a pattern without images is a
    DataError.
    """
    found = [path for argument in arguments for path in _expand(argument)]
    return list(dict.fromkeys(found))


def _expand(argument: str) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        inside = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    elif not path.exists() and glob.has_magic(argument):
        inside = (Path(name) for name in glob.iglob(argument, recursive=True))  # noqa: PTH207 - also absolute
    else:
        return [path]
    images = sorted(item for item in inside if item.suffix.lower() in IMAGE_SUFFIXES and item.is_file())
    if not images:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{argument}: expected images ({kinds}), found none. Check the path.")
    return images


def inspect_file(inspector: Inspector, path: Path, *, overlay: Path | None = None) -> dict[str, Any]:
    """The record of one file; one that cannot be read or whose overlay cannot be written has an "error"."""
    try:
        image = read_image(path)
        result = inspector.inspect(image)
        if overlay is not None:
            _write_overlay(overlay, image, result)
    except DataError as error:
        return {"path": str(path), "error": str(error)}
    return _record(path, result)


def _record(path: Path, result: Result) -> dict[str, Any]:
    return {
        "path": str(path),
        "score": result.score,
        "is_anomalous": result.is_anomalous,
        "threshold": result.threshold,
        "pixel_threshold": result.pixel_threshold,
        "regions": [dataclasses.asdict(region) for region in result.regions],
        "timings_ns": dict(result.timings_ns),
    }


def _write_overlay(path: Path, image: Any, result: Result) -> None:
    low, high = overlay_range(result.pixel_threshold)
    drawn = heatmap_overlay(image, result.anomaly_map, low=low, high=high)
    make_folder(path.parent)
    write_image(path, draw_regions(drawn, result.regions if result.is_anomalous else ()))


def make_folder(path: Path) -> None:
    """Make a folder for results; EdgeadError where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeadError(
            f"{path}: cannot be made ({error.strerror}). Name another folder with --out."
        ) from error
