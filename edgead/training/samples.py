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

from edgead.datasets import Sample
from edgead.images import read_image, resize_image
from edgead.synthesis import Synthesizer

Images = npt.NDArray[np.uint8]

_MOST_WORKERS = 8


@dataclass(frozen=True)
class Batch:
    """Half good images, given by number; half anomalies, made on good images of given numbers."""

    good: torch.Tensor  # int64 B/2, numbers of good images
    origins: torch.Tensor  # int64 B/2, the good images under the anomalies
    anomalous: torch.Tensor  # uint8 B/2 H W 3
    masks: torch.Tensor  # bool B/2 H W


def load_images(samples: Sequence[Sample], *, height: int, width: int) -> Images:
    """Read and resize good images, uint8 N H W 3. Raises DataError naming the file that cannot be read."""
    return np.stack([resize_image(read_image(sample.path), height, width) for sample in samples])


class BatchStream(Dataset[tuple[torch.Tensor, ...]]):
    """Item k is the batch of step k, the same whichever process makes it and whatever came before."""

    def __init__(
        self, synthesizer: Synthesizer, *, half: int, seed: int, purpose: int = 0, rank: int = 0
    ) -> None:
        self.synthesizer, self.half = synthesizer, half
        self.seed, self.purpose, self.rank = seed, purpose, rank

    def __getitem__(self, step: int) -> tuple[torch.Tensor, ...]:
        rng = np.random.default_rng([self.seed, self.purpose, self.rank, step])
        good, origins = rng.integers(len(self.synthesizer), size=(2, self.half))
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


@contextmanager
def _opencv_without_threads() -> Iterator[None]:
    """End OpenCV's pool of threads before workers are forked: they would wait for ever for its threads.

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
