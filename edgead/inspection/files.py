"""Inspection of image files: which files are meant, and the record of each."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgead.errors import DataError, EdgeadError
from edgead.images import read_image, write_image
from edgead.picture_files import PictureFiles, nothing_found, pictures_in, pictures_of
from edgead.runtime.inspector import Inspector
from edgead.runtime.overlay import draw_regions, heatmap_overlay, overlay_range
from edgead.runtime.result import Result


def find_images(arguments: Sequence[str]) -> PictureFiles:
    """The image files that files, folders (searched through) and patterns stand for, each once.

    A file that does not exist stays in the list, for the record; a folder or a pattern without images is a
    DataError.
    """
    found = [_expand(argument) for argument in arguments]
    pictures = dict.fromkeys(path for one in found for path in one.pictures)
    left_out = dict.fromkeys(entry for one in found for entry in one.left_out)
    return PictureFiles(tuple(pictures), tuple(left_out))


def _expand(argument: str) -> PictureFiles:
    path = Path(argument)
    if path.is_dir():
        found = pictures_in(path, below=True)
    elif not path.exists() and glob.has_magic(argument):
        found = pictures_of(argument)
    else:
        return PictureFiles((path,), ())
    if not found.pictures:
        raise DataError(nothing_found(argument, found))
    return found


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
