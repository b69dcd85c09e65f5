"""Whether a budget in milliseconds is met, and met by the right channels: predictions, plans, allocations.

    python benchmarks/budget.py                              # predictions and budgets, on this machine
    python benchmarks/budget.py --threads 1 --clock processor    # on a machine that others use as well
    python benchmarks/budget.py --allocation --steps 1000    # trainings: keeps its runs in runs/budget
    python benchmarks/budget.py --quick

Predictions: networks drawn at random make the table, others that no fit has seen are held against it; all are
measured in one run, shuffled. Budgets: networks are planned for them, compiled and measured. Allocations: at
each budget, the plan's channels against the paper's proportions and against a random choice, all of them
within the same budget; test images choose nothing.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from allocations import compare_allocations, three_budgets
from common import ROOT, Row, json_option, quick_option, report

from edgead.allocation.allocate import measure_information
from edgead.allocation.allocation import Allocation, Limits
from edgead.allocation.channel_information import ChannelInformation
from edgead.allocation.choose import choose
from edgead.cost.compact_layers import network_layers
from edgead.cost.design_space import Space
from edgead.cost.measure import CLOCKS, MeasuredNetwork, TimedModel, measure_models, measured_on, read_models
from edgead.cost.predict import TableCosts
from edgead.cost.probes import draw_configs, make_probes
from edgead.cost.profile_file import table_text
from edgead.cost.table import MeasuredTable, read_table
from edgead.datasets import draw_demo
from edgead.device.machine import usable_cores
from edgead.models.realnet.config import RealNetConfig
from edgead.profiles.target import Target, read_target
from edgead.training.settings import TrainSettings

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

DATA = ROOT.parent / "shared" / "data" / "mtd"
TARGET = "intel-cpu"
PRECISIONS = ("int8", "f32")
_TABLE_SEED, _HELD_OUT_SEED = 0, 1000


@dataclass(frozen=True)
class How:
    """How everything is measured, and on which data plans are made."""

    threads: int
    clock: str
    data: Path
    quick: bool

    @property
    def words(self) -> str:
        return f"OpenVINO, {self.threads} thread(s), {self.clock} time, batch 1"


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--threads", type=click.IntRange(min=1), help="Of the engine.  [default: all cores]")
@click.option("--clock", type=click.Choice(sorted(CLOCKS)), default="wall", show_default=True)
@click.option("--points", type=click.IntRange(min=12), default=48, show_default=True, help="Of the table.")
@click.option("--held-out", type=click.IntRange(min=1), default=30, show_default=True, help="Never fitted.")
@click.option("--table-models", type=click.Path(path_type=Path), help="Made by `edgead targets measure`.")
@click.option("--held-out-models", type=click.Path(path_type=Path), help="The same, of another --seed.")
@click.option("--table-file", type=click.Path(path_type=Path), help="Keep the measured [table] here (.toml).")
@click.option("--data", type=click.Path(path_type=Path), default=DATA, show_default=True, help="To plan for.")
@click.option("--allocation", is_flag=True, help="Train allocations against each other, and nothing else.")
@click.option("--target", "profile", default=TARGET, show_default=True, help="Of --allocation: has a table.")
@click.option("--steps", default=1000, show_default=True, help="Of each training of --allocation.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1), help="Of --allocation.  [0, 1]")
@click.option("--budget", "budgets", multiple=True, type=float, help="ms.  [default: three]")
@click.option("--work", default="runs/budget", show_default=True, metavar="DIR", help="Keeps the runs.")
@quick_option
@json_option
def main(
    threads: int | None,
    clock: str,
    points: int,
    held_out: int,
    table_models: Path | None,
    held_out_models: Path | None,
    table_file: Path | None,
    data: Path,
    allocation: bool,
    profile: str,
    steps: int,
    seeds: tuple[int, ...],
    budgets: tuple[float, ...],
    work: str,
    quick: bool,
    json_path: str | None,
) -> None:
    how = How(threads or usable_cores(), clock, data, quick)
    if allocation:
        rows, details = compare_allocations(
            data, read_target(profile), steps=steps, seeds=seeds, budgets=budgets, work=Path(work), how=how
        )
        report("allocation", rows, json_path=json_path, quick=quick, settings=details)
        return
    with tempfile.TemporaryDirectory(prefix="edgead-budget-") as folder:
        if quick:
            points, held_out = 14, 4
            (data,) = draw_demo(Path(folder) / "data", products=("metal",), train_images=24, test_images=2)
            how = replace(how, data=data)
        power = power_of(how)  # first: data that cannot be read should not cost a measurement
        table, rows, details = predictions(
            _models(table_models, points, _TABLE_SEED),
            _models(held_out_models, held_out, _HELD_OUT_SEED),
            how,
        )
        if table_file is not None:
            table_file.write_text(details.pop("table"), encoding="utf-8")
        details.pop("table", None)
        rows += planned(table, power, how, budgets)
    report("budget", rows, json_path=json_path, quick=quick, settings={"measured": how.words, **details})


def _models(folder: Path | None, count: int, seed: int) -> list[TimedModel]:
    """The models of a folder, or else newly made ones; the default network is none of the held-out."""
    if folder is not None:
        found = read_models(folder)
    else:
        click.echo(f"Making {count} networks ...", err=True)
        configs = draw_configs(Space(RealNetConfig()), count + 1, seed=seed)
        made = make_probes(configs, PRECISIONS)
        found = [TimedModel(one.config.to_json(), one.precision, lambda one=one: one.model) for one in made]
    default = RealNetConfig().to_json()
    return [model for model in found if seed == _TABLE_SEED or dict(model.config) != default]


def predictions(
    fitted: Sequence[TimedModel], held_out: Sequence[TimedModel], how: How
) -> tuple[MeasuredTable, list[Row], dict[str, Any]]:
    """The table, and how far its predictions of the held-out networks are off."""
    everything = [*fitted, *held_out]
    order = list(range(len(everything)))
    random.Random(0).shuffle(order)
    click.echo(f"Measuring {len(everything)} models ...", err=True)
    shuffled = measure_models(
        [everything[number] for number in order], engine="openvino", threads=how.threads, clock=how.clock,
        rounds=3 if how.quick else 8, on_progress=_tell,
    )  # fmt: skip
    measured = [one for _, one in sorted(zip(order, shuffled, strict=True), key=lambda pair: pair[0])]
    circumstances = measured_on("openvino", threads=how.threads, clock=how.clock)
    text = table_text(circumstances, measured[: len(fitted)])
    table = read_table(tomllib.loads(text)["table"], origin="this run's table")
    rows, networks = [], []
    for precision in PRECISIONS:
        model = table.model(precision)
        errors = []
        for one in measured[len(fitted) :]:
            if one.precision == precision:
                told = model.predict(network_layers(RealNetConfig.from_json(one.config)))
                errors.append(told.total_ms / one.ms - 1)
                networks.append({**_plain(one), "predicted_ms": round(told.total_ms, 3)})
        off = np.abs(errors)
        words = (
            f"{len(off)} networks at random that were not fitted, {how.words}; {len(fitted)} measured points"
        )
        rows += [
            Row(f"{precision}: predicted against measured, median", float(np.median(off)), "of the measured",
                0.10, 0.05, how=words),
            Row(f"{precision}: predicted against measured, 90th percentile", float(np.quantile(off, 0.9)),
                "of the measured", 0.20, 0.10, how=f"{words}; mean of signed errors {np.mean(errors):+.3f}"),
        ]  # fmt: skip
    return table, rows, {"held_out": networks, "table": text}


Power = dict[tuple[int, int], ChannelInformation]


def power_of(how: How) -> Power:
    """What the channels tell on the data that plans are made for."""
    settings = TrainSettings(selection_batches=4 if how.quick else 32)
    click.echo("Measuring what the channels tell ...", err=True)
    return {(256, 256): measure_information(how.data, settings, (256, 256))}


def planned(table: MeasuredTable, power: Power, how: How, budgets: Sequence[float]) -> list[Row]:
    """Plans for three budgets, compiled and measured; and how long a choice takes."""
    started = time.perf_counter(), time.process_time()
    plans = plans_for(table, power, budgets, read_target(TARGET))
    wall, busy = (time.perf_counter() - started[0], time.process_time() - started[1])
    seconds = [value / len(plans) for value in (wall, busy)]
    probes = list(make_probes([plan.config for plan in plans], ["int8"]))
    models = [TimedModel(one.config.to_json(), "int8", lambda one=one: one.model) for one in probes]
    found = measure_models(
        models, engine="openvino", threads=how.threads, clock=how.clock, rounds=4 if how.quick else 12
    )
    met = [one.ms <= plan.limits.latency_ms for one, plan in zip(found, plans, strict=True)]
    words = "; ".join(_met(plan, one) for plan, one in zip(plans, found, strict=True))
    return [
        Row("planned INT8 models that meet their budget", float(sum(met)), f"of {len(met)}", float(len(met)),
            higher_is_better=True, how=f"{how.words}; {words}"),
        Row("time to choose, after the AFS pass", seconds[0], "s", 2.0,
            how=f"mean of {len(plans)}; {seconds[1]:.2f} s of processor time; the first fits the table"),
    ]  # fmt: skip


def _met(plan: Allocation, one: MeasuredNetwork) -> str:
    config = plan.config
    return (
        f"asked {plan.limits.latency_ms:.2f} ms, predicted {plan.prediction.total_ms:.2f}, "
        f"measured {one.ms:.2f}: stages {config.stages}, channels {config.channels}, keeps {plan.kept:.1%}"
    )


def plans_for(
    table: MeasuredTable,
    power: Power,
    budgets: Sequence[float],
    target: Target,
) -> list[Allocation]:
    """INT8 plans for the budgets, or for three between the least that is possible and the sketch's."""
    costs = TableCosts(table, "int8")
    space = Space(RealNetConfig(), max(8, target.multiple_of_channels("int8")))

    def plan(latency: float) -> Allocation:
        return choose(power, costs, space, limits=Limits(latency_ms=latency), target=target, precision="int8")

    return [plan(budget) for budget in budgets or three_budgets(plan(1e3))]


def _plain(one: MeasuredNetwork) -> dict[str, Any]:
    config = one.config
    return {
        "precision": one.precision,
        "stages": config["stages"],
        "channels": config["channels"],
        "widths": config["reconstruction_widths"],
        "input": [config["input_height"], config["input_width"]],
        "ms": round(one.ms, 3),
    }


def _tell(share: float) -> None:
    click.echo(json.dumps({"measured": round(share, 2)}), err=True)


if __name__ == "__main__":
    main()
