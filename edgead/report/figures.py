"""The report's curves and histograms as SVG, drawn without pyplot's global state.

Good is blue and defective orange, told apart by every common colour vision and, in grey, by lightness; no
figure needs the colour to be read: good and defective have rows of their own.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

GOOD_COLOUR = "#2f6db0"
BAD_COLOUR = "#e08214"
INK = "#1d2733"
QUIET = "#8a94a0"
TIME_PIECES = 50  # of a run, in the figure of its latency over time
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "edgead",  # the same data give the same file
}


def score_histogram(good: np.ndarray, bad: np.ndarray, threshold: float | None) -> str:
    """Return the histograms of good and of defective scores, one above the other, and the threshold."""
    shown = [
        (values, colour, words)
        for values, colour, words in ((good, GOOD_COLOUR, "good"), (bad, BAD_COLOUR, "defective"))
        if values.size
    ]
    edges = _edges(np.concatenate([values for values, _, _ in shown]), threshold)
    with mpl.rc_context(STYLE):
        figure = new_figure(7.2, 0.6 + 1.35 * len(shown))
        rows = np.atleast_1d(figure.subplots(len(shown), 1, sharex=True))
        for axes, (values, colour, words) in zip(rows, shown, strict=True):
            _prepare(axes)
            axes.hist(values, bins=edges, color=colour)
            axes.set_ylabel(f"{words} ({values.size})")
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            _mark_threshold(axes, threshold)
        rows[-1].set_xlabel("score of the image")
        _label_threshold(rows[0], threshold)
        return svg_text(figure)


def scores_by_kind(scores: Mapping[str, np.ndarray], threshold: float | None) -> str:
    """Return one row per kind with a tick for each image, so that a kind that hides among the good shows."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(7.2, 0.75 + 0.34 * len(scores))
        for row, (kind, values) in enumerate(scores.items()):
            colour = GOOD_COLOUR if kind == "good" else BAD_COLOUR
            axes.plot(values, np.full(len(values), row), "|", color=colour, markersize=11, alpha=0.45)
            axes.plot([np.median(values)], [row], "o", color=INK, markersize=4)
        _mark_threshold(axes, threshold)
        names = [kind.replace("$", r"\$") for kind in scores]  # a folder's name is no formula
        axes.set_yticks(range(len(scores)), names)
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.set_xlabel("score of the image (dot: median)")
        _label_threshold(axes, threshold)
        return svg_text(figure)


def curve(
    x: np.ndarray,
    y: np.ndarray,
    *,
    xlabel: str,
    ylabel: str,
    chance: Sequence[tuple[float, float]],
    point: tuple[float, float] | None,
) -> str:
    """Return a curve in the unit square, the line of a blind guess, and the point of the threshold."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(3.5, 3.1)
        axes.plot(
            *zip(*chance, strict=True), color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label="blind guess"
        )
        axes.plot(x, y, color=GOOD_COLOUR, linewidth=1.8)
        if point is not None:
            axes.plot(*point, "o", color=INK, markersize=6, label="at the threshold", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=xlabel, ylabel=ylabel)
        axes.legend(loc="lower right")
        return svg_text(figure)


def latency_histogram(
    values: np.ndarray, counts: np.ndarray, marks: Mapping[str, float], budget: float | None
) -> str:
    """Return the latencies on a logarithmic count axis, so that a single late part is seen."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(7.2, 2.9)
        axes.hist(values, bins=_edges(values, budget, bins=80), weights=counts, color=GOOD_COLOUR, alpha=0.85)
        axes.set_yscale("log")
        axes.set_ylim(0.7, None)
        for row, (name, value) in enumerate(marks.items()):
            axes.axvline(value, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
            _label(axes, f"{name} {value:.2f}", value, 0.95 - 0.11 * row)
        if budget is not None:
            axes.axvline(budget, color=BAD_COLOUR, linewidth=1.6)
            _label(axes, f"budget {budget:g}", budget, 0.95 - 0.11 * len(marks))
        axes.set_xlabel("latency per image, ms")
        axes.set_ylabel("images (log)")
        return svg_text(figure)


def frontier(
    latencies: np.ndarray, kept: np.ndarray, *, chosen: tuple[float, float], budget: float | None
) -> str:
    """Return the best that every latency allows, in percent, as steps; the choice and its budget marked."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(7.2, 3.1)
        axes.step(latencies, kept, where="post", color=GOOD_COLOUR, linewidth=1.8)
        axes.plot(*chosen, "o", color=INK, markersize=6, zorder=3, clip_on=False)
        axes.annotate("chosen", chosen, xytext=(-8, 5), textcoords="offset points", ha="right", fontsize=8)
        shown = budget is not None and budget <= 1.2 * float(latencies.max())
        if budget is not None and shown:
            axes.axvline(budget, color=BAD_COLOUR, linewidth=1.6)
            _label(axes, f"budget {budget:g} ms", budget, 0.08)
        axes.set_ylim(0, 101)
        axes.set_xlabel("predicted latency with its margin, ms")
        axes.set_ylabel("channel information kept, %")
        return svg_text(figure)


def latency_over_time(values: np.ndarray, budget: float | None) -> str:
    """Return the median and the maximum of each of equal pieces of the run, on a logarithmic axis."""
    pieces = np.array_split(values, TIME_PIECES)
    x = 100 * (np.arange(len(pieces)) + 0.5) / len(pieces)
    with mpl.rc_context(STYLE):
        figure, axes = _axes(7.2, 2.4)
        axes.plot(x, [piece.max() for piece in pieces], color=BAD_COLOUR, linewidth=1.2, label="maximum")
        axes.plot(x, [np.median(piece) for piece in pieces], color=GOOD_COLOUR, linewidth=1.6, label="median")
        if budget is not None:
            axes.axhline(budget, color=INK, linewidth=1.2, linestyle=(0, (5, 2)), label=f"budget {budget:g}")
        axes.set_yscale("log")
        axes.set(xlim=(0, 100), xlabel="share of the run, %", ylabel="latency, ms (log)")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.1)
        return svg_text(figure)


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    _prepare(axes)
    return figure, axes


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that no display is needed for."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _prepare(axes: Any) -> None:
    axes.grid(visible=True)
    axes.set_axisbelow(True)


def _edges(values: np.ndarray, other: float | None, *, bins: int = 48) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if other is not None:
        low, high = min(low, other), max(high, other)
    if high - low < 1e-12 * max(abs(high), 1e-300):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _mark_threshold(axes: Any, threshold: float | None) -> None:
    if threshold is not None:
        axes.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (5, 2)))


def _label_threshold(axes: Any, threshold: float | None) -> None:
    if threshold is not None:
        _label(axes, f"threshold {threshold:.4g}", threshold, 1.04)


def _label(axes: Any, words: str, x: float, height: float) -> None:
    """Write beside a vertical line at `x`, `height` of the axes up, on white so that bars do not disturb."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
    right = x > np.mean(axes.get_xlim())  # keeps the words inside the picture
    axes.annotate(
        words,
        xy=(x, height),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if right else 4, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        fontsize=8,
        bbox=box,
    )


def svg_text(figure: Figure) -> str:
    """The figure as SVG; the same data give the same text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
