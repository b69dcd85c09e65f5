"""Folders of images as samples, their split, and the drawn demo set."""

from edgead.datasets.demo import draw_demo
from edgead.datasets.folders import open_collection, open_dataset
from edgead.datasets.products import Product, Products, open_products
from edgead.datasets.samples import ImageDataset, Sample
from edgead.datasets.split import Split, split_good

__all__ = [
    "ImageDataset",
    "Product",
    "Products",
    "Sample",
    "Split",
    "draw_demo",
    "open_collection",
    "open_dataset",
    "open_products",
    "split_good",
]
