"""The plan of `edgead train-all`: products, seeds, settings, and what each training is given.

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgead.cli.train import settings_of_options
from edgead.errors import DataError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from edgead.training.jobs import Job
    from edgead.training.settings import TrainSettings
    from edgead.training.spread import Resources

NOTES = ".progress"  # below out: how far each training is
_KEYS = ("out", "data", "seeds", "retries", "products", "train", "resources")
_RESOURCES = ("cpus", "gpus", "memory_gb")
# option of edgead train -> the types that a plan may give it
_TRAIN: dict[str, tuple[type, ...]] = {
    "model": (str,), "preset": (str,), "backbone": (str,), "stages": (str,), "budgets": (str,),
    "input_size": (str, int), "synthesis": (str,), "anomaly_set": (str,), "textures": (str,), "batch": (int,),
    "learning_rate": (float,), "false_alarm_rate": (float,), "steps": (int,), "minutes": (float, int),
}  # fmt: skip
_FOLDERS = ("textures", "anomaly_set")


@dataclass(frozen=True)
class TrainingPlan:
    """A plan that was read: one job for each product and seed."""

    jobs: tuple[Job, ...]
    resources: Resources
    retries: int
    out: Path


def read_plan(path: Path) -> TrainingPlan:
    """Read and check a plan, and open every data set in it, so that a night does not end on a wrong path.

    Raises UsageError for what cannot be meant, DataError for a data set or a file that cannot be used.
    """
    from edgead.training.jobs import Job
    from edgead.training.spread import Resources

    plan = _read(path)
    base = path.resolve().parent
    if not isinstance(plan.get("out"), str):
        raise UsageError(f'{path}: expected out = "folder", where the runs are written.')
    out = base / plan["out"]
    products = _products(plan, base, path)
    seeds = plan.get("seeds", [0])
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)):
        raise UsageError(f"{path}: expected seeds = [0, 1, ...], whole numbers from 0 up, found {seeds}.")
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"{path}: a seed is given twice in {seeds}.")
    settings, family, minutes = _settings(plan.get("train", {}), base, path)
    jobs = tuple(
        Job(
            name, seed, folders, str(out / f"seed-{seed}" / name), str(out / NOTES / f"{seed}-{name}.json"),
            family, replace(settings, seed=seed).to_json(), minutes,
        )
        for seed in seeds
        for name, folders in products.items()
    )  # fmt: skip
    given = plan.get("resources", {})
    _known(path, "resources", given, _RESOURCES)
    for name, value in given.items():
        if type(value) not in (int, float) or value < 0:
            raise UsageError(
                f"{path}: expected {name} in [resources] to be a number from 0 up, found {value!r}."
            )
    retries = plan.get("retries", 3)
    if type(retries) is not int or retries < 0:
        raise UsageError(f"{path}: expected retries to be a whole number from 0 up, found {retries!r}.")
    return TrainingPlan(jobs, Resources(**given), retries, out)


def _read(path: Path) -> dict[str, Any]:
    from edgead.profiles import read_toml

    if not path.is_file():
        raise DataError(
            f"{path} does not exist or is no file; expected a plan. `edgead train-all --help` has one."
        )
    try:
        plan = read_toml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    _known(path, "the plan", plan, _KEYS)
    return plan


def _known(path: Path, what: str, given: Any, known: tuple[str, ...]) -> None:
    if not isinstance(given, dict):
        raise UsageError(f"{path}: expected {what} to be a table, found {given!r}.")
    for name in given:
        if name not in known:
            raise UnknownNameError(f"entry of {what} in {path}:", name, known)


def _products(plan: Mapping[str, Any], base: Path, path: Path) -> dict[str, tuple[str, ...]]:
    """The folders of each product by its name; each was opened once."""
    from edgead.datasets import open_collection, open_dataset

    products: dict[str, tuple[str, ...]] = {}
    named, listed = plan.get("products", {}), plan.get("data", [])
    if not isinstance(named, dict) or not isinstance(listed, list):
        raise UsageError(f"{path}: expected [products] to be a table and data a list of folders.")
    for name, value in named.items():
        folders = value if isinstance(value, list) else [value]
        if not folders or not all(isinstance(folder, str) for folder in folders):
            raise UsageError(
                f"{path}: expected product '{name}' to be a folder or a list of them, found {value!r}."
            )
        for folder in folders:
            open_dataset(base / folder)
        products[name] = tuple(str(base / folder) for folder in folders)
    for folder in listed:
        if not isinstance(folder, str):
            raise UsageError(f"{path}: expected data to list folders, found {folder!r}.")
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


def _settings(given: Any, base: Path, path: Path) -> tuple[TrainSettings, str, float | None]:
    _known(path, "train", given, tuple(_TRAIN))
    for name, value in given.items():
        if type(value) not in _TRAIN[name]:
            wanted = " or ".join(kind.__name__ for kind in _TRAIN[name])
            raise UsageError(f"{path}: expected {name} in [train] to be {wanted}, found {value!r}.")
    options: dict[str, Any] = dict.fromkeys((*_TRAIN, "seed"))
    options |= {name: str(base / v) if name in _FOLDERS else v for name, v in given.items()}
    options["input_size"] = None if given.get("input_size") is None else str(given["input_size"])
    options["family"] = options.pop("model") or "realnet"
    options["preset"] = options["preset"] or "compact"
    minutes = options.pop("minutes")
    settings = settings_of_options(minutes=minutes, **options)
    return settings, str(options["family"]), minutes
