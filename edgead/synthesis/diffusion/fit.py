"""Learning the diffusion model of good parts: steps, mean weights, checkpoints, several processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgead.errors import TrainingError, UsageError
from edgead.learning.checkpoint import (
    Checkpoint,
    last_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    write_history,
)
from edgead.learning.distributed import (
    average_gradients,
    device_for_rank,
    process_group,
    same_for_all,
    take_from_first,
)
from edgead.learning.pace import TIMED_STEPS, Pace
from edgead.learning.process import bfloat16_pays, keep_large_blocks, on_device
from edgead.learning.progress import OnProgress, Progress
from edgead.synthesis.diffusion.images import GoodImages
from edgead.synthesis.diffusion.model import CHECKPOINT_FILE, HISTORY_FILE, ModelFacts, check_out, write_model
from edgead.synthesis.diffusion.network import DenoisingNetwork, NetworkConfig
from edgead.synthesis.diffusion.process import make_process

__all__ = ["DEFAULTS", "FitSettings", "fit"]

_WARM_UP_STEPS = 100
_LAST_RATE = 0.02  # of the learning rate, where the cosine ends
_LONGEST_GRADIENT = 1.0  # published
_MEAN_DECAY = 0.9999  # published; at step n at most (1 + n) / (10 + n), for short fits


@dataclass(frozen=True)
class FitSettings:
    """One fit. Equal settings on equal images and machines give equal weights."""

    network: NetworkConfig
    steps: int
    batch: int  # images a step, over all processes
    learning_rate: float
    seed: int = 0
    schedule: str = "linear"
    checkpoint_steps: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not (math.isfinite(self.learning_rate) and 0 < self.learning_rate <= 1):
            raise UsageError(f"learning_rate must lie between 0 and 1, not {self.learning_rate}.")
        make_process(self.schedule)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# Of each size: steps, batch, learning rate. The published ones: 20 images over four GPUs, three batches
# summed.
DEFAULTS: Mapping[str, tuple[int, int, float]] = {
    "small": (3000, 8, 1e-3),
    "standard": (6000, 32, 3e-4),
    "published": (200_000, 60, 1e-4),
}


def fit(
    images: GoodImages,
    out: str | Path,
    *,
    settings: FitSettings,
    size: str,
    minutes: float | None = None,
    on_progress: OnProgress | None = None,
) -> Path | None:
    """Learn from good images and write the model folder `out`; goes on where a killed fit stopped.

    `minutes` decides the number of steps by timing the first ones. Returns the folder, or None in processes
    of torchrun other than the first. Raises TrainingError for a loss that is not finite (the last checkpoint
    stays), for memory that is too small (naming the batch that fits) and for an `out` of something else.
    """
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise UsageError(f"minutes must be a finite number above 0, not {minutes}.")
    folder = Path(out)
    check_out(folder)
    wanted = settings.to_json() | ({} if minutes is None else {"steps": f"{minutes:g} minutes"})
    text = json.dumps({"settings": wanted, "images": images.digest}, sort_keys=True)
    with process_group() as (rank, world):
        fitter = _Fitter(
            images,
            settings,
            folder=folder,
            identity=hashlib.sha256(text.encode()).hexdigest(),
            minutes=minutes,
            report=on_progress if on_progress and rank == 0 else lambda _progress: None,
            rank=rank,
            world=world,
        )
        folder.mkdir(parents=True, exist_ok=True)
        keep_large_blocks()
        fitter.run()
    if rank:
        return None
    facts = ModelFacts(
        size=size,
        network=settings.network,
        schedule=settings.schedule,
        products=images.products,
        settings={**settings.to_json(), "steps": fitter.steps},
        images_digest=images.digest,
        data_roots=images.roots,
        seconds=round(fitter.seconds, 1),
        device=str(fitter.device),
    )
    write_model(folder, facts, fitter.mean)
    return folder


class _Fitter:
    """One fit in one process; batches depend on the seed, the process and the step alone."""

    def __init__(
        self,
        images: GoodImages,
        settings: FitSettings,
        *,
        folder: Path,
        identity: str,
        minutes: float | None,
        report: Callable[[Progress], None],
        rank: int,
        world: int,
    ) -> None:
        self.images, self.settings, self.folder, self.identity = images, settings, folder, identity
        self.rank, self.world, self.report, self.minutes = rank, world, report, minutes
        self.device = device_for_rank(rank)
        self.reduced = bfloat16_pays(self.device)
        self.process = make_process(settings.schedule)
        self.batch = max(1, settings.batch // world)
        self.steps = settings.steps
        self._started = time.monotonic()
        self._earlier = 0.0  # seconds before the checkpoint that this fit went on from
        torch.manual_seed(settings.seed)
        self.network = on_device(DenoisingNetwork(settings.network), self.device)
        if self.network.start is not None:
            self.network.start.cpu().fit(*images.batch(np.arange(len(images))), self.process)
            self.network.start.to(self.device)
        self.mean = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.network.parameters(), settings.learning_rate)

    @property
    def seconds(self) -> float:
        """What this fit has taken, together with the runs that it went on from."""
        return self._earlier + time.monotonic() - self._started

    def run(self) -> None:
        """All steps that are left."""
        first = self._resumed()
        take_from_first(self.network, self.world)
        self.network.train()
        with self._memory_explained():
            if first is None:
                first = 0
                if self.minutes is not None:
                    self._fit_steps(self.minutes)
            history: list[dict[str, Any]] = []
            for step in range(first, self.steps):
                losses = self._step(step, _rate(step, self.steps))
                self._follow(step)
                history.append({"step": step + 1, **losses})
                self.report(Progress("fitting", step + 1, self.steps, losses))
                if (step + 1) % self.settings.checkpoint_steps == 0 or step + 1 == self.steps:
                    self._save(step + 1, history)

    def _fit_steps(self, minutes: float) -> None:
        """Decide how many steps fit; those that are timed learn nothing (rate 0) and are undone."""
        before = {name: value.clone() for name, value in self.network.state_dict().items()}
        pace = Pace(minutes * 60)
        for step in range(TIMED_STEPS):
            self._step(step, 0.0)
            pace.add_step()
            self.report(Progress("timing", step + 1, TIMED_STEPS, {}))
            if same_for_all(pace.is_known, self.world, self.device):
                break
        self.network.load_state_dict(before)
        self.optimizer.state.clear()
        self.steps = same_for_all(pace.steps_that_fit(), self.world, self.device)
        self._save(0, [])

    def _step(self, step: int, rate: float) -> dict[str, float]:
        rng = np.random.default_rng([self.settings.seed, self.rank, step])
        image, products = self.images.batch(rng.integers(len(self.images), size=self.batch))
        steps = torch.from_numpy(rng.integers(len(self.process), size=self.batch))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(image.shape, generator=generator)
        losses = self._losses(image, products, steps, noise)
        total = losses["noise"] + losses["variance"]
        if not bool(total.isfinite()):
            raise TrainingError(
                f"The loss of step {step + 1} is not finite. The last checkpoint in {self.folder} is "
                f"kept; fit into another --out with a lower --learning-rate than "
                f"{self.settings.learning_rate:g}."
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        average_gradients(self.network.parameters(), self.world)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LONGEST_GRADIENT)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.settings.learning_rate
        self.optimizer.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _losses(self, image: Tensor, products: Tensor, steps: Tensor, noise: Tensor) -> dict[str, Tensor]:
        image, products, steps, noise = (part.to(self.device) for part in (image, products, steps, noise))
        x_t = self.process.noised(image, steps, noise)
        timesteps = torch.from_numpy(self.process.timesteps).to(self.device)[steps]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced):
            output = self.network(x_t, timesteps, products)
        usual = self.network.usual_error(timesteps)
        return self.process.losses(output.float(), image, x_t, noise, steps, usual_error=usual)

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Let the mean weights follow the network's."""
        decay = min(_MEAN_DECAY, (1 + step) / (10 + step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.mean[name].lerp_(value, 1 - decay)

    @contextlib.contextmanager
    def _memory_explained(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        self.network.zero_grad(set_to_none=True)
        fitting = largest_batch(self._try_batch, self.batch // 2)
        advice = (
            f"--batch {fitting * self.world} fits" if fitting else "not even one image fits: a smaller --size"
        )
        raise TrainingError(
            f"A batch of {self.settings.batch} does not fit into the memory of {self.device}; {advice}. "
            f"A checkpoint in {self.folder} is kept, but goes on with its own batch alone."
        )

    def _try_batch(self, batch: int) -> None:
        shape = (batch, *self.settings.network.shape_chw)
        steps, products = torch.zeros((2, batch), dtype=torch.int64)
        losses = self._losses(torch.zeros(shape), products, steps, torch.randn(shape))
        (losses["noise"] + losses["variance"]).backward()
        self.network.zero_grad(set_to_none=True)

    def _resumed(self) -> int | None:
        """Put back the last checkpoint, if there is one; returns its step."""
        found = last_checkpoint(self.folder / CHECKPOINT_FILE, identity=self.identity)
        if found is None:
            return None
        self.network.load_state_dict(found.part("network"))
        self.mean = {name: value.to(self.device) for name, value in found.part("mean").items()}
        restore_optimizer(self.optimizer, found.part("optimizer"))
        self.steps, self._earlier = int(found.facts["steps"]), float(found.facts["seconds"])
        self.report(Progress("resuming", found.step, self.steps, {}))
        return found.step

    def _save(self, step: int, history: list[dict[str, Any]]) -> None:
        if self.rank:
            return
        parts = {
            "network": self.network.state_dict(),
            "mean": self.mean,
            "optimizer": optimizer_tensors(self.optimizer),
        }
        tensors = {f"{part}.{name}": value for part, named in parts.items() for name, value in named.items()}
        facts = {"identity": self.identity, "steps": self.steps, "seconds": self.seconds}
        write_history(self.folder / HISTORY_FILE, history, first=step - len(history))
        save_checkpoint(self.folder / CHECKPOINT_FILE, Checkpoint(step, tensors, facts))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch has its own class for GPUs, and a text for CPUs."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in str(error)


def largest_batch(attempt: Callable[[int], object], upper: int) -> int:
    """The largest of `upper`, half of it, a quarter, ... that `attempt` survives; 0 if not even 1 does."""
    while upper >= 1:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            attempt(upper)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            upper //= 2
        else:
            return upper
    return 0


def _rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to `_LAST_RATE`."""
    warm = min(1.0, (step + 1) / min(_WARM_UP_STEPS, steps))
    return warm * (_LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps)))
