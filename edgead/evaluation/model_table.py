"""Evaluates every model of a folder on every data set of a folder: the figures of one table.

models/realnet.edgead             one model for all products
models/invad/                     the same, a run folder
models/single/bottle.edgead       a model for each product, called as the product
models/single/cable/              the same, a run folder

data/bottle, data/cable           one data set, its products in it
data/mvtec/bottle, data/visa/...  several data sets, their products in them
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgead.datasets import ImageDataset, open_collection
from edgead.datasets.listing import first_few, folders_in
from edgead.errors import DataError, EdgeadError
from edgead.evaluation.evaluator import Predict, evaluate_samples
from edgead.metrics import figures, mean_over_classes

_RUN_FILE, _BUNDLE = "run.json", ".edgead"
Opener = Callable[[Path], AbstractContextManager[Predict]]

COST_COLUMNS = {"latency_ms": "p50 ms", "megabytes": "MB", "images": "images", "seconds": "s in all"}


@dataclass(frozen=True)
class ModelFiles:
    """One row of the table for each data set: a path for all products, or one for each product's name."""

    name: str
    path: Path
    of_product: Mapping[str, Path] = field(default_factory=dict)

    def for_product(self, product: str) -> Path:
        """The bundle or run for a product; DataError where this model has none for it."""
        if not self.of_product:
            return self.path
        if product not in self.of_product:
            raise DataError(
                f"{self.path} has models for {first_few(self.of_product)}, and none for '{product}'. Add "
                f"{product}{_BUNDLE}, or a run folder of that name."
            )
        return self.of_product[product]


@dataclass(frozen=True)
class TableRow:
    """One model on one product: its figures by key (None where one is not defined), or why it has none."""

    model: str
    dataset: str
    product: str
    figures: Mapping[str, float | None] = field(default_factory=dict)
    failure: str = ""
    path: str = ""  # the bundle or run


@dataclass(frozen=True)
class ModelTable:
    """All entries, and what was left out of the data."""

    entries: tuple[TableRow, ...]
    left_out: tuple[str, ...] = ()
    size: int = 256

    def rows(self) -> list[TableRow]:
        """One entry for each model and data set: means over its products; None where a product has none.

        Images and seconds are sums, and the size on disk that of all models in use.
        """
        rows = []
        for model, dataset in dict.fromkeys((entry.model, entry.dataset) for entry in self.entries):
            of_both = [e for e in self.entries if (e.model, e.dataset) == (model, dataset)]
            failed = [entry.product for entry in of_both if entry.failure]
            failure = f"no answer for {first_few(failed)}" if failed else ""
            means = {} if failed else _means(of_both)
            rows.append(TableRow(model, dataset, f"{len(of_both)} products", means, failure))
        return rows

    def to_json(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "rows": [asdict(row) for row in self.rows()],
            "entries": [asdict(entry) for entry in self.entries],
            "left_out": list(self.left_out),
        }


def _means(entries: Sequence[TableRow]) -> dict[str, float | None]:
    means = mean_over_classes([entry.figures for entry in entries])
    for name in ("images", "seconds"):
        means[name] = sum(entry.figures[name] or 0 for entry in entries)
    sizes = {entry.path: entry.figures["megabytes"] or 0 for entry in entries}
    return {**means, "megabytes": sum(sizes.values())}


def find_models(folder: Path) -> list[ModelFiles]:
    """The models in a folder, or the one that it is; DataError where there is none."""
    if not folder.exists():
        raise DataError(f"{folder} does not exist; expected a folder of bundles and runs. Check the path.")
    if _is_model(folder):
        return [ModelFiles(folder.stem, folder)]
    models = []
    for entry in _entries(folder):
        if _is_model(entry):
            models.append(ModelFiles(_stem(entry), entry))
        elif entry.is_dir():
            inside = {_stem(inner): inner for inner in _entries(entry) if _is_model(inner)}
            if inside:
                models.append(ModelFiles(entry.name, entry, inside))
    if not models:
        raise DataError(
            f"{folder} holds no {_BUNDLE} file and no run folder ({_RUN_FILE}), nor do its folders. "
            "Compile or train first, or check the path."
        )
    return models


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _is_model(path: Path) -> bool:
    return path.suffix == _BUNDLE if path.is_file() else (path / _RUN_FILE).is_file()


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def find_datasets(folder: Path) -> tuple[dict[str, tuple[ImageDataset, ...]], list[str]]:
    """The products with labelled images, by data set, and what was left out with the reason."""
    left_out: list[str] = []
    try:
        found = {folder.resolve().name: open_collection(folder)}
    except DataError as error:
        found = {}
        for inside in folders_in(folder):
            try:
                found[inside.name] = open_collection(inside)
            except DataError as refusal:
                left_out.append(str(refusal))
        if not found:
            raise DataError(f"{folder}: expected products or data sets in it. {error}") from error
    labelled: dict[str, tuple[ImageDataset, ...]] = {}
    for name, products in found.items():
        left_out += [f"{product.root} has no test images." for product in products if not product.test]
        usable = tuple(product for product in products if product.test)
        if usable:
            labelled[name] = usable
    if not labelled:
        raise DataError(f"{folder}: no product has labelled test images (test/good and test/<kind>).")
    return labelled, left_out


def compare(
    models: Sequence[ModelFiles],
    datasets: Mapping[str, Sequence[ImageDataset]],
    *,
    open_model: Opener,
    size: int = 256,
    left_out: Sequence[str] = (),
    on_entry: Callable[[ModelTable], None] = lambda so_far: None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> ModelTable:
    """Evaluate each model on the test images of each product, at `size` x `size` for the pixel figures.

    What fails becomes an entry that says so; the others go on. `on_entry` is called with all entries so far.
    """
    total = len(models) * sum(len(product.test) for products in datasets.values() for product in products)
    entries: list[TableRow] = []
    done = 0
    for model, dataset, product in _pairs(models, datasets):

        def on_image(images: int, _: int, before: int = done) -> None:
            on_progress((before + images) / total)

        entries.append(_entry(model, dataset, product, open_model, size, on_image))
        done += len(product.test)
        on_entry(ModelTable(tuple(entries), tuple(left_out), size))
    return ModelTable(tuple(entries), tuple(left_out), size)


def _pairs(
    models: Sequence[ModelFiles], datasets: Mapping[str, Sequence[ImageDataset]]
) -> Iterator[tuple[ModelFiles, str, ImageDataset]]:
    for model in models:
        for dataset, products in datasets.items():
            for product in products:
                yield model, dataset, product


def _entry(
    model: ModelFiles,
    dataset: str,
    product: ImageDataset,
    open_model: Opener,
    size: int,
    on_progress: Callable[[int, int], None],
) -> TableRow:
    started = time.monotonic()
    try:
        path = model.for_product(product.name)
        with open_model(path) as predict:
            evaluation = evaluate_samples(
                predict, product.test, size=(size, size), with_thresholds=True, on_progress=on_progress
            )
    except EdgeadError as error:
        return TableRow(model.name, dataset, product.name, failure=str(error))
    found = figures(evaluation) | {
        "latency_ms": 1e3 * statistics.median(record.seconds for record in evaluation.records),
        "megabytes": _bytes(path) / 1e6,
        "images": float(len(evaluation.records)),
        "seconds": time.monotonic() - started,
    }
    return TableRow(model.name, dataset, product.name, found, path=str(path))


def _bytes(path: Path) -> int:
    """The size of a bundle, or of a run's weights."""
    return path.stat().st_size if path.is_file() else (path / "weights.safetensors").stat().st_size
