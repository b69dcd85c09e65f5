"""Trainings that compare allocations at one latency: the plan's, the paper's proportions, a random one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import RESULTS, Row
from trainings import Workshop

from edgead.allocation.allocate import measure_information
from edgead.allocation.allocation import Allocation, Limits
from edgead.allocation.choose import choose, residuals_for
from edgead.compiler.recipe import load_recipe
from edgead.cost.design_space import Space, configuration
from edgead.cost.measure import TimedModel, measure_models
from edgead.cost.predict import CostModel, cost_model
from edgead.cost.probes import make_probes
from edgead.models.backbones import feature_info
from edgead.models.realnet.config import RealNetConfig
from edgead.models.realnet.presets import PRESETS
from edgead.profiles.target import Target
from edgead.training.settings import TrainSettings

METRICS = {"image_auroc": "image AUROC", "au_pro": "AU-PRO"}
CHOICES = ("chosen", "paper's proportions", "random")
_PRECISION = "int8"
_WIDTH_SHARE = 0.4  # of the channels: what the default network's widths are, in the mean
_LEAST_USED = 0.97  # of the budget: others get as much time as the plan
_LARGEST_SCALE = 8.0  # of the paper's shares: at 1 / 8 the deepest stage is whole, at 8 all are
_SKETCH_MS = 6.0  # the time per part that the product is sketched for


def compare_allocations(
    data: Path,
    target: Target,
    *,
    steps: int,
    seeds: Sequence[int],
    budgets: Sequence[float],
    work: Path,
    how: Any,
) -> tuple[list[Row], dict[str, Any]]:
    """Rows and everything measured. Each choice is trained with every seed at every budget."""
    costs = cost_model(target, precision=_PRECISION)
    space = Space(RealNetConfig(), max(8, target.multiple_of_channels(_PRECISION)))
    workshop = Workshop(work, recipe=load_recipe("default"))
    found: list[dict[str, Any]] = []
    for seed in seeds:
        settings = TrainSettings(steps=steps, seed=seed, selection_batches=2 if how.quick else 32)
        power = {(256, 256): measure_information(data, settings, (256, 256))}

        def plan(latency: float) -> Allocation:
            return choose(
                power, costs, space, limits=Limits(latency_ms=latency), target=target, precision=_PRECISION  # noqa: B023
            )  # fmt: skip

        for budget in budgets or three_budgets(plan(1e3)):
            chosen = plan(budget)
            networks = {
                "chosen": chosen.config,
                "paper's proportions": proportional(chosen, costs, space),
                "random": at_random(chosen, costs, space, seed=seed),
            }
            for name, config in networks.items():
                label = f"{name.split()[0].strip(chr(39) + 's')}-{budget:g}ms-seed{seed}"
                trained = workshop.trained(data, replace(settings, model=config), label=label)
                found.append(
                    {"choice": name, "budget_ms": budget, "seed": seed, "config": config.to_json(),
                     "predicted_ms": costs.predict(config).total_ms, **trained.to_json()}
                )  # fmt: skip
                click.echo(f"{label}: {trained.figures}", err=True)
    _measure(found, how)
    click.echo(_table(found))
    if not how.quick:
        _plot(found, RESULTS / "allocation.png")
    return _rows(found, how), {"trainings": found, "steps": steps, "target": target.name}


def three_budgets(plan: Allocation) -> list[float]:
    """Three between the least reachable and the sketch's, or half as much again where that is too little."""
    least = min(point.ms for point in plan.frontier)
    most = max(_SKETCH_MS, 1.5 * least)
    return [round(least + share * (most - least), 2) for share in (0.25, 0.6, 1.0)]


def proportional(chosen: Allocation, costs: CostModel, space: Space) -> RealNetConfig:
    """All stages, with channels in the paper's proportions of theirs, as many as take the plan's time."""
    paper = PRESETS["paper"]
    whole = {info.stage: info.channels for info in feature_info(paper.backbone, paper.stages)}
    shares = {stage: m / whole[stage] for stage, m in zip(paper.stages, paper.channels, strict=True)}
    own = {info.stage: info.channels for info in feature_info(space.base.backbone, paper.stages)}
    best: RealNetConfig | None = None
    for bank in reversed(space.bank_sizes(paper.stages)):  # the largest bank that leaves room for channels
        for scale in np.geomspace(_LARGEST_SCALE, 0.02, 300):
            budgets = [max(8, 8 * round(scale * shares[stage] * own[stage] / 8)) for stage in paper.stages]
            budgets = [min(m, own[stage]) for m, stage in zip(budgets, paper.stages, strict=True)]
            config = _sized(space, paper.stages, budgets, bank)
            ms = costs.predict(config).total_ms
            if ms <= chosen.prediction.total_ms:
                if best is None or ms > costs.predict(best).total_ms:
                    best = config
                break
        if best is not None and costs.predict(best).total_ms >= _LEAST_USED * chosen.prediction.total_ms:
            return best
    if best is None:  # not even the fewest channels of all stages: the deepest is left out, and so on
        return _shallower(chosen, costs, space, shares, own)
    return best


