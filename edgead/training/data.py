"""The good images of a training: its products, split, and their pixels at the input's size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgead.datasets import Products, Sample, open_products
from edgead.datasets.products import Paths
from edgead.errors import TrainingError
from edgead.images import read_image, resize_image
from edgead.training.run import Run
from edgead.training.settings import TrainSettings

Images = npt.NDArray[np.uint8]


def open_training_data(data: Paths, settings: TrainSettings, *, fold: int = 0) -> Products:
    """The folders of one product or of several, each split into images that train and held-out ones.

    `fold` says which part is held out, where the settings have several folds.
    """
    return open_products(
        data,
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
        group_by=settings.group_by,
        fold=fold,
        folds=settings.folds,
    )


def products_of_run(run: Run) -> Products:
    """The products of a run, split as they were; TrainingError when their images are others by now."""
    products = open_training_data(run.data_roots, run.settings)
    if products.digest != run.hashes["split"]:
        raise TrainingError(
            f"The good images in {', '.join(run.data_roots)} are no longer those that {run.path} was trained "
            "on: which were held out of training is unknown. Put them back, or train again."
        )
    return products


def load_products(
    products: Sequence[Sequence[Sample]], *, height: int, width: int
) -> tuple[Images, tuple[int, ...]]:
    """The images of all products one after the other, uint8 N H W 3, and how many each has."""
    loaded = [load_images(samples, height=height, width=width) for samples in products]
    return np.concatenate(loaded), tuple(len(images) for images in loaded)


def load_images(samples: Sequence[Sample], *, height: int, width: int) -> Images:
    """Read and resize images, uint8 N H W 3. Raises DataError naming the file that cannot be read."""
    return np.stack([resize_image(read_image(sample.path), height, width) for sample in samples])
