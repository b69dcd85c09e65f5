"""The folder that a fit leaves, and what is drawn from it.

model.json           size, network, schedule, products, settings, what it was fitted on, hash of the weights
weights.safetensors  the mean weights
history.jsonl        losses along the way
checkpoint.safetensors  only while a fit is under way
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgead.errors import DataError, TrainingError, UnknownNameError, UsageError
from edgead.files import file_hash, write_json
from edgead.learning.checkpoint import load_tensors, save_tensors
from edgead.learning.process import bfloat16_pays, on_device
from edgead.records import read_json, record_from
from edgead.synthesis.diffusion.network import DenoisingNetwork, NetworkConfig
from edgead.synthesis.diffusion.process import make_process
from edgead.synthesis.diffusion.sampler import NoiseStream, draw_images
from edgead.version import __version__

__all__ = ["DiffusionModel", "ModelFacts", "read_model"]

SCHEMA_VERSION = 1
MODEL_FILE, WEIGHTS_FILE = "model.json", "weights.safetensors"
CHECKPOINT_FILE, HISTORY_FILE = "checkpoint.safetensors", "history.jsonl"

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ModelFacts:
    """What model.json says."""

    size: str
    network: NetworkConfig
    schedule: str
    products: tuple[str, ...]
    settings: Mapping[str, Any]
    images_digest: str
    data_roots: tuple[str, ...]
    seconds: float
    device: str


@dataclass(frozen=True)
class ModelFile(ModelFacts):
    """model.json."""

    weights_sha256: str
    versions: Mapping[str, str]
    schema_version: int = SCHEMA_VERSION


class DiffusionModel:
    """A fitted model, ready to draw images on its device."""

    def __init__(
        self, facts: ModelFacts, network: DenoisingNetwork, *, digest: str, device: torch.device
    ) -> None:
        self.facts, self.digest, self.device = facts, digest, device
        self.network = on_device(network, device).eval()
        self.process = make_process(facts.schedule)
        self._reduced = bfloat16_pays(device)

    def product_number(self, name: str | None) -> int:
        """Position of a product; None means the only one. Raises UsageError, UnknownNameError."""
        if name is None:
            if len(self.facts.products) > 1:
                raise UsageError(
                    f"The model knows {', '.join(self.facts.products)}: say which with --product."
                )
            return 0
        if name not in self.facts.products:
            raise UnknownNameError("product of the model", name, self.facts.products)
        return self.facts.products.index(name)

    def draw(
        self,
        seeds: Sequence[int],
        strengths: Sequence[float],
        *,
        product: int = 0,
        steps: int = 20,
        sampler: str = "ancestral",
    ) -> Images:
        """One image per seed, uint8 B H W 3. Raises UsageError for settings that cannot be meant."""
        noise = NoiseStream(seeds, self.facts.network.shape_chw, device=self.device)
        products = torch.full((len(seeds),), product, dtype=torch.int64, device=self.device)

        def denoiser(x_t: Tensor, timesteps: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._reduced):
                answer: Tensor = self.network(x_t, timesteps, products)
            return answer

        drawn = draw_images(
            denoiser, self.process.respaced(steps), noise, strength=torch.tensor(strengths), sampler=sampler
        )
        if not bool(drawn.isfinite().all()):
            raise TrainingError("The model drew values that are not finite: its fit diverged. Fit it again.")
        pixels = ((drawn + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()
        return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()


def write_model(folder: Path, facts: ModelFacts, mean: Mapping[str, Tensor]) -> None:
    """Write the files of a model, model.json last: a folder that has it is complete."""
    weights = folder / WEIGHTS_FILE
    save_tensors(weights, mean, {"kind": "diffusion"})
    versions = {"edgead": __version__, "torch": str(torch.__version__)}
    file = ModelFile(**vars(facts), weights_sha256=file_hash(weights), versions=versions)
    write_json(folder / MODEL_FILE, asdict(file))
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def read_model(path: str | Path, *, device: torch.device | None = None) -> DiffusionModel:
    """Read a model folder. Raises DataError where it is missing, unfinished or damaged."""
    folder = Path(path)
    facts = read_facts(folder)
    weights = folder / WEIGHTS_FILE
    tensors, _ = load_tensors(weights)
    if file_hash(weights) != facts.weights_sha256:
        raise DataError(f"{weights} is not the file that {MODEL_FILE} names. Copy the whole folder again.")
    network = DenoisingNetwork(facts.network)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(f"{weights} does not fit the network of {MODEL_FILE}: {error}. Fit again.") from error
    return DiffusionModel(facts, network, digest=facts.weights_sha256, device=device or torch.device("cpu"))


def read_facts(folder: Path) -> ModelFile:
    """What model.json says. Raises DataError."""
    path = folder / MODEL_FILE
    if not path.exists() and (folder / CHECKPOINT_FILE).exists():
        raise DataError(f"The fit in {folder} has not ended. The same edgead synthesize fit goes on with it.")
    content = read_json(path, what="model of diffusion", advice="Make one with edgead synthesize fit.")
    version = content.get("schema_version") if isinstance(content, Mapping) else SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {version!r}, this edgead reads {SCHEMA_VERSION}. Fit again or use "
            "the version that wrote it."
        )
    return record_from(ModelFile, content, origin=str(path), complete=True, advice="Fit again.")


def check_out(folder: Path) -> None:
    """Raises TrainingError unless a fit may write into `folder`: new, empty, or of an unfinished fit."""
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is a file; --out names a folder. Give another one.")
    if (folder / MODEL_FILE).exists():
        raise TrainingError(
            f"{folder} already holds a finished model. Give another --out, or remove it first."
        )
    ours = (WEIGHTS_FILE, CHECKPOINT_FILE, HISTORY_FILE)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    strange = [
        name for name in names if name not in ours and not name.startswith(tuple(f".{o}." for o in ours))
    ]
    if strange:
        raise TrainingError(
            f"{folder} holds other things ({', '.join(sorted(strange)[:3])}). Give an empty or new --out."
        )
