"""The section on the channel budget: the allocation's parts, its frontier, predicted and measured latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgead.report import figures


def allocation_rows(allocation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Part, what was chosen of it, and its predicted milliseconds."""
    config, parts = allocation["config"], dict(allocation["prediction"]["parts_ms"])
    chosen = {
        "backbone": config["backbone"],
        "selection": f"{config['residual_count']} residuals",
        "discriminator": f"width {config['discriminator_width']}",
        "bank": f"{config['bank_size']} features of stages {config['bank_stages']}",
    }
    for stage, channels, width in zip(
        config["stages"], config["channels"], config["reconstruction_widths"], strict=True
    ):
        kept, whole = allocation["stage_information"][str(stage)]
        words = f"{channels} channels, width {width}; {kept:.3f} of {whole:.3f} bits"
        chosen[f"reconstruction {stage}"] = words
    return [(name, chosen.get(name, ""), f"{ms:.3f}") for name, ms in parts.items()]


def allocation_facts(allocation: Mapping[str, Any]) -> dict[str, str]:
    """The allocation in words."""
    prediction, limits = allocation["prediction"], allocation["limits"]
    units = {"latency_ms": "ms", "file_mb": "MB of file", "memory_mb": "MB of memory"}
    stated = ", ".join(f"{value:g} {units[name]}" for name, value in limits.items() if value is not None)
    error = prediction["relative_error"]
    sure = "" if error is None else f", median error {error:.1%} on networks that were not fitted"
    return {
        "device": ", ".join(
            filter(None, (allocation["target"], allocation["mode"], allocation["precision"]))
        ),
        "limits": f"at most {stated}",
        "predicted": f"{prediction['total_ms']:.2f} ms ({prediction['basis']}{sure})",
        "held against the budget": f"{allocation['promised_ms']:.2f} ms, with the margin of the prediction",
        "channel information kept": f"{allocation['kept']:.1%} (ranks networks; no accuracy)",
        "the next millisecond would buy": allocation["next_ms"],
        **{f"note {number}": note for number, note in enumerate(allocation["notes"], 1)},
    }


def frontier_svg(allocation: Mapping[str, Any]) -> str:
    """Predicted latency against the channel information kept, the allocation and its budget marked."""
    points = allocation["frontier"]
    return figures.frontier(
        np.array([point["ms"] for point in points]),
        np.array([100 * point["kept"] for point in points]),
        chosen=(allocation["promised_ms"], 100 * allocation["kept"]),
        budget=allocation["limits"]["latency_ms"],
    )


def prediction_facts(prediction: Mapping[str, Any]) -> dict[str, str]:
    """Predicted and measured, beside each other."""
    facts = {"predicted, engine alone": f"{prediction['ms']:.2f} ms ({prediction['basis']})"}
    if prediction.get("measured_ms"):
        measured = prediction["measured_ms"]
        off = prediction["ms"] / measured - 1
        facts["measured, engine alone, p50"] = f"{measured:.2f} ms; the prediction is {off:+.1%} of it"
    notes = prediction.get("notes", ())
    return facts | {f"note {number}": note for number, note in enumerate(notes, 1)}
