"""Verdicts on their way out: a function of the host, lines of JSON, an MQTT broker.

`verdict.py` has what a verdict says, docs/cameras.md its schema in words.
"""

from __future__ import annotations

from edgead.verdicts.addresses import SINK_KINDS, open_sink
from edgead.verdicts.sinks import CallbackSink, JsonLinesSink, Sink, SinkStatistics
from edgead.verdicts.verdict import SCHEMA, Verdict, verdict_from_strip

__all__ = [
    "SCHEMA",
    "SINK_KINDS",
    "CallbackSink",
    "JsonLinesSink",
    "Sink",
    "SinkStatistics",
    "Verdict",
    "open_sink",
    "verdict_from_strip",
]
