"""The predicted latency of a bundle on this machine, for `edgead bench` to put beside the measured one."""

from __future__ import annotations

from typing import Any

from edgead.bundle import Manifest
from edgead.cost.measure import measured_on
from edgead.cost.predict import cost_model, target_table
from edgead.errors import EdgeadError, UnknownNameError
from edgead.models.realnet.config import RealNetConfig
from edgead.profiles.target import read_target


def predict_bundle(manifest: Manifest, *, target: str | None, threads: int) -> dict[str, Any]:
    """The prediction as plain values: "ms", "basis", "relative_error", "notes"; or "missing", which says why.

    Without a target, the bundle's own. Raises EdgeadError for a target that was named and cannot be used.
    """
    if manifest.family != RealNetConfig.family or manifest.config.get("reconstruction") != "compact":
        return {"missing": "costs are known of RealNets of compact parts alone"}
    try:
        found = read_target(target or manifest.target)
        model = cost_model(found, precision=manifest.precision)
        config = RealNetConfig.from_json(manifest.config)
    except UnknownNameError as error:
        if target is not None:
            raise
        return {"missing": f"{error} Name its profile with --target."}
    except EdgeadError as error:
        if target is not None:
            raise
        return {"missing": str(error)}
    prediction = model.predict(config)
    notes: tuple[str, ...] = model.notes
    table = target_table(found)
    if table is not None and prediction.basis == "measured table":
        now = measured_on(manifest.engine, threads=threads, clock=table.measured_on.clock)
        changes = table.changes(now)
        notes = (f"the table was measured otherwise: {'; '.join(changes)}",) if changes else ()
        notes += tuple(f"outside of the table: {reason}" for reason in table.covers(config))
    return {
        "ms": prediction.total_ms,
        "parts_ms": dict(prediction.parts_ms),
        "basis": prediction.basis,
        "relative_error": prediction.relative_error,
        "target": found.name,
        "notes": list(notes),
    }
