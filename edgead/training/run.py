"""The run folder: what a training leaves behind, and all that later steps read of it.

run.json             settings, selection of channels, score rule, threshold, held-out figures, versions
split.json           which good images trained and which were held out, with their hashes
weights.safetensors  the trained network without its published backbone
history.jsonl        losses along the way
allocation.json      where limits were given: the network chosen within them, and its predicted cost
checkpoint.safetensors  only while a training is under way
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgead.bundle import ThresholdSpec
from edgead.datasets import Products, Sample
from edgead.errors import DataError, TrainingError
from edgead.files import lock_file, read_file, write_bytes, write_json
from edgead.learning.checkpoint import load_tensors, save_tensors
from edgead.models.backbones import backbone_spec, build_backbone
from edgead.models.config import ModelConfig
from edgead.models.families import build_network
from edgead.models.features.selection import FeatureSelection
from edgead.models.inspection import InspectionModel
from edgead.models.scoring.rule import ScoreRule
from edgead.records import json_from, parse_json, record_from
from edgead.synthesis.diffusion.sets import open_set
from edgead.training.migrations import SCHEMA_VERSION, current_allocation, current_run
from edgead.training.settings import TrainSettings
from edgead.version import __version__

RUN_FILE, SPLIT_FILE, WEIGHTS_FILE = "run.json", "split.json", "weights.safetensors"
HISTORY_FILE, CHECKPOINT_FILE = "history.jsonl", "checkpoint.safetensors"
ALLOCATION_FILE, FOLDS_FILE = "allocation.json", "folds.json"
LOCK_FILE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_EARLIER_ALLOCATION_FILE = "plan.json"  # of runs before schema 2
_UNGROUPED = {"found_by": "each image alone", "train": None, "validation": None}  # earlier versions
_FILES = (
    LOCK_FILE,
    RUN_FILE,
    SPLIT_FILE,
    WEIGHTS_FILE,
    CHECKPOINT_FILE,
    HISTORY_FILE,
    ALLOCATION_FILE,
    FOLDS_FILE,
    _EARLIER_ALLOCATION_FILE,
)


@dataclass(frozen=True)
class FoldScores:
    """Good images that other trainings than the run's held out: for each the product, the group, the score
    and the highest value of the map, by the training that did not see its group.
    """

    products: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    peaks: tuple[float, ...] = ()

    def __add__(self, other: FoldScores) -> FoldScores:
        return FoldScores(
            self.products + other.products,
            self.groups + other.groups,
            self.scores + other.scores,
            self.peaks + other.peaks,
        )


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json."""

    schema_version: int
    name: str
    family: str
    settings: TrainSettings
    selection: FeatureSelection
    rule: ScoreRule
    threshold: ThresholdSpec
    validation: Mapping[str, float | None]  # on held-out good images and synthetic anomalies on them
    hashes: Mapping[str, str]  # of the split, the weights, the backbone
    versions: Mapping[str, str]
    licences: Mapping[str, str]
    data_roots: tuple[str, ...]  # the folder of each product, in the order of training
    seconds: float

    def __post_init__(self) -> None:
        self.selection.check()


@dataclass(frozen=True)
class Run(RunRecord):
    """A finished training."""

    path: Path

    @property
    def config(self) -> ModelConfig:
        return self.settings.model

    @property
    def height(self) -> int:
        return self.config.input_height

    @property
    def width(self) -> int:
        return self.config.input_width

    @property
    def resize(self) -> str:
        """Name of the resize rule between the camera's size and the input's."""
        return "stretch-area"

    @property
    def allocation(self) -> dict[str, Any] | None:
        """The allocation that its network was chosen by, as JSON; None where no limits were given."""
        if (self.path / ALLOCATION_FILE).exists():
            found = _read_object(self.path / ALLOCATION_FILE).get("allocation")
        elif (self.path / _EARLIER_ALLOCATION_FILE).exists():
            found = current_allocation(_read_object(self.path / _EARLIER_ALLOCATION_FILE).get("plan"))
        else:
            return None
        return found if isinstance(found, dict) else None

    @property
    def grouping(self) -> dict[str, Any]:
        """How the good images were grouped and how many groups trained and were held out, as JSON.

        Empty figures for runs of versions without groups.
        """
        found = _read_object(self.path / SPLIT_FILE).get("groups")
        return found if isinstance(found, dict) else dict(_UNGROUPED)

    @property
    def fold_scores(self) -> FoldScores:
        """Those of the other folds; none for a run of one training. Raises DataError where they miss."""
        if self.settings.folds == 1:
            return FoldScores()
        content = _read_object(self.path / FOLDS_FILE)
        return record_from(FoldScores, content, origin=str(self.path / FOLDS_FILE), complete=True)

    def trained_facts(self) -> dict[str, str]:
        """What was trained on what, in words for a report."""
        settings = self.settings
        mix = ", ".join(f"{name} {weight:g}" for name, weight in settings.synthesis.items())
        return {
            **self.config.facts,
            "training": f"{settings.steps} steps of {settings.batch} images, seed {settings.seed}, "
            f"{self.seconds / 60:.1f} minutes",
            "synthetic anomalies": mix,
            "score": self.rule.text,
            "products": str(len(self.data_roots)),
            "data split": self.hashes["split"],
            "weights": self.hashes["weights"],
        }

    def chosen_by_facts(self) -> dict[str, str]:
        """Which images chose what, in words for a report."""
        return {
            "weights": "the last step; no checkpoint was selected",
            "channels": "synthetic anomalies on training images" if self.config.channels else "all are kept",
            "scales of the score": f"{self.threshold.good_images} good images held out of training",
            "threshold": f"{self.threshold.good_images} good images ({self.threshold.method})",
        }

    def model(self) -> InspectionModel:
        """Build the network with its trained weights. Raises TrainingError when they do not fit."""
        backbone = build_backbone(self.config.backbone, stages=self.config.stages)
        network = build_network(self.config, backbone, self.selection)
        tensors, _ = load_tensors(self.path / WEIGHTS_FILE)
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise TrainingError(
                f"{self.path / WEIGHTS_FILE} does not fit the network of {RUN_FILE}: {error}. The folder "
                "mixes files of different runs: copy it again or train again."
            ) from error
        return InspectionModel(network, self.rule)


