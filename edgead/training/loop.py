"""The training of a network of any family, in order of work: features, selection, statistics, steps."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from edgead.errors import TrainingError
from edgead.learning.checkpoint import (
    Checkpoint,
    last_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    write_history,
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
from edgead.training.augmentation import Augmentation, augmented
from edgead.training.batches import Batch, BatchStream, Draw, Synthesizers, good_batches, make_synthesizer
from edgead.training.data import Images
from edgead.training.features import FeatureExtractor, GoodFeatures
from edgead.training.run import CHECKPOINT_FILE, HISTORY_FILE
from edgead.training.settings import TrainSettings

SELECTING, TRAINING = 1, 0  # purposes of random draws, so that no two share their numbers
_STATISTICS_IMAGES = 4096  # at most; beyond it statistics are those of a random draw of images


class Trainer:
    """One training in one process; `rank` and `world` say which of how many.

    After an interruption, the same settings on the same images go on from the last checkpoint and end with
    the same weights: batches depend on the seed and the step alone.
    """

    good: GoodFeatures
    network: InspectionNetwork
    optimizer: Optimizer

    def __init__(
        self,
        settings: TrainSettings,
        images: Images,
        *,
        counts: tuple[int, ...] | None = None,
        augmentation: Augmentation | None = None,
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
        product. Copies changed by `augmentation` train beside them. With `minutes` the steps are as many as
        fit into that time, whatever the settings say.
        """
        self.settings, self.folder, self.device, self.identity = settings, folder, device, identity
        self.rank, self.world = rank, world
        self._report = on_progress or (lambda _progress: None)
        self.originals = images
        self.augmentation = augmentation or Augmentation()
        self.images, self.counts = augmented(
            images, counts or (len(images),), self.augmentation, seed=settings.seed
        )
        self.draw = Draw(self.counts, balanced=settings.balanced)
        # Folded: the same numbers in four fifths of the time, which the backbone takes half of.
        self.backbone = fold_backbone(build_backbone(settings.model.backbone, stages=settings.model.stages))
        self.reduced = bfloat16_pays(device)
        self.extractor = FeatureExtractor(self.backbone, device, reduced=self.reduced)
        self.steps = settings.steps
        self._minutes = minutes

    def train(self) -> InspectionNetwork:
        """Run all steps that are left and return the trained network, on the CPU."""
        keep_large_blocks()
        with one_core_for_workers():
            return self._train()

    def keep(self) -> None:
        """Save the finished training as a checkpoint: its run is not written before other trainings end."""
        self._save(self.steps, [])

    def _train(self) -> InspectionNetwork:
        started = time.monotonic()
        self._report(Progress("features", 0, len(self.images), {}))
        cache_bytes = self.settings.cache_gigabytes * 1e9
        self.good = GoodFeatures(self.images, self.extractor, cache_bytes=cache_bytes)
        found = last_checkpoint(self.folder / CHECKPOINT_FILE, identity=self.identity)
        torch.manual_seed(self.settings.seed)
        selection = FeatureSelection.from_json(found.facts["selection"]) if found else self._select()
        network = build_network(self.settings.model, self.backbone, selection)
        self.network = on_device(network, self.device)
        learning_rate = self.settings.learning_rate
        self.optimizer = self.network.optimisation.optimizer(self.network.parameters(), learning_rate)
        if found:
            self._restore(found)
        else:
            self._fit_statistics()
        take_from_first(self.network, self.world)
        if not found and self._minutes is not None:
            self._fit_steps(self._minutes * 60 - (time.monotonic() - started))
        self._run_steps(found.step if found else 0)
        take_from_first(self.network, self.world)
        return self.network.cpu().eval()

    def _select(self) -> FeatureSelection:
        infos, channels = self.backbone.feature_info, self.settings.model.channels
        if not channels or self.settings.selection == "first":
            return unmeasured_selection(self.settings.model, self.backbone)
        if self.settings.selection == "random":
            return random_channels(infos, channels, seed=self.settings.seed)
        scorer = ChannelScorer(infos)
        total = self.settings.selection_batches
        for number, batch in enumerate(self._stream(SELECTING, rank=0).batches(0, total)):
            scorer.add(self.good(batch.origins), self.extractor(batch.anomalous), batch.masks)
            self._report(Progress("selection", number + 1, total, {}))
        return scorer.select(channels)

    def _fit_statistics(self) -> None:
        """Fit what comes from good images without gradients."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        numbers = torch.randperm(len(self.images), generator=generator)[:_STATISTICS_IMAGES].tolist()
        self.network.fit_good(list(self.good.chunks(numbers)), generator)

    def _fit_steps(self, seconds: float) -> None:
        """Decide, once for this training, how many steps fit; kept by a checkpoint before the first step.

        The steps that are timed are undone: what they cost is paid for by weights that depend on the number
        of steps alone, whether it was given or found.
        """
        before = copy.deepcopy(self.network.state_dict())
        self.network.train()
        pace = Pace(seconds)
        for step, batch in enumerate(self._batches(0, TIMED_STEPS)):
            self._step(batch, rate=0.0)
            pace.add_step()
            self._report(Progress("timing", step + 1, TIMED_STEPS, {}))
            if same_for_all(pace.is_known, self.world, self.device):
                break
        self.network.load_state_dict(before)
        self.optimizer.state.clear()
        self.steps = same_for_all(pace.steps_that_fit(), self.world, self.device)
        self._save(0, [])

    def _run_steps(self, first: int) -> None:
        self.network.train()
        history: list[dict[str, Any]] = []
        for step, batch in enumerate(self._batches(first, self.steps), start=first):
            losses = self._step(batch, rate=self.network.optimisation.rate(step, self.steps))
            history.append({"step": step + 1, **losses})
            self._report(Progress("training", step + 1, self.steps, losses))
            if (step + 1) % self.settings.checkpoint_steps == 0 and step + 1 < self.steps:
                self._save(step + 1, history)
        if not self.rank:
            write_history(self.folder / HISTORY_FILE, history, first=first)

    def _batches(self, first: int, end: int) -> Iterator[Batch]:
        if self.network.learns_from_anomalies:
            return self._stream(TRAINING, rank=self.rank).batches(first, end)
        size, seed = self.settings.batch, self.settings.seed
        return good_batches(self.draw, first, end, size=size, seed=seed, rank=self.rank)

    def _stream(self, purpose: int, *, rank: int) -> BatchStream:
        half, seed = self.settings.batch // 2, self.settings.seed
        return BatchStream(self.synthesizer, half=half, seed=seed, purpose=purpose, rank=rank, draw=self.draw)

    @functools.cached_property
    def synthesizer(self) -> Synthesizers:
        return make_synthesizer(self.settings, self.images, self.counts)

    def _step(self, batch: Batch, *, rate: float) -> dict[str, float]:
        """One step; `rate` is the share of the learning rate."""
        network, optimisation = self.network, self.network.optimisation
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rate
        features = self._features(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced):
            output = network(features.inputs)
        losses = network.losses(output, features)
        total = optimisation.total(losses)
        if not bool(total.isfinite()):
            values = ", ".join(f"{name} {float(value.detach()):.3g}" for name, value in losses.items())
            raise TrainingError(
                f"The loss is not finite ({values}). The last checkpoint in {self.folder} is kept; "
                f"train again with a lower --learning-rate than {self.settings.learning_rate:g}."
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        average_gradients(network.parameters(), self.world)
        if optimisation.clip is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), optimisation.clip)
        self.optimizer.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _features(self, batch: Batch) -> FeatureBatch:
        targets = self.good(torch.cat((batch.origins, batch.good)))
        count = len(batch.origins)
        if not count:
            return FeatureBatch(targets, targets, None, self.settings.top_share)
        anomalous = self.extractor(batch.anomalous)
        inputs = [torch.cat((a, t[count:])) for a, t in zip(anomalous, targets, strict=True)]
        masks = torch.cat((batch.masks, torch.zeros_like(batch.masks))).to(self.device)
        return FeatureBatch(inputs, targets, masks, self.settings.top_share)

    def _restore(self, found: Checkpoint) -> None:
        self.network.load_state_dict(found.part("network"))
        restore_optimizer(self.optimizer, found.part("optimizer"))
        self.steps = int(found.facts["steps"])
        self._report(Progress("resuming", found.step, self.steps, {}))

    def _save(self, step: int, history: list[dict[str, Any]]) -> None:
        if self.rank:
            return
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        selection = self.network.feature_selection.to_json()
        facts = {"identity": self.identity, "selection": selection, "steps": self.steps}
        save_checkpoint(self.folder / CHECKPOINT_FILE, Checkpoint(step, tensors, facts))
        write_history(self.folder / HISTORY_FILE, history, first=step - len(history))
