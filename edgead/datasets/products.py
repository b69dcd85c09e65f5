"""The good images of one product, or of several that one model is trained for, each with its own split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgead.datasets.folders import ImageDataset, Sample, open_dataset
from edgead.datasets.groups import EACH_ALONE
from edgead.datasets.split import Split, split_good
from edgead.errors import DataError, UsageError

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Product:
    """One product: its data set under a name that no other of them has, and its split."""

    name: str
    dataset: ImageDataset
    split: Split


@dataclass(frozen=True)
class Products:
    """The products of one training, in the order in which they were given."""

    products: tuple[Product, ...]

    @property
    def name(self) -> str:
        return "+".join(product.name for product in self.products)

    @property
    def roots(self) -> tuple[str, ...]:
        return tuple(str(product.dataset.root.resolve()) for product in self.products)

    @property
    def digest(self) -> str:
        """Identifies the split of all: equal digests mean the same contents on the same sides."""
        digests = [product.split.digest for product in self.products]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file by its name; with several products below the product's name."""
        return {
            self._below(product, name): digest
            for product in self.products
            for name, digest in product.split.hashes.items()
        }

    @property
    def train(self) -> tuple[tuple[Sample, ...], ...]:
        """The training samples of each product."""
        return tuple(product.split.train for product in self.products)

    @property
    def validation(self) -> tuple[tuple[Sample, ...], ...]:
        """The held-out samples of each product."""
        return tuple(product.split.validation for product in self.products)

    @property
    def grouping(self) -> dict[str, str | int]:
        """How the groups were found, and how many of them train and are held out."""
        splits = [product.split for product in self.products]
        return {
            "found_by": "; ".join(dict.fromkeys(split.found_by for split in splits)),
            "train": sum(len(set(split.train_groups)) for split in splits),
            "validation": sum(len(set(split.validation_groups)) for split in splits),
        }

    @property
    def validation_groups(self) -> tuple[str, ...]:
        """The group of each held-out sample, of all products one after the other."""
        return tuple(f"{p.name}/{group}" for p in self.products for group in p.split.validation_groups)

    def file_name(self, product: int, sample: Sample) -> str:
        """A sample's name below its product's folder; with several products below the product's name."""
        found = self.products[product]
        return self._below(found, sample.path.relative_to(found.dataset.root).as_posix())

    def _below(self, product: Product, name: str) -> str:
        return name if len(self.products) == 1 else f"{product.name}/{name}"


def open_products(
    paths: Paths,
    *,
    validation_fraction: float,
    seed: int,
    group_by: str = EACH_ALONE,
    fold: int = 0,
    folds: int = 1,
) -> Products:
    """Open the folder of each product and split it, so that each has good images held out.

    Raises DataError for a product without usable good images, naming it, UsageError for no folder or the same
    one twice.
    """
    folders = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]
    if not folders:
        raise UsageError("Expected the folders of one or more products, got none.")
    datasets = [open_dataset(folder) for folder in folders]
    names = _names(datasets)
    products = []
    for name, dataset in zip(names, datasets, strict=True):
        try:
            split = split_good(
                dataset.train,
                validation_fraction=validation_fraction,
                seed=seed,
                group_by=group_by,
                fold=fold,
                folds=folds,
            )
        except DataError as error:
            raise DataError(f"{dataset.root}: {error}") from error
        products.append(Product(name, dataset, split))
    return Products(tuple(products))


def _names(datasets: Sequence[ImageDataset]) -> list[str]:
    """The folders' names; with the folder above in front of it where two are called alike."""
    roots = [dataset.root.resolve() for dataset in datasets]
    twice = next((root for root in roots if roots.count(root) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} was given twice. Give the folder of each product once.")
    names = [root.name for root in roots]
    for depth in range(2, max(len(root.parts) for root in roots) + 1):
        if len(set(names)) == len(names):
            break
        names = ["/".join(root.parts[-depth:]).lstrip("/") for root in roots]
    return names
