"""Trains in a process of its own, so that a test can kill it; arguments: data, out, step to die after."""

from __future__ import annotations

import os
import signal
import sys

import torch

from edgead.training.loop import Progress
from edgead.training.train import train
from tests.training.small_training import settings


def main(data: str, out: str, last: int) -> None:
    torch.set_num_threads(1)

    def die(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    train(data, out, settings=settings(), on_progress=die)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
