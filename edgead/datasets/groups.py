"""Which images belong together: those of one part, tile, lot or spindle, on one side of every split.

A held-out photograph of a part that training saw scores as low as training's own, so a threshold set on it
rejects more good parts on the line than it promises.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from edgead.datasets.samples import Sample
from edgead.datasets.thumbnails import Thumbnails, thumbnails
from edgead.errors import DataError, UsageError
from edgead.files import read_file

BY_CONTENT = "content"  # siblings that a published data set names, and near duplicates
EACH_ALONE = "image"  # each image is a part of its own; equal files still stay together
_ROWS_AT_ONCE = 512
# Of the images: where near duplicates would join more, all parts of the product look alike.
_LARGEST_SHARE = 0.5
# File names of published data sets whose images have siblings: what stands for the part, strip or sheet.
PUBLISHED_NAMES: tuple[re.Pattern[str], ...] = (
    re.compile(r"(kos\d+)_Part\d+"),  # KolektorSDD: eight surfaces of one commutator
    re.compile(r"(\d{4})_\d{3}_\d{2}_x\d+"),  # AITEX: tiles of one strip of fabric
    re.compile(r"(PA_\w+_ND_\d+)_\d+"),  # PIPED: pictures of one sheet of paper
)
Labels: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """The group of each sample, in the samples' order, and in words how the groups were found."""

    labels: tuple[int, ...]  # 0 to count - 1
    found_by: str

    @property
    def count(self) -> int:
        return len(set(self.labels))

    @property
    def largest(self) -> int:
        """How many samples the largest group has."""
        return max(Counter(self.labels).values(), default=0)


def find_groups(samples: Sequence[Sample], group_by: str = BY_CONTENT) -> Groups:
    """The groups of samples by `group_by`.

    "content": by the part that the data set's layout or its published file names state, else near duplicates
    (`Thumbnails.near`). "image": each its own. The path of a .csv file: its columns `file` and `group`, a
    line for each image. Anything else is a regular expression that is searched in each file's name: its first
    parenthesis, or all of the match, names the group.
    Raises UsageError for an expression that is none, or matches not every name; DataError for a file that
    lacks an image or a column.
    """
    if group_by == EACH_ALONE:
        return Groups(tuple(range(len(samples))), "each image alone")
    if group_by.lower().endswith(".csv"):
        return _of_file(samples, Path(group_by))
    if group_by != BY_CONTENT:
        return _of_pattern(samples, group_by)
    stated = _stated(samples)
    if stated is not None:
        return stated
    alike = Groups(near_duplicates(thumbnails(sample.path for sample in samples)), "near duplicates")
    if alike.largest <= _LARGEST_SHARE * len(samples):
        return alike
    return Groups(
        tuple(range(len(samples))),
        f"each image alone: {alike.largest} of {len(samples)} look too alike to tell parts apart by content",
    )


def resolved(group_by: str) -> str:
    """`group_by` with the path of a .csv file made absolute, for a run that is used from another folder.

    Raises DataError where that file is not there.
    """
    if not group_by.lower().endswith(".csv"):
        return group_by
    path = Path(group_by).resolve()
    if not path.is_file():
        raise DataError(
            f"--group-by: there is no file {path}. Give the .csv file with the columns file and group."
        )
    return str(path)


def near_duplicates(images: Thumbnails) -> tuple[int, ...]:
    """Labels of images, of which two have the same when a chain of near duplicates joins them."""
    count = len(images)
    labels: Labels = np.arange(count)
    for start in range(0, count, _ROWS_AT_ONCE):
        rows, columns = np.nonzero(images.near(slice(start, start + _ROWS_AT_ONCE)))
        # Edges of these rows, and of each image to the first one that has its label so far.
        heads = np.concatenate((labels[rows + start], labels))
        tails = np.concatenate((labels[columns], np.arange(count)))
        edges = coo_array((np.ones(len(heads), np.int8), (heads, tails)), shape=(count, count))
        labels = _first_of_each(connected_components(edges, directed=False)[1])
    return _numbered(labels.tolist())


