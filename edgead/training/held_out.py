"""The held-out set: good images that no step has trained on, and a synthetic anomaly on each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from edgead.datasets import Products
from edgead.models.network import InspectionNetwork
from edgead.models.scoring.components import ScoreComponents
from edgead.synthesis import SyntheticSample
from edgead.training.batches import product_synthesizers
from edgead.training.data import Images, load_products
from edgead.training.settings import TrainSettings

_VALIDATING = 2  # purpose of random draws, beside those of the loop
_WEIGHING = 3  # likewise
_LEAST_WEIGHING = 128  # anomalies; fewer make weights that the next draw would change
_CHUNK = 16  # images through the network at once


@dataclass(frozen=True)
class HeldOut:
    """Held-out good images and, on each, a synthetic anomaly that no training step has seen."""

    good: Images  # uint8 N H W 3
    anomalies: tuple[SyntheticSample, ...]  # N of them
    weighing: Images  # uint8 M H W 3: further such anomalies, which weigh the components of the score
    products: tuple[str, ...]  # the name of the product of each
    groups: tuple[str, ...]  # the group of each, of which none was trained on


def held_out_set(settings: TrainSettings, products: Products, train_images: Images) -> HeldOut:
    """The held-out good images, with an anomaly on each; a function of settings and split alone.

    The anomalies are made by the sources that made those of training, fed with the training images, so a
    figure on them says how well the network has learnt its task, not how well it will find real defects.
    """
    height, width = settings.model.input_size
    good, counts = load_products(products.validation, height=height, width=width)
    parts = product_synthesizers(settings, train_images, [len(samples) for samples in products.train])
    owners = np.repeat(np.arange(len(counts)), counts)
    anomalies = tuple(
        parts[owner](image, np.random.default_rng([settings.seed, _VALIDATING, number]))
        for number, (image, owner) in enumerate(zip(good, owners, strict=True))
    )
    weighing = np.stack(
        [
            parts[owner](image, np.random.default_rng([settings.seed, _WEIGHING, number, turn])).image
            for turn in range(math.ceil(_LEAST_WEIGHING / len(good)))
            for number, (image, owner) in enumerate(zip(good, owners, strict=True))
        ]
    )
    names = tuple(products.products[owner].name for owner in owners)
    return HeldOut(good, anomalies, weighing, names, products.validation_groups)


@torch.no_grad()
def components_of_images(network: InspectionNetwork, images: Images) -> ScoreComponents:
    """The components of images uint8 N H W 3, in float32 as deployed."""
    chunks = []
    for start in range(0, len(images), _CHUNK):
        pixels = torch.from_numpy(images[start : start + _CHUNK]).permute(0, 3, 1, 2).float()
        chunks.append(network.components_with_context(network.backbone(pixels)))
    return ScoreComponents.joined(chunks)
