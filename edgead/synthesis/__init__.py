"""Synthetic anomalies on good images: masks, blending, and sources behind one interface."""

from edgead.synthesis.foreground import ForegroundFinder, find_foreground, foreground_mask
from edgead.synthesis.sources import AnomalySource, Material
from edgead.synthesis.synthesizer import (
    DEFAULT_MIX,
    SET_MIX,
    SOURCES,
    Synthesizer,
    SyntheticSample,
    parse_mix,
)

__all__ = [
    "DEFAULT_MIX",
    "SET_MIX",
    "SOURCES",
    "AnomalySource",
    "ForegroundFinder",
    "Material",
    "Synthesizer",
    "SyntheticSample",
    "find_foreground",
    "foreground_mask",
    "parse_mix",
]
