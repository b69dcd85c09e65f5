"""Write the tables of docs/targets.md and docs/measurements.md: targets/, the cost model, measured accuracy.

python docs/make_targets.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgead.cost.analytic import PUBLISHED
from edgead.cost.layers import Layer, layers_of
from edgead.files import write_bytes
from edgead.models.realnet.config import RealNetConfig
from edgead.profiles.figures import Figure
from edgead.profiles.target import Target, list_targets

PAGE = Path(__file__).with_name("targets.md")
MEASUREMENTS = Path(__file__).with_name("measurements.md")
ACCURACY = Path(__file__).parents[1] / "benchmarks" / "results" / "accuracy.json"
_PEAKS = ("int8_tops", "f16_tflops", "tf32_tflops", "f32_tflops")


def filled_in(page: str) -> str:
    """The page with the text between each pair of `<!-- NAME -->` and `<!-- /NAME -->` made anew."""
    targets = [target for target in list_targets() if target.modes]
    tables = {"figures": figures(targets), "predictions": predictions(targets), "sources": sources(targets)}
    for name, lines in tables.items():
        page = _between_marks(page, name, lines)
    return page


def measurements_filled_in(page: str) -> str:
    """The page of measurements with its tables of predictions and of accuracy made anew."""
    page = _between_marks(page, "accuracy", accuracy(json.loads(ACCURACY.read_text(encoding="utf-8"))))
    return _between_marks(page, "predictions", predictions_by_target(list_targets()))


def accuracy(measured: Mapping[str, Any]) -> list[str]:
    """A row for each training of benchmarks/accuracy.py: INT8, as trained, the best rivals, the threshold."""
    head = [
        "Data set", "INT8: AUROC", "caught at 2 % / 0.1 %", "AU-PRO / pixel AP", "float: AUROC, AU-PRO",
        "best rival: AUROC", "AU-PRO", "thumbnails", "good rejected (promised)",
    ]  # fmt: skip
    rows = []
    for one in measured["settings"]["results"]:
        int8, trained = one["figures"]["int8"], one["figures"]["float"]
        rival = max(one["rivals"], key=lambda name: one["rivals"][name]["image_auroc"])
        held_out = f"{one['groups']} group{'s' * (one['groups'] > 1)}"
        pixel = max(figures["au_pro"] for figures in one["rivals"].values())
        rows.append(
            [
                f"`{one['subject']}`" + (f", seed {one['seed']}" if one["seed"] else ""),
                f"**{int8['image_auroc']:.3f}**",
                f"{int8['caught_at_2_percent']:.2f} / {int8['caught_at_0_1_percent']:.2f}",
                f"{int8['au_pro']:.3f} / {int8['pixel_ap']:.3f}",
                f"{trained['image_auroc']:.3f}, {trained['au_pro']:.3f}",
                f"{one['rivals'][rival]['image_auroc']:.3f} ({rival})",
                f"{pixel:.3f}",
                "-" if one["control"] is None else f"{one['control']:.2f}",
                f"{one['rejected']['int8']} of {one['good']} ({one['promised']:.1%}, {held_out})",
            ]
        )
    return _table(head, rows)


def _between_marks(page: str, name: str, lines: Iterable[str]) -> str:
    text = "".join(f"{line}\n" for line in lines)
    page, found = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
        lambda match: match[1] + text + match[2],
        page,
        flags=re.DOTALL,
    )
    if found != 1:
        raise SystemExit(f"Expected one pair of marks for '{name}', found {found}.")
    return page


def figures(targets: Iterable[Target]) -> list[str]:
    """A row for each mode of each target."""
    head = ["Target", "Mode", "Clock MHz", "Units", "INT8", "FP16", "TF32", "FP32", "GB/s"]
    rows = [
        [
            f"`{target.name}`",
            f"**{mode.name}**" if mode.name == target.default_mode else mode.name,
            *(
                _cell(mode.figures.get(name))
                for name in ("clock_mhz", "units", *_PEAKS, "bandwidth_gb_per_s")
            ),
        ]
        for target in targets
        for mode in target.modes.values()
    ]
    return _table(head, rows)


def predictions(targets: Iterable[Target]) -> list[str]:
    """Latency and memory of the default model on each Jetson and mode."""
    layers = layers_of(RealNetConfig())
    head = ["Target", "Mode", "Precision", "Latency, ms", "Weights and maps, MB"]
    rows = [
        _prediction(layers, target, name)
        for target in targets
        if target.name.startswith("jetson-")
        for name in target.modes
    ]
    return _table(head, rows)


def predictions_by_target(targets: Iterable[Target]) -> list[str]:
    """Latency and memory of the default model on each Jetson, the default mode first."""
    layers = layers_of(RealNetConfig())
    rows = []
    for target in targets:
        if not target.name.startswith("jetson-") or not target.modes:
            continue
        modes = sorted(target.modes, key=lambda mode: mode != target.default_mode)
        found = {mode: _prediction(layers, target, mode) for mode in modes}
        latencies = ", ".join(f"{cells[3]} ({mode})" for mode, cells in found.items())
        rows.append([f"`{target.name}`", target.precisions[0], latencies, next(iter(found.values()))[4]])
    return _table(["Target", "Precision", "Predicted latency, ms (mode)", "Weights and maps, MB"], rows)


def sources(targets: Iterable[Target]) -> list[str]:
    """The sources of each target, under its name."""
    lines = []
    for target in targets:
        lines += ["", f"`{target.name}`", "", *(f"- {key}: {text}" for key, text in target.sources.items())]
    return lines[1:]


def _prediction(layers: Sequence[Layer], target: Target, mode: str) -> list[str]:
    precision = target.precisions[0]
    found = PUBLISHED.predict(layers, target, mode=mode, precision=precision)
    return [f"`{target.name}`", mode, precision, f"{found.total_ms:.1f}", f"{found.peak_memory_mb:.0f}"]


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    mark = {"measured": " m", "published": "", "derived": " d"}[figure.basis]
    return f"{figure.value:.4g}{mark}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    for path, fill in ((PAGE, filled_in), (MEASUREMENTS, measurements_filled_in)):
        write_bytes(path, fill(path.read_text(encoding="utf-8")).encode(), make_folder=False)
