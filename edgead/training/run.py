"""The run folder: what a training leaves behind, and all that later steps read of it.

run.json             settings, selection of channels, score rule, threshold, held-out figures, versions
split.json           which good images trained and which were held out, with their hashes
weights.safetensors  the trained network without its published backbone
history.jsonl        losses along the way
plan.json            where a budget was given: the network chosen for it, and what that is predicted to cost
checkpoint.safetensors  only while a training is under way
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead.bundle import ThresholdSpec
from edgead.errors import DataError, TrainingError
from edgead.learning.checkpoint import load_tensors
from edgead.models.backbones import build_backbone
from edgead.models.config import ModelConfig
from edgead.models.families import build_network
from edgead.models.features.selection import FeatureSelection
from edgead.models.inspection import InspectionModel
from edgead.models.scoring.rule import ScoreRule
from edgead.training.settings import TrainSettings

SCHEMA_VERSION = 1
RUN_FILE, SPLIT_FILE, WEIGHTS_FILE = "run.json", "split.json", "weights.safetensors"
HISTORY_FILE, CHECKPOINT_FILE = "history.jsonl", "checkpoint.safetensors"
PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Run:
    """A finished training."""

    path: Path
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
    def plan(self) -> dict[str, Any] | None:
        """The plan that its network was chosen by, as JSON; None where no budget was given."""
        if not (self.path / PLAN_FILE).exists():
            return None
        plan = _read_json(self.path / PLAN_FILE).get("plan")
        return plan if isinstance(plan, dict) else None

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


def _roots(content: Any) -> tuple[str, ...]:
    """One folder as text, several as a list of them."""
    return (content,) if isinstance(content, str) else tuple(str(root) for root in content)


def read_split(path: Path) -> dict[str, Any]:
    """The split of a run: `train` and `validation`, lists of file names below the data's root, and hashes."""
    return _read_json(path / SPLIT_FILE)


def read_run(path: str | Path) -> Run:
    """Read a run folder. Raises DataError saying what is missing or of another version."""
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a run folder: there is no such folder. Make one with edgead train.")
    if not (folder / RUN_FILE).exists() and (folder / CHECKPOINT_FILE).exists():
        raise DataError(
            f"The training in {folder} has not ended. The same edgead train command goes on with it."
        )
    content = _read_json(folder / RUN_FILE)
    if content.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"{folder / RUN_FILE} has schema version {content.get('schema_version')!r}, this edgead reads "
            f"{SCHEMA_VERSION}. Train again or use the version that wrote it."
        )
    try:
        return Run(
            path=folder,
            name=str(content["name"]),
            family=str(content["family"]),
            settings=TrainSettings.from_json(content["settings"], family=str(content["family"])),
            selection=FeatureSelection.from_json(content["selection"]),
            rule=ScoreRule.from_json(content["rule"]),
            threshold=ThresholdSpec(**content["threshold"]),
            validation=dict(content["validation"]),
            hashes=dict(content["hashes"]),
            versions=dict(content["versions"]),
            licences=dict(content["licences"]),
            data_roots=_roots(content["data_root"]),
            seconds=float(content["seconds"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder / RUN_FILE} is damaged ({type(error).__name__}: {error}). Copy it again or train again."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}). A run folder has {RUN_FILE}, {SPLIT_FILE} and "
            f"{WEIGHTS_FILE}; make one with edgead train."
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}). Copy the run folder again or train again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object. Copy the run folder again or train again.")
    return content
