"""All the rewrites of an exported graph, in the order in which each feeds the next."""

from __future__ import annotations

import onnx

from edgead.compiler.graph import (
    fold_constants,
    fold_gather,
    fold_input_scale,
    remove_dead,
    remove_identities,
    simplify_gather_elements,
    sort_initializers,
)
from edgead.compiler.padding import fold_padding


def simplify(model: onnx.ModelProto) -> dict[str, int]:
    """Run every pass in the order in which each feeds the next; returns the changes by pass."""
    counts = {
        "constants folded": fold_constants(model),
        "identities removed": remove_identities(model),
        "paddings folded": fold_padding(model),
        "normalisations folded": fold_input_scale(model),
        "gathers folded": fold_gather(model),
        "element gathers simplified": simplify_gather_elements(model),
        "dead nodes removed": remove_dead(model),
    }
    sort_initializers(model)
    onnx.checker.check_model(model)
    return counts