def read_run(path: str | Path) -> Run:
    """Read a run folder. Raises DataError saying what is missing or of another version."""
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a run folder: there is no such folder. Make one with edgead train.")
    if not (folder / RUN_FILE).exists() and (folder / CHECKPOINT_FILE).exists():
        raise DataError(
            f"The training in {folder} has not ended. The same edgead train command goes on with it."
        )
    origin = str(folder / RUN_FILE)
    content = current_run(_read_object(folder / RUN_FILE), origin=origin)
    if "settings" in content:
        family = str(content.get("family"))
        content["settings"] = TrainSettings.from_json(content["settings"], family=family)
    return Run(**vars(record_from(RunRecord, content, origin=origin, complete=True)), path=folder)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        text = read_file(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}). A run folder has {RUN_FILE}, {SPLIT_FILE} and "
            f"{WEIGHTS_FILE}; make one with edgead train."
        ) from error
    content = parse_json(text, origin=str(path))
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object. Copy the run folder again or train again.")
    return content


def check_out(folder: Path) -> None:
    """Raise TrainingError unless a training may write to `folder`, or go on in it."""
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is a file; --out names a folder. Give another one.")
    if (folder / RUN_FILE).exists():
        raise TrainingError(
            f"{folder} already holds a finished run. Give another --out, or remove that folder first."
        )
    strange = [path.name for path in folder.iterdir() if not _is_ours(path)] if folder.is_dir() else []
    if strange:
        raise TrainingError(
            f"{folder} holds other things ({', '.join(sorted(strange)[:3])}). Give an empty or new --out."
        )


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Hold the folder for this training; TrainingError where another one, of whatever process, writes to it.

    The system lets go of it when the process ends, however it ends. A file system without locks has none.
    """
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise TrainingError(
            f"{folder}: a run cannot be written there ({error.strerror}). Give another --out."
        ) from error
    try:
        try:
            lock_file(descriptor)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise TrainingError(
                    f"{folder}: another training writes there now. Wait for it, or give another --out."
                ) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
                folder.rmdir()  # where the training left nothing
    finally:
        os.close(descriptor)


def write_run(
    folder: Path,
    model: InspectionModel,
    *,
    settings: TrainSettings,
    products: Products,
    threshold: ThresholdSpec,
    validation: Mapping[str, float | None],
    seconds: float,
    fold_scores: FoldScores | None = None,
) -> None:
    """Write the run's files, run.json last: a folder that has it is complete."""
    weights = folder / WEIGHTS_FILE
    save_tensors(weights, model.network.state_dict(), {"family": model.family})
    split = {
        "digest": products.digest,
        "hashes": products.hashes,
        "train": _file_names(products, products.train),
        "validation": _file_names(products, products.validation),
        "groups": products.grouping,
    }
    write_json(folder / SPLIT_FILE, split)
    if fold_scores is not None:
        write_json(folder / FOLDS_FILE, asdict(fold_scores))
    backbone = settings.model.backbone
    record = RunRecord(
        schema_version=SCHEMA_VERSION,
        name=products.name,
        family=model.family,
        settings=settings,
        selection=model.network.feature_selection,
        rule=model.rule,
        threshold=threshold,
        validation=validation,
        hashes={
            "split": products.digest,
            "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "backbone": model.backbone.weights_sha256 or "",
            **set_hashes(settings),
        },
        versions={
            "edgead": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        licences={"edgead": "Apache-2.0", f"backbone {backbone}": backbone_spec(backbone).source.licence},
        data_roots=products.roots,
        seconds=round(seconds, 1),
    )
    write_bytes(folder / RUN_FILE, json_from(record, origin=str(folder / RUN_FILE)))
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    for fold in range(1, settings.folds):
        shutil.rmtree(fold_folder(folder, fold), ignore_errors=True)
    for temporary in folder.glob(".*"):
        if _is_ours(temporary):
            temporary.unlink(missing_ok=True)


def set_hashes(settings: TrainSettings) -> dict[str, str]:
    """The hash of the set of synthetic anomalies, where the settings name one."""
    return {} if settings.anomaly_set is None else {"anomaly_set": open_set(settings.anomaly_set).digest}


def _file_names(products: Products, samples: Sequence[Sequence[Sample]]) -> list[str]:
    return sorted(products.file_name(k, sample) for k, own in enumerate(samples) for sample in own)


def fold_folder(folder: Path, fold: int) -> Path:
    """Where the training of a fold other than the first keeps its checkpoint until the run is written."""
    return folder / f"fold-{fold}"


def _is_ours(path: Path) -> bool:
    """A file of a run, the folder of a fold, or the unfinished temporary file that an interruption left."""
    if path.is_dir():
        return re.fullmatch(r"fold-\d+", path.name) is not None and all(map(_is_ours, path.iterdir()))
    return path.name in _FILES or path.name.startswith(tuple(f".{name}." for name in _FILES))
