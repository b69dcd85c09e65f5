"""A profile with what was measured in it, as TOML: one line for each network, which tomli-w cannot write."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from edgead.cost.measure import MeasuredNetwork, MeasuredOn


def profile_with_table(profile: str, circumstances: MeasuredOn, measured: Sequence[MeasuredNetwork]) -> str:
    """The text of a profile with this `[table]` in place of its own, which is the last of it."""
    rest = re.split(r"^\[table\]", profile, maxsplit=1, flags=re.MULTILINE)[0]
    return f"{rest.rstrip()}\n\n{table_text(circumstances, measured)}"


def table_text(circumstances: MeasuredOn, measured: Sequence[MeasuredNetwork]) -> str:
    """The `[table]` as TOML; it must be the last of a profile."""
    lines = ["[table]", "# Measured on the device by `edgead targets measure`; read by the cost model."]
    lines += [f"{name} = {_toml(value)}" for name, value in dataclasses.asdict(circumstances).items()]
    lines.append("points = [")
    for one in measured:
        config = one.config
        fields = {
            "precision": one.precision,
            "backbone": config["backbone"],
            "stages": list(config["stages"]),
            "budgets": list(config["channels"]),
            "widths": list(config["reconstruction_widths"]),
            "residuals": config["residual_count"],
            "discriminator": config["discriminator_width"],
            "bank_size": config["bank_size"] if config["bank_stages"] else 0,
            "detail_size": config["detail_size"] if config["detail_stages"] else 0,
            "detail_stride": config["detail_stride"],
            "height": config["input_height"],
            "width": config["input_width"],
            "ms": round(one.ms, 4),
            "file_mb": round(one.file_mb, 3),
            "memory_mb": -1 if one.memory_mb is None else round(one.memory_mb, 1),
        }
        lines.append("  { " + ", ".join(f"{name} = {_toml(value)}" for name, value in fields.items()) + " },")
    return "\n".join([*lines, "]", ""])


def _toml(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else " " for c in escaped) + '"'
    return str(value)
