"""Destinations of verdicts by address: the scheme names the kind of sink.

A kind is an entry of `SINK_KINDS`, or an entry point of the group "edgead.verdict_sinks" (edgead/plugins.py)
that names a function with the arguments of `SinkMaker`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Protocol

from edgead.errors import UnknownNameError, UsageError
from edgead.plugins import entries, load
from edgead.verdicts.mqtt import MqttSink
from edgead.verdicts.sinks import OnEvent, Sink

GROUP = "edgead.verdict_sinks"


class SinkMaker(Protocol):
    """Makes the sink of an address. `spool`: a folder for what waits; `on_event`: messages for people."""

    def __call__(self, address: str, /, *, spool: Path, on_event: OnEvent) -> Sink: ...


def _mqtt(address: str, /, *, spool: Path, on_event: OnEvent) -> Sink:
    return MqttSink(address, spool=spool, on_event=on_event)


SINK_KINDS: dict[str, SinkMaker] = {"mqtt": _mqtt, "mqtts": _mqtt}


def open_sink(address: str, *, spool: Path | None = None, on_event: OnEvent = lambda message: None) -> Sink:
    """The sink at an address such as mqtt://192.168.1.5/line3.

    Without `spool`, verdicts wait in a folder of the user's state, one for each address. Raises UsageError
    for an address that cannot be meant, with near matches of its scheme.
    """
    scheme, separator, _ = address.partition("://")
    if not separator:
        raise UsageError(
            f"'{address}': expected an address with a scheme, such as mqtt://192.168.1.5/line3. Schemes: "
            f"{', '.join(SINK_KINDS)}."
        )
    return _maker(scheme.lower())(address, spool=spool or default_spool(address), on_event=on_event)


def default_spool(address: str) -> Path:
    """The folder of the user's state for what waits for an address, whatever the password in it.

    One that an earlier edgead named by the password as well is renamed, with what waits in it.
    """
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    spools = Path(state) / "edgead" / "spool"
    before, _, where = address.rpartition("@")
    user = before.partition("://")[2].partition(":")[0]
    scheme = address.partition("://")[0]
    plain = f"{scheme}://{user}@{where.partition('?')[0]}" if before else address.partition("?")[0]
    found, earlier = (spools / hashlib.sha256(text.encode()).hexdigest()[:16] for text in (plain, address))
    if earlier.is_dir() and not found.exists():
        with contextlib.suppress(OSError):
            earlier.rename(found)
    return found


def _maker(scheme: str) -> SinkMaker:
    if scheme in SINK_KINDS:
        return SINK_KINDS[scheme]
    plugins = entries(GROUP, built_in=SINK_KINDS)
    if scheme not in plugins:
        raise UnknownNameError("scheme of a destination", scheme, [*SINK_KINDS, *plugins])
    found = load(plugins[scheme], object)
    if not callable(found):
        raise UsageError(f"The plugin '{scheme}' must name a function that makes a sink. Reinstall it.")
    return found
