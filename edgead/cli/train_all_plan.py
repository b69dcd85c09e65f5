"""The training plan of `edgead train-all`: products, seeds, settings, and the resources of each training.

    out = "runs/night"               # run folders: out/seed-<seed>/<product>
    data = ["data/mvtec"]            # folders of products; or name them:
    seeds = [0, 1]
    retries = 3                      # workers that a training may lose
    [products]
    bolt = "parts/bolt"
    all = ["parts/bolt", "parts/nut"]    # one model for several
    [train]                          # as the options of edgead train, with _ for -
    model = "realnet"
    steps = 1500
    [resources]                      # of each training
    cpus = 1
    gpus = 0
    memory_gb = 4

Paths are relative to the plan's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgead.cli.train_options import TrainOptions
from edgead.datasets import open_collection, open_dataset
from edgead.errors import DataError, UsageError
from edgead.profiles import read_toml
from edgead.records import record_from
from edgead.training.jobs import Job
from edgead.training.spread import Resources

NOTES = ".progress"  # below out: how far each training is


@dataclass(frozen=True)
class _PlanFile:
    """The content of a plan."""

    out: str
    data: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    retries: int = 3
    products: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    train: TrainOptions = field(default_factory=TrainOptions)
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"expected seeds = [0, 1, ...], from 0 up and none twice, found {self.seeds}")
        if self.retries < 0:
            raise ValueError(f"expected retries to be a whole number from 0 up, found {self.retries}")


@dataclass(frozen=True)
class TrainingPlan:
    """A plan that was read: one job for each product and seed."""

    jobs: tuple[Job, ...]
    resources: Resources
    retries: int
    out: Path


def read_plan(path: Path) -> TrainingPlan:
    """Read and check a plan, and open every data set in it: a wrong path must not end the work of a night.

    Raises UsageError for what cannot be meant, DataError for a data set or a file that cannot be used.
    """
    plan = record_from(_PlanFile, _read(path), origin=str(path), error=UsageError)
    if plan.train.seed is not None:
        raise UsageError(f"{path}: seed in [train]; expected seeds = [0, 1, ...] at the top of the plan.")
    base = path.resolve().parent
    out = base / plan.out
    products = _products(plan, base, path)
    train = plan.train
    settings = replace(
        train,
        textures=train.textures and str(base / train.textures),
        anomaly_set=train.anomaly_set and str(base / train.anomaly_set),
    ).settings()
    jobs = tuple(
        Job(
            name=name,
            seed=seed,
            data=folders,
            out=str(out / f"seed-{seed}" / name),
            progress=str(out / NOTES / f"{seed}-{name}.json"),
            family=plan.train.model,
            settings=replace(settings, seed=seed).to_json(),
            minutes=plan.train.minutes,
        )
        for seed in plan.seeds
        for name, folders in products.items()
    )
    return TrainingPlan(jobs, plan.resources, plan.retries, out)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path} is no file; expected a training plan. `edgead train-all --help` has one.")
    try:
        content = read_toml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    train = content.get("train")
    if isinstance(train, dict) and "budgets" in train:  # its name in earlier versions
        train["channels"] = train.pop("budgets")
    return content


def _products(plan: _PlanFile, base: Path, path: Path) -> dict[str, tuple[str, ...]]:
    """The folders of each product by its name; each was opened once."""
    products: dict[str, tuple[str, ...]] = {}
    for name, value in plan.products.items():
        folders = (value,) if isinstance(value, str) else value
        if not folders:
            raise UsageError(f"{path}: expected product '{name}' to be a folder or a list of them, found [].")
        for folder in folders:
            open_dataset(base / folder)
        products[name] = tuple(str(base / folder) for folder in folders)
    for folder in plan.data:
        for product in open_collection(base / folder):
            if product.name in products:
                raise UsageError(
                    f"{path}: two products are called '{product.name}'. Name them under [products]."
                )
            products[product.name] = (str(product.root),)
    if not products:
        raise UsageError(f'{path}: expected data = ["folder"] or a table [products], found neither.')
    for name in products:
        if Path(name).name != name or name.startswith("."):
            raise UsageError(f"{path}: '{name}' cannot be the name of a product's run folder.")
    return products