def joined(labels: Sequence[int], others: Sequence[object]) -> tuple[int, ...]:
    """Labels of items that are together where a chain of equal labels, or of equal `others`, joins them."""
    count = len(labels)
    heads = np.concatenate((_numbers(labels), _numbers(others) + count))
    tails = np.tile(np.arange(count), 2)
    edges = coo_array((np.ones(2 * count, np.int8), (heads, tails + 2 * count)), shape=(3 * count, 3 * count))
    return _numbered(connected_components(edges, directed=False)[1][2 * count :].tolist())


def _numbers(names: Sequence[object]) -> Labels:
    return np.array(_numbered(names), dtype=np.int64)


def _first_of_each(components: npt.NDArray[np.int32]) -> Labels:
    """The number of the first image of each image's component."""
    _, first, inverse = np.unique(components, return_index=True, return_inverse=True)
    labels: Labels = first[inverse]
    return labels


def _stated(samples: Sequence[Sample]) -> Groups | None:
    """Groups by part, as the layout states it or a published set names its files; None where neither does."""
    if samples and all(sample.part is not None for sample in samples):
        return Groups(_numbered([sample.part for sample in samples]), "parts that the data set states")
    for pattern in PUBLISHED_NAMES:
        matches = [pattern.match(sample.path.stem) for sample in samples]
        if samples and all(matches):
            return Groups(
                _numbered([match.group(1) for match in matches if match]),
                f"file names of a published data set ({pattern.pattern})",
            )
    return None


def _of_pattern(samples: Sequence[Sample], text: str) -> Groups:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(
            f"--group-by {text!r} is no regular expression ({error}), nor '{BY_CONTENT}', '{EACH_ALONE}' or "
            "a .csv file."
        ) from error
    names = []
    for sample in samples:
        match = pattern.search(sample.path.name)
        if match is None:
            raise UsageError(
                f"--group-by {text!r} does not match the name {sample.path.name}; it must match the name of "
                "every image. Mind quotes: a shell reads \\ and * itself."
            )
        names.append(match.group(1) if pattern.groups and match.group(1) is not None else match.group(0))
    return Groups(_numbered(names), f"file names ({text})")


def _of_file(samples: Sequence[Sample], path: Path) -> Groups:
    group_of = _read_csv(path)
    missing = [s.path.name for s in samples if s.path.name not in group_of]
    if missing:
        raise DataError(
            f"{path} names no group of {len(missing)} images, such as {missing[0]}. Add a line for each, "
            "with its file name (without folders) and its group."
        )
    return Groups(_numbered([group_of[sample.path.name] for sample in samples]), f"the file {path.name}")


def _read_csv(path: Path) -> Mapping[str, str]:
    try:
        with io.StringIO(read_file(path).decode("utf-8-sig"), newline="") as file:
            reader = csv.DictReader(file)
            if not {"file", "group"} <= set(reader.fieldnames or ()):
                raise DataError(
                    f"{path} must have a first line with the columns file and group; found "
                    f"{', '.join(map(str, reader.fieldnames or ())) or 'nothing'}."
                )
            groups: dict[str, str] = {}
            for row in reader:
                name, group = row["file"], row["group"]
                if not name or not group:
                    raise DataError(f"{path}, line {reader.line_num}: expected a file and its group.")
                if groups.setdefault(name, group) != group:
                    raise DataError(f"{path}, line {reader.line_num}: {name} has two groups. Keep one.")
            return groups
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a .csv file of groups: {error}.") from error


def _numbered(names: Iterable[object]) -> tuple[int, ...]:
    """Each name as the number of its first appearance."""
    numbers: dict[object, int] = {}
    return tuple(numbers.setdefault(name, len(numbers)) for name in names)
