"""The good images that a diffusion model learns: of one or several products, at one size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgead.datasets import open_dataset
from edgead.errors import DataError, UsageError
from edgead.images import read_image, resize_image

__all__ = ["LEAST_IMAGES", "GoodImages", "load_good_images"]

LEAST_IMAGES = 32  # of each product; from fewer a network learns the images themselves, not the part


@dataclass(frozen=True)
class GoodImages:
    """Good images by number, the product of each, and what they were read from."""

    pixels: npt.NDArray[np.uint8]  # N H W C; C is 1 where every image is grey
    product_of: npt.NDArray[np.int64]  # N, positions in `products`
    products: tuple[str, ...]
    roots: tuple[str, ...]  # the folder of each product
    digest: str  # of the resized pixels and the products

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[3])

    def batch(self, numbers: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images float32 B C H W in -1..1 and products int64 B."""
        pixels = torch.from_numpy(self.pixels[numbers]).permute(0, 3, 1, 2)
        return pixels.float() / 127.5 - 1, torch.from_numpy(self.product_of[numbers])


def load_good_images(folders: Sequence[str | Path], *, height: int, width: int) -> GoodImages:
    """Read and resize the good images of one folder per product; any size of image comes to height x width.

    Raises DataError for what cannot be read and for fewer than `LEAST_IMAGES` of a product, UsageError for
    two folders of one name.
    """
    names = [Path(folder).resolve().name for folder in folders]
    if not folders or len(set(names)) != len(names):
        raise UsageError(
            f"Give one folder per product, each of another name; found {', '.join(names) or 'none'}."
        )
    parts = [_product_images(Path(folder), height=height, width=width) for folder in folders]
    pixels = np.concatenate(parts)
    if all(bool((part == part[..., :1]).all()) for part in parts):
        pixels = pixels[..., :1]
    product_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes())
    digest.update(repr((names, [len(part) for part in parts], pixels.shape)).encode())
    roots = tuple(str(Path(folder).resolve()) for folder in folders)
    return GoodImages(np.ascontiguousarray(pixels), product_of, tuple(names), roots, digest.hexdigest())


def _product_images(folder: Path, *, height: int, width: int) -> npt.NDArray[np.uint8]:
    samples = open_dataset(folder).train
    if len(samples) < LEAST_IMAGES:
        raise DataError(
            f"{folder} has {len(samples)} good images; a diffusion model needs {LEAST_IMAGES} at least, and "
            "some hundreds to be of use. Add images, or train without it: edgead train needs no such model."
        )
    return np.stack([resize_image(read_image(sample.path), height, width) for sample in samples])
