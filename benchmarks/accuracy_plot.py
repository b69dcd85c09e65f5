"""Accuracy against the time of one image: the means over the data sets, and each set as a faint point."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgead.metrics import IMAGE_AUROC

_COLOURS = ("tab:blue", "tab:orange", "tab:green")


def plot(results: Sequence[Any], milliseconds: Mapping[str, float], path: Path) -> None:
    """`results` are those of accuracy.py; `milliseconds` of ours and of each kind of rival, by name."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for (name, time), colour in zip(milliseconds.items(), _COLOURS, strict=False):
        values = _by_set(results, name.split(",")[0])
        axes.scatter([time] * len(values), list(values.values()), color=colour, alpha=0.35, s=25)
        for data, value in values.items():
            axes.annotate(data, (time, value), xytext=(6, -3), textcoords="offset points", fontsize=7)
        mean = statistics.fmean(values.values())
        axes.scatter([time], [mean], color=colour, s=110, marker="D", label=f"{name}: mean {mean:.3f}")
    axes.set_xscale("log")
    axes.set_xlim(0.75 * min(milliseconds.values()), 1.7 * max(milliseconds.values()))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.set_xlabel("median time of one image, ms, two cores")
    axes.set_ylabel("image AUROC, parts that training never saw")
    axes.set_title("Image AUROC on six data sets against time; rivals by their best rule on the mean")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def _by_set(results: Sequence[Any], method: str) -> dict[str, float]:
    """Mean image AUROC of each data set: ours in INT8, or a rival's by its rule that is best on the mean."""
    key = IMAGE_AUROC.key
    sets = list(dict.fromkeys(result.data for result in results))
    if method == "edgead":
        return {n: statistics.fmean(r.figures["int8"][key] for r in results if r.data == n) for n in sets}
    kinds = ("memory bank", "LDKNN") if method == "memory bank" else (method,)
    rules = [rule for rule in results[0].rivals if rule.split(",")[0] in kinds]
    reached = {
        rule: {n: statistics.fmean(r.rivals[rule][key] for r in results if r.data == n) for n in sets}
        for rule in rules
    }
    return max(reached.values(), key=lambda values: statistics.fmean(values.values()))
