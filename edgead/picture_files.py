"""Which files of a folder are pictures: one listing for every command.

Names decide, in any case of letters. Hidden files and folders (.ipynb_checkpoints, the ._ files of macOS) do
not count and are not mentioned; whatever else is no picture is said, with the reason. Links are followed, and
a folder that was seen already by another way is not entered again.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgead.images import IMAGE_SUFFIXES

NO_PICTURE = "no picture by its name"
DANGLING = "a link to nothing"
FOLDER = "a folder"
STREAM = "no file"  # a pipe, a device
UNUSED = "a picture without use"  # a mask without an image, for instance
_NAMED = 3  # names in a sentence before it says how many more


@dataclass(frozen=True)
class PictureFiles:
    """The pictures of a folder, sorted, and what was left out, with the reason."""

    pictures: tuple[Path, ...]
    left_out: tuple[tuple[Path, str], ...]

    def describe(self, root: Path) -> str:
        """What was left out, in a sentence; empty where nothing was."""
        return describe_left_out(self.left_out, root)


def describe_left_out(left_out: Sequence[tuple[Path, str]], root: Path) -> str:
    """The same of any entries; names are those within `root`."""
    if not left_out:
        return ""
    counts = Counter(reason for _, reason in left_out)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    names = [os.path.relpath(path, root) for path, _ in left_out]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} left out ({reasons}): {', '.join(names[:_NAMED])}{more}"


def pictures_in(folder: Path, *, below: bool = False) -> PictureFiles:
    """The pictures directly in a folder, or everywhere below it. Raises OSError for the folder itself."""
    pictures: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for path in _entries(folder, below, {os.path.realpath(folder)}):
        reason = why_no_picture(path)
        if reason is None:
            pictures.append(path)
        else:
            left_out.append((path, reason))
    return PictureFiles(tuple(sorted(pictures)), tuple(sorted(left_out)))


def pictures_of(pattern: str) -> PictureFiles:
    """The pictures that a pattern stands for, as in photos/**/a*.png; hidden ones where it names them."""
    paths = [Path(name) for name in glob.iglob(pattern, recursive=True)]  # noqa: PTH207 - also absolute
    found = [(path, why_no_picture(path)) for path in paths if not path.is_dir()]
    pictures = sorted(path for path, reason in found if reason is None)
    return PictureFiles(tuple(pictures), tuple(sorted((p, reason) for p, reason in found if reason)))


def nothing_found(what: str, found: PictureFiles) -> str:
    """What to say of a folder or a pattern without pictures."""
    kinds = ", ".join(sorted(IMAGE_SUFFIXES))
    others = f"; {found.describe(Path(what))}" if found.left_out else ""
    return f"{what}: expected images ({kinds}), found none{others}. Check the path."


def _entries(folder: Path, below: bool, seen: set[str]) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if not (below and path.is_dir()):
            yield path
            continue
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield from _entries(path, below, seen)


def why_no_picture(path: Path) -> str | None:
    """The reason for which a path is left out; None for a picture."""
    if path.is_dir():
        return FOLDER
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return NO_PICTURE
    if path.is_file():
        return None
    return STREAM if path.exists() else DANGLING