def _shallower(
    chosen: Allocation, costs: CostModel, space: Space, shares: dict[int, float], own: dict[int, int]
) -> RealNetConfig:
    for deepest in (3, 2, 1):
        stages = tuple(range(1, deepest + 1))
        for scale in np.geomspace(1.0, 0.02, 200):
            budgets = [
                min(own[stage], max(8, 8 * round(scale * shares[stage] * own[stage] / 8))) for stage in stages
            ]
            config = _sized(space, stages, budgets, 0)
            if costs.predict(config).total_ms <= chosen.prediction.total_ms:
                return config
    raise click.ClickException("No network in the paper's proportions takes so little time.")


def _sized(space: Space, stages: Sequence[int], budgets: Sequence[int], bank: int) -> RealNetConfig:
    widths = [max(8, 8 * round(_WIDTH_SHARE * m / 8)) for m in budgets]
    return configuration(
        space.base, stages, budgets, widths, residuals=residuals_for(sum(budgets)), bank_size=bank
    )


def at_random(chosen: Allocation, costs: CostModel, space: Space, *, seed: int) -> RealNetConfig:
    """The first network of a random order that takes the plan's time, to 3 percent."""
    generator = np.random.default_rng([7, seed, round(100 * chosen.limits.latency_ms)])
    most, nearest = chosen.prediction.total_ms, None
    for _ in range(5000):
        config = space.draw(generator)
        ms = costs.predict(config).total_ms
        if ms <= most and (nearest is None or ms > nearest[0]):
            nearest = (ms, config)
        if nearest is not None and nearest[0] >= _LEAST_USED * most:
            break
    if nearest is None:
        raise click.ClickException(f"No network at random takes {most:.2f} ms or less.")
    return nearest[1]


def _measure(found: list[dict[str, Any]], how: Any) -> None:
    """Add the measured latency of every network: they are to be equal, not only predicted to be."""
    configs = [RealNetConfig.from_json(one["config"]) for one in found]
    distinct = list(dict.fromkeys(configs))
    probes = list(make_probes(distinct, [_PRECISION]))
    models = [TimedModel(one.config.to_json(), _PRECISION, lambda one=one: one.model) for one in probes]
    measured = measure_models(models, engine="openvino", threads=how.threads, clock=how.clock)
    ms = {config: one.ms for config, one in zip(distinct, measured, strict=True)}
    for one, config in zip(found, configs, strict=True):
        one["measured_ms"] = ms[config]


def _rows(found: Sequence[dict[str, Any]], how: Any) -> list[Row]:
    rows = []
    budgets = sorted({one["budget_ms"] for one in found})
    for metric, title in METRICS.items():
        means = {
            (name, budget): statistics.mean(
                one["metrics"][metric] for one in found if (one["choice"], one["budget_ms"]) == (name, budget)
            )
            for name in CHOICES
            for budget in budgets
        }
        for rival in CHOICES[1:]:
            gains = [means[CHOICES[0], budget] - means[rival, budget] for budget in budgets]
            words = ", ".join(
                f"{budget:g} ms: {means[CHOICES[0], budget]:.4f} against {means[rival, budget]:.4f}"
                for budget in budgets
            )
            won = sum(gain > 0 for gain in gains)
            rows.append(
                Row(f"chosen m_k over {rival}, {title}", statistics.mean(gains), "gain, mean of budgets",
                    1e-9, higher_is_better=True,
                    how=f"{words}; better on {won} of {len(budgets)} budgets (goal: all); {how.words}")
            )  # fmt: skip
    return rows


def _plot(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Both metrics over the measured latency: every training a mark, their means joined."""
    from matplotlib.figure import Figure

    styles = {"chosen": ("#1f6f8b", "o"), "paper's proportions": ("#b03a2e", "s"), "random": ("#777777", "^")}
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, len(METRICS)), METRICS.items(), strict=True):
        for name in CHOICES:
            colour, marker = styles[name]
            ours = [one for one in found if one["choice"] == name]
            axes.scatter(
                [one["measured_ms"] for one in ours], [one["metrics"][metric] for one in ours],
                color=colour, marker=marker, s=22, alpha=0.45, linewidths=0,
            )  # fmt: skip
            at = [
                [one for one in ours if one["budget_ms"] == b] for b in sorted({o["budget_ms"] for o in ours})
            ]
            axes.plot(
                [statistics.mean(one["measured_ms"] for one in seeds) for seeds in at],
                [statistics.mean(one["metrics"][metric] for one in seeds) for seeds in at],
                color=colour, marker=marker, label=name,
            )  # fmt: skip
        axes.set(xlabel="measured latency, ms", ylabel=title)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def _table(found: Sequence[dict[str, Any]]) -> str:
    lines = [f"{'':<22}{'budget':>8}{'seed':>6}{'ms':>8}{'AUROC':>9}{'AU-PRO':>9}  channels"]
    for one in found:
        metrics, config = one["metrics"], one["config"]
        channels = dict(zip(config["stages"], config["channels"], strict=True))
        lines.append(
            f"{one['choice']:<22}{one['budget_ms']:>8g}{one['seed']:>6}{one['measured_ms']:>8.2f}"
            f"{metrics['image_auroc']:>9.4f}{metrics['au_pro']:>9.4f}  {channels}"
        )
    return "\n".join(lines)
