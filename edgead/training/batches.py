"""Training images, and batches of synthetic anomalies that depend on nothing but the seed and the step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from edgead.errors import UsageError
from edgead.synthesis import Synthesizer, SyntheticSample
from edgead.synthesis.diffusion.sets import open_set
from edgead.training.data import Images
from edgead.training.settings import TrainSettings

_MOST_WORKERS = 8


@dataclass(frozen=True)
class Batch:
    """Half good images, given by number; half anomalies, made on good images of given numbers.

    Where a network learns from good images alone, all are good and the other three are empty.
    """

    good: torch.Tensor  # int64 B/2, numbers of good images
    origins: torch.Tensor  # int64 B/2, the good images under the anomalies
    anomalous: torch.Tensor  # uint8 B/2 H W 3
    masks: torch.Tensor  # bool B/2 H W


@dataclass(frozen=True)
class Draw:
    """Draws numbers of good images, which lie product after product; `counts` are those of the products.

    balanced: each product as often as any other, however many images it has, and each of a product's images
    as often as its others. Otherwise each image as often as any other.
    """

    counts: tuple[int, ...]
    balanced: bool = True

    def __call__(self, rng: np.random.Generator, size: tuple[int, ...]) -> npt.NDArray[np.int64]:
        total = sum(self.counts)
        if len(self.counts) == 1 or not self.balanced:
            return rng.integers(total, size=size)
        counts = np.array(self.counts)
        products = rng.integers(len(counts), size=size)
        firsts = np.cumsum(counts) - counts
        return np.asarray(firsts[products] + rng.integers(counts[products]), np.int64)


class ProductSynthesizers:
    """The synthesizers of several products as one: an anomaly is made of its own product's images alone."""

    def __init__(self, parts: Sequence[Synthesizer]) -> None:
        self._parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __call__(self, number: int, rng: np.random.Generator) -> SyntheticSample:
        """An anomaly on the good image of this number, counted product after product."""
        product = int(np.searchsorted(self._ends, number, "right"))
        part = self._parts[product]
        return part(int(number - self._ends[product] + len(part)), rng)


Synthesizers = Synthesizer | ProductSynthesizers


def make_synthesizer(settings: TrainSettings, images: Images, counts: Sequence[int]) -> Synthesizers:
    """What makes the anomalies of a training, from its good images, `counts` of each product in turn."""
    parts = product_synthesizers(settings, images, counts)
    return parts[0] if len(parts) == 1 else ProductSynthesizers(parts)


def product_synthesizers(settings: TrainSettings, images: Images, counts: Sequence[int]) -> list[Synthesizer]:
    """One for each product: no anomaly of a part comes from another product's images."""
    ends = np.cumsum(counts)
    anomaly_set = None if settings.anomaly_set is None else open_set(settings.anomaly_set)
    if anomaly_set is not None and len(counts) > 1:
        raise UsageError(
            f"{anomaly_set.path} is a set of one product's anomalies, and {len(counts)} products are "
            "trained. Train them without the set, or each alone."
        )
    return [
        Synthesizer(
            list(images[end - count : end]),
            sources=settings.synthesis,
            texture_folder=settings.texture_folder,
            seed_textures=settings.seed,
            foreground=settings.foreground,
            anomaly_set=anomaly_set,
        )
        for end, count in zip(ends, counts, strict=True)
    ]


class BatchStream(Dataset[tuple[torch.Tensor, ...]]):
    """Item k is the batch of step k, the same whichever process makes it and whatever came before."""

    def __init__(
        self,
        synthesizer: Synthesizers,
        *,
        half: int,
        seed: int,
        purpose: int = 0,
        rank: int = 0,
        draw: Draw | None = None,
    ) -> None:
        """`draw` chooses good images; without it each counts alike."""
        self.synthesizer, self.half = synthesizer, half
        self.draw = draw or Draw((len(synthesizer),))
        self.seed, self.purpose, self.rank = seed, purpose, rank

    def __getitem__(self, step: int) -> tuple[torch.Tensor, ...]:
        rng = np.random.default_rng([self.seed, self.purpose, self.rank, step])
        good, origins = self.draw(rng, (2, self.half))
        samples = [self.synthesizer(int(number), rng) for number in origins]
        return (
            torch.from_numpy(good),
            torch.from_numpy(origins),
            torch.from_numpy(np.stack([sample.image for sample in samples])),
            torch.from_numpy(np.stack([sample.mask for sample in samples])),
        )

    def batches(self, first: int, end: int, *, workers: int | None = None) -> Iterator[Batch]:
        """The batches of steps `first` to `end - 1`, made ahead by worker processes."""
        count = min(_MOST_WORKERS, max(1, (os.cpu_count() or 2) // 2)) if workers is None else workers
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(first, end),
            num_workers=min(count, end - first),
            worker_init_fn=_one_thread,
        )
        with _opencv_without_threads():
            for item in loader:
                yield Batch(*item)


def good_batches(draw: Draw, first: int, end: int, *, size: int, seed: int, rank: int = 0) -> Iterator[Batch]:
    """Batches of `size` good images alone, for steps `first` to `end - 1`; each depends on seed and step."""
    none = torch.zeros(0, dtype=torch.int64)
    for step in range(first, end):
        rng = np.random.default_rng([seed, 0, rank, step])
        yield Batch(torch.from_numpy(draw(rng, (size,))), none, none, none)


@contextmanager
def _opencv_without_threads() -> Iterator[None]:
    """End OpenCV's pool of threads before workers are forked: they would wait for its threads without end.

    A forked process has the pool's bookkeeping and none of its threads. Without a pool, workers also run
    OpenCV on one thread each; the other cores belong to the training process.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
