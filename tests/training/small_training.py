"""A training small enough for a test: drawn images of 64 x 64, two stages, a few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgead.images import write_image
from edgead.models.invad.config import InvADConfig
from edgead.models.realnet.config import RealNetConfig
from edgead.training.data import Images, load_products, products_of_run
from edgead.training.held_out import HeldOut, held_out_set
from edgead.training.run import Run
from edgead.training.settings import TrainSettings

CONFIG = RealNetConfig(
    stages=(2, 3),
    channels=(8, 8),
    reconstruction_widths=(8, 8),
    residual_count=8,
    discriminator_width=8,
    bank_stages=(3,),
    bank_components=8,
    bank_size=64,
    detail_stages=(2,),
    detail_size=32,
    input_height=64,
    input_width=64,
)
INVAD_CONFIG = InvADConfig(
    stages=(1, 2, 3),
    inverted_stages=(1, 2, 3),
    style_width=8,
    widths=(8, 8, 8),
    blocks=1,
    bank_stages=(3,),
    bank_components=8,
    bank_size=64,
    detail_stages=(2,),
    detail_size=32,
    input_height=64,
    input_width=64,
)
SETTINGS = TrainSettings(model=CONFIG, steps=6, batch=4, selection_batches=2, checkpoint_steps=2)


def settings(**changed: Any) -> TrainSettings:
    return replace(SETTINGS, **changed)


def load_held_out(run: Run) -> tuple[HeldOut, Images]:
    """The held-out set of a run, made again from its data, and the images that trained it."""
    products = products_of_run(run)
    images, _ = load_products(products.train, height=run.height, width=run.width)
    return held_out_set(run.settings, products, images), images


def draw_good(folder: Path, *, count: int = 8, side: int = 64, seed: int = 0) -> Path:
    """Good parts: a disc with grain, each a little elsewhere and lit a little otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    for number in range(count):
        centre = side / 2 + rng.uniform(-3, 3, size=2)
        disc = np.hypot(rows - centre[0], columns - centre[1]) < side / 3
        grey = 60 + 90 * disc + rng.normal(0, 6, (side, side)) + rng.uniform(-10, 10)
        image = np.stack([grey, grey * 0.9, grey * 0.8], axis=-1).clip(0, 255).astype(np.uint8)
        write_image(folder / f"{number:03}.png", image)
    return folder
