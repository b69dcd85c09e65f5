"""The training of a network of any family, in order of work: features, selection, statistics, steps."""

from __future__ import annotations

import copy
import functools
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from edgead.errors import TrainingError
from edgead.files import write_bytes
from edgead.learning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from edgead.learning.distributed import average_gradients, same_for_all, take_from_first
from edgead.learning.pace import TIMED_STEPS, Pace
from edgead.learning.process import bfloat16_pays, keep_large_blocks, on_device, one_core_for_workers
from edgead.learning.progress import OnProgress, Progress
from edgead.models.backbones import build_backbone
from edgead.models.families import build_network, unmeasured_selection
from edgead.models.features.selection import ChannelScorer, FeatureSelection, random_channels
from edgead.models.folding import fold_backbone
from edgead.models.network import FeatureBatch, InspectionNetwork
from edgead.training.batches import (
    Batch,
    BatchStream,
    Draw,
    Synthesizers,
    good_batches,
    make_synthesizer,
)
from edgead.training.data import Images
from edgead.training.features import FeatureExtractor, GoodFeatures
from edgead.training.run import CHECKPOINT_FILE, HISTORY_FILE
from edgead.training.settings import TrainSettings

SELECTING, TRAINING = 1, 0  # purposes of random draws, so that no two share their numbers
_STATISTICS_IMAGES = 4096  # at most; beyond it statistics are those of a draw of images


