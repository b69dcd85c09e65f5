"""The .edgead file: one zip with the model, what it is, and the answers that prove it on a device."""

from __future__ import annotations

from edgead.bundle.manifest import (
    SCHEMA_VERSION,
    HashSpec,
    InputSpec,
    Manifest,
    MetricsSpec,
    OutputSpec,
    ThresholdSpec,
    draft_manifest,
)
from edgead.bundle.reader import Bundle, read_bundle
from edgead.bundle.reference import Reference, map_difference
from edgead.bundle.signature import Trust, read_trust
from edgead.bundle.writer import write_bundle

__all__ = [
    "SCHEMA_VERSION",
    "Bundle",
    "HashSpec",
    "InputSpec",
    "Manifest",
    "MetricsSpec",
    "OutputSpec",
    "Reference",
    "ThresholdSpec",
    "Trust",
    "draft_manifest",
    "map_difference",
    "read_bundle",
    "read_trust",
    "write_bundle",
]
