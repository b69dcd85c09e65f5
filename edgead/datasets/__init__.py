"""Folders of images as samples, their split, and the drawn demo set."""

from edgead.datasets.demo import draw_demo
from edgead.datasets.folders import ImageDataset, Sample, open_dataset
from edgead.datasets.split import Split, split_good

__all__ = ["ImageDataset", "Sample", "Split", "draw_demo", "open_dataset", "split_good"]
