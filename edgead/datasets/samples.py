"""What every layout is read to: samples, and the data set of one product."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgead.picture_files import UNUSED, describe_left_out, why_no_picture

GOOD = "good"
_NAMES_OF_GOOD = frozenset({GOOD, "ok", "normal"})


def is_good_name(folder: str) -> bool:
    """Whether a folder of this name holds good parts: good, OK, normal, in any case of letters."""
    return folder.casefold() in _NAMES_OF_GOOD


@dataclass(frozen=True)
class Sample:
    """One image file; `kind` is "good" or the name of the defect, `mask_path` where the defect is drawn.

    `mask_path` is what `edgead.datasets.masks.read_mask` reads: a picture, a folder of pictures that count
    together, or a text file of boxes; `has_class_numbers` says that any value above 0 in it is a defect.
    `part` names the part that the image shows where several views show the same one.
    """

    path: Path
    kind: str = GOOD
    mask_path: Path | None = None
    has_class_numbers: bool = False
    part: str | None = None

    @property
    def is_anomalous(self) -> bool:
        return self.kind != GOOD


@dataclass(frozen=True)
class ImageDataset:
    """The samples of one product: good ones to train on, and test samples if the folder has any.

    `validation` holds good images that the authors set apart; training holds its own images out and leaves
    these alone.
    """

    name: str
    root: Path
    layout: str  # "folder", "mvtec", or the name of another of edgead.datasets.layouts
    train: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()
    ignored: tuple[Path, ...] = ()  # files that are no images, masks without an image, folders beside good/
    validation: tuple[Sample, ...] = ()

    @property
    def ignored_in_words(self) -> str:
        """What of the folder was left out and why, in a sentence; empty where nothing was."""
        reasons = [(path, why_no_picture(path) or UNUSED) for path in self.ignored]
        return describe_left_out(reasons, self.root)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the test samples, "good" first."""
        found = {sample.kind for sample in self.test}
        return tuple(sorted(found, key=lambda kind: (kind != GOOD, kind)))