class Trainer:
    """One training in one process; `rank` and `world` say which of how many.

    After a kill, the same settings on the same images go on from the last checkpoint and end with the same
    weights: batches depend on the seed and the step alone.
    """

    def __init__(
        self,
        settings: TrainSettings,
        images: Images,
        *,
        counts: tuple[int, ...] | None = None,
        folder: Path,
        device: torch.device,
        identity: str,
        minutes: float | None = None,
        on_progress: OnProgress | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`images` are the good ones that train, uint8 N H W 3; `identity` names settings and data.

        `counts`: of the images of each product, which lie one after the other; without it there is one
        product. With `minutes` the steps are as many as fit into that time, whatever the settings say.
        """
        self.settings, self.folder, self.device, self.identity = settings, folder, device, identity
        self.rank, self.world = rank, world
        self._tell = on_progress or (lambda _progress: None)
        self.images = images
        self.counts = counts or (len(images),)
        self.draw = Draw(self.counts, balanced=settings.balanced)
        # Folded: the same numbers in four fifths of the time, which the backbone takes half of.
        self.backbone = fold_backbone(build_backbone(settings.model.backbone, stages=settings.model.stages))
        self.reduced = bfloat16_pays(device)
        self.extractor = FeatureExtractor(self.backbone, device, reduced=self.reduced)
        self.half = settings.batch // 2
        self.steps = settings.steps
        self._minutes, self._started = minutes, 0.0

    @functools.cached_property
    def synthesizer(self) -> Synthesizers:
        return make_synthesizer(self.settings, self.images, self.counts)

    def train(self) -> InspectionNetwork:
        """Run all steps that are left and return the trained network, on the CPU."""
        keep_large_blocks()
        with one_core_for_workers():
            return self._train()

    def _train(self) -> InspectionNetwork:
        settings = self.settings
        self._started = time.monotonic()
        self._tell(Progress("features", 0, len(self.images), {}))
        good = GoodFeatures(self.images, self.extractor, cache_bytes=settings.cache_gigabytes * 1e9)
        found = self._last_checkpoint()
        torch.manual_seed(settings.seed)
        selection = FeatureSelection.from_json(found.facts["selection"]) if found else self._select(good)
        network = on_device(build_network(settings.model, self.backbone, selection), self.device)
        optimizer = network.optimisation.optimizer(network.parameters(), settings.learning_rate)
        first = self._restore(found, network, optimizer) if found else self._fit_statistics(network, good)
        take_from_first(network, self.world)
        if found:
            self._tell(Progress("resuming", first, self.steps, {}))
        elif self._minutes is not None:
            self._fit_steps(self._minutes, network, optimizer, good)
        self._steps(network, optimizer, good, first)
        take_from_first(network, self.world)
        return network.cpu().eval()

    def _select(self, good: GoodFeatures) -> FeatureSelection:
        infos, channels = self.backbone.feature_info, self.settings.model.channels
        if not channels or self.settings.selection == "first":
            return unmeasured_selection(self.settings.model, self.backbone)
        if self.settings.selection == "random":
            return random_channels(infos, channels, seed=self.settings.seed)
        scorer = ChannelScorer(infos)
        total = self.settings.selection_batches
        for number, batch in enumerate(self._stream(SELECTING, rank=0).batches(0, total)):
            scorer.add(good(batch.origins), self.extractor(batch.anomalous), batch.masks)
            self._tell(Progress("selection", number + 1, total, {}))
        return scorer.select(channels)

    def _fit_statistics(self, network: InspectionNetwork, good: GoodFeatures) -> int:
        """Fit what comes from good images without gradients; returns the first step."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        numbers = torch.randperm(len(self.images), generator=generator)[:_STATISTICS_IMAGES].tolist()
        network.fit_good(list(good.chunks(numbers)), generator)
        return 0

    def _fit_steps(
        self, minutes: float, network: InspectionNetwork, optimizer: Optimizer, good: GoodFeatures
    ) -> None:
        """Decide, once for this training, how many steps fit; kept by a checkpoint before the first step.

        The steps that are timed are undone: what they cost is paid for by weights that depend on the number
        of steps alone, whether it was given or found.
        """
        before = copy.deepcopy(network.state_dict())
        network.train()
        pace = Pace(minutes * 60 - (time.monotonic() - self._started))
        for step, batch in enumerate(self._batches(network, 0, TIMED_STEPS)):
            _set_rate(optimizer, 0.0)
            self._step(network, optimizer, good, batch)
            pace.add_step()
            self._tell(Progress("timing", step + 1, TIMED_STEPS, {}))
            if same_for_all(pace.is_known, self.world, self.device):
                break
        network.load_state_dict(before)
        optimizer.state.clear()
        self.steps = same_for_all(pace.steps_that_fit(), self.world, self.device)
        self._save(network, optimizer, 0, [])

    def _steps(
        self, network: InspectionNetwork, optimizer: Optimizer, good: GoodFeatures, first: int
    ) -> None:
        settings = self.settings
        network.train()
        history: list[dict[str, Any]] = []
        for step, batch in enumerate(self._batches(network, first, self.steps), start=first):
            _set_rate(optimizer, settings.learning_rate * network.optimisation.rate(step, self.steps))
            losses = self._step(network, optimizer, good, batch)
            history.append({"step": step + 1, **losses})
            self._tell(Progress("training", step + 1, self.steps, losses))
            if (step + 1) % settings.checkpoint_steps == 0 and step + 1 < self.steps:
                self._save(network, optimizer, step + 1, history)
        self._write_history(history, first)

    def _batches(self, network: InspectionNetwork, first: int, end: int) -> Iterator[Batch]:
        if network.learns_from_anomalies:
            return self._stream(TRAINING, rank=self.rank).batches(first, end)
        size, seed = self.settings.batch, self.settings.seed
        return good_batches(self.draw, first, end, size=size, seed=seed, rank=self.rank)

    def _stream(self, purpose: int, *, rank: int) -> BatchStream:
        return BatchStream(
            self.synthesizer, half=self.half, seed=self.settings.seed, purpose=purpose, rank=rank,
            draw=self.draw,
        )  # fmt: skip

    def _step(
        self, network: InspectionNetwork, optimizer: Optimizer, good: GoodFeatures, batch: Batch
    ) -> dict[str, float]:
        features = self._features(good, batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced):
            output = network(features.inputs)
        losses = network.losses(output, features)
        total = network.optimisation.total(losses)
        if not bool(total.isfinite()):
            values = ", ".join(f"{name} {float(value.detach()):.3g}" for name, value in losses.items())
            raise TrainingError(
                f"The loss is not finite ({values}). The last checkpoint in {self.folder} is kept; "
                f"train again with a lower --learning-rate than {self.settings.learning_rate:g}."
            )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        average_gradients(network.parameters(), self.world)
        if network.optimisation.clip is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), network.optimisation.clip)
        optimizer.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _features(self, good: GoodFeatures, batch: Batch) -> FeatureBatch:
        targets = good(torch.cat((batch.origins, batch.good)))
        if not len(batch.origins):
            return FeatureBatch(targets, targets, None)
        anomalous = self.extractor(batch.anomalous)
        inputs = [torch.cat((a, t[self.half :])) for a, t in zip(anomalous, targets, strict=True)]
        masks = torch.cat((batch.masks, torch.zeros_like(batch.masks))).to(self.device)
        return FeatureBatch(inputs, targets, masks)

    def _last_checkpoint(self) -> Checkpoint | None:
        path = self.folder / CHECKPOINT_FILE
        if not path.exists():
            return None
        found = load_checkpoint(path)
        if found.facts["identity"] != self.identity:
            raise TrainingError(
                f"{path} is of a training with other settings or other images. Give another --out, or remove "
                "that file to begin again."
            )
        return found

    def _restore(self, found: Checkpoint, network: InspectionNetwork, optimizer: Optimizer) -> int:
        network.load_state_dict(_part(found.tensors, "network."))
        restore_optimizer(optimizer, _part(found.tensors, "optimizer."))
        self.steps = int(found.facts["steps"])
        return found.step

    def _save(
        self,
        network: InspectionNetwork,
        optimizer: Optimizer,
        step: int,
        history: list[dict[str, Any]],
    ) -> None:
        if self.rank:
            return
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(optimizer).items()}
        selection = network.feature_selection.to_json()
        facts = {"identity": self.identity, "selection": selection, "steps": self.steps}
        save_checkpoint(self.folder / CHECKPOINT_FILE, Checkpoint(step, tensors, facts))
        self._write_history(history, step - len(history))

    def _write_history(self, history: list[dict[str, Any]], first: int) -> None:
        if self.rank:
            return
        path = self.folder / HISTORY_FILE
        kept = path.read_text(encoding="utf-8").splitlines()[:first] if path.exists() and first else []
        lines = kept + [json.dumps(entry) for entry in history]
        write_bytes(path, ("\n".join(lines) + "\n").encode())


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
