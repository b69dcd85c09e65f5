"""Splits good images into those that train and those held out to set the threshold, whole groups at a time.

The split is a function of what the files contain and of the seed. Names and the order of listing do not
enter, so a copy of the folder on another machine, with files renamed, gives the same split.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgead.datasets.folders import Sample
from edgead.datasets.groups import EACH_ALONE, find_groups, joined
from edgead.errors import DataError, UsageError
from edgead.files import file_hash


@dataclass(frozen=True)
class Split:
    """Good samples in two parts, ordered by content; `hashes` maps file names to SHA-256 of their bytes.

    `digest` identifies the split: equal digests mean the same contents on the same sides. `train_groups` and
    `validation_groups` number the group of each sample, `found_by` says how the groups were found.
    """

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    hashes: dict[str, str]
    digest: str
    train_groups: tuple[int, ...]
    validation_groups: tuple[int, ...]
    found_by: str


def split_good(
    samples: Sequence[Sample],
    *,
    validation_fraction: float = 0.15,
    seed: int = 0,
    group_by: str = EACH_ALONE,
    fold: int = 0,
    folds: int = 1,
) -> Split:
    """Holds out about `validation_fraction` of the good samples, at least one group and never all.

    With `folds` from 2 up the groups are dealt to as many parts of about equal numbers of samples, and the
    part `fold` is held out: over all folds each sample is held out once.

    A group (`find_groups`) stays on one side, and so do files with equal bytes: another picture of a part
    that was trained on would make the threshold too hopeful.
    Raises `DataError` with fewer than two different images or groups, `UsageError` for a fraction outside
    (0, 1), and what `find_groups` raises.
    """
    if not 0.0 < validation_fraction < 1.0:
        raise UsageError(f"validation_fraction must lie between 0 and 1, not {validation_fraction}.")
    _refuse_anomalous(samples)
    hash_of = {sample.path: _sha256(sample.path) for sample in samples}
    different = len(set(hash_of.values()))
    if different < 2:
        raise DataError(
            f"Training needs at least 2 different good images, one of them for the threshold; found "
            f"{len(samples)} file(s) with {different} different content(s). Add images of good parts."
        )
    ordered = sorted(samples, key=lambda sample: (hash_of[sample.path], sample.path))
    found = find_groups(ordered, group_by)
    labels = joined(found.labels, [hash_of[sample.path] for sample in ordered])
    groups: dict[str, list[Sample]] = {}  # by the first content of each
    name_of: dict[int, str] = {}
    for sample, label in zip(ordered, labels, strict=True):
        groups.setdefault(name_of.setdefault(label, hash_of[sample.path]), []).append(sample)
    if len(groups) < 2:
        raise DataError(
            f"All {len(samples)} good images are of one group ({found.found_by}), and training needs one "
            "group more, held out for the threshold. Add images of other parts, or group them otherwise."
        )
    order = sorted(groups, key=lambda content: _shuffle_key(content, seed))
    if folds > 1:
        chosen = _fold_contents(order, groups, fold, folds)
    else:
        chosen = _validation_contents(order, groups, round(validation_fraction * len(samples)))
    train = tuple(sample for content in order if content not in chosen for sample in groups[content])
    validation = tuple(sample for content in order if content in chosen for sample in groups[content])
    folder = _common_folder(samples)
    hashes = {
        sample.path.relative_to(folder).as_posix(): hash_of[sample.path] for sample in train + validation
    }
    digest = _digest([hash_of[s.path] for s in train], [hash_of[s.path] for s in validation])
    number_of = {sample.path: number for number, name in enumerate(order) for sample in groups[name]}
    return Split(
        train,
        validation,
        dict(sorted(hashes.items())),
        digest,
        tuple(number_of[sample.path] for sample in train),
        tuple(number_of[sample.path] for sample in validation),
        found.found_by,
    )


def _validation_contents(order: list[str], groups: dict[str, list[Sample]], target: int) -> set[str]:
    """Takes whole groups in shuffled order while they fit; one group at least, one group left at least."""
    chosen: set[str] = set()
    room = max(1, target)
    for content in order:
        if len(groups[content]) <= room and len(chosen) < len(order) - 1:
            chosen.add(content)
            room -= len(groups[content])
    if not chosen:  # every content has more copies than there is room for
        chosen.add(min(order, key=lambda content: len(groups[content])))
    return chosen


def _fold_contents(order: list[str], groups: dict[str, list[Sample]], fold: int, folds: int) -> set[str]:
    """Deals whole groups in shuffled order, each to the part with the fewest samples; returns one part."""
    if len(order) < folds:
        raise DataError(
            f"{folds} folds need as many groups of good images; found {len(order)}. Give fewer folds."
        )
    parts: list[set[str]] = [set() for _ in range(folds)]
    counts = [0] * folds
    for content in order:
        emptiest = counts.index(min(counts))
        parts[emptiest].add(content)
        counts[emptiest] += len(groups[content])
    return parts[fold]


def _refuse_anomalous(samples: Sequence[Sample]) -> None:
    for sample in samples:
        if sample.is_anomalous:
            raise UsageError(f"Only good images are split; {sample.path} is of kind '{sample.kind}'.")


def _shuffle_key(content: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()


def _digest(train: list[str], validation: list[str]) -> str:
    sides = {"train": sorted(train), "validation": sorted(validation)}
    return hashlib.sha256(json.dumps(sides, sort_keys=True).encode()).hexdigest()


def _common_folder(samples: Sequence[Sample]) -> Path:
    return Path(os.path.commonpath([sample.path.parent for sample in samples]))


def _sha256(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Was it moved after opening?") from error
