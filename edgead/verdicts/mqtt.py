"""Verdicts to an MQTT broker: at least once, in order, and never at the expense of the inspection."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from edgead.errors import EdgeadError, UnknownNameError, UsageError
from edgead.files import read_file
from edgead.installation import how_to_install
from edgead.verdicts.sinks import OnEvent, Sink, SinkStatistics
from edgead.verdicts.spool import Spool
from edgead.verdicts.verdict import Verdict

_INBOX = 10_000  # verdicts between the inspection and the thread that sends
_IN_FLIGHT = 20  # sent and not yet acknowledged
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_TLS_FILES = ("ca", "cert", "key")
_SETTINGS = ("password-file", "password-env", *_TLS_FILES)
_LONGEST_PASSWORD = 2**16
_LONGEST_WAIT_S = 10  # between attempts to connect
DEFAULT_SPOOL_BYTES = 64 * 2**20


class MqttSink(Sink):
    """Publishes each verdict to `mqtt://[user[:password]@]host[:port]/topic` (`mqtts` over TLS), with QoS 1.

    Settings come behind a question mark: `password-file` or `password-env` (the name of a variable) in place
    of the password; for TLS `ca` (the authority's certificate, in place of the system's), `cert` and `key`
    (this client's own), each a file.

    Without a connection verdicts go to the folder `spool`, and from there to the broker once it is back, also
    by a later process. It holds at most `spool_bytes`; then the oldest are dropped and counted. The topic's
    neighbour `topic/status` says online or offline (retained; offline by the broker's own means as well).
    A verdict may arrive twice after a lost connection: `source` and `sequence` show it.
    """

    def __init__(
        self,
        address: str,
        *,
        spool: str | Path,
        spool_bytes: int = DEFAULT_SPOOL_BYTES,
        on_event: OnEvent | None = None,
    ) -> None:
        self._mqtt = _paho()
        self._target = _parse(address)
        self._on_event = on_event or (lambda words: None)
        self.statistics = SinkStatistics()
        self._spool = Spool(spool, max_bytes=spool_bytes)
        self.statistics.found = self.statistics.waiting = len(self._spool)
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue()
        self._arriving = 0  # verdicts in the inbox
        self._lock = threading.Lock()
        self._pending: dict[int, bytes] = {}  # key -> line, oldest first; in flight or about to be
        self._keys: dict[int, int] = {}  # message id -> key
        self._next_key = 0
        self._is_from_spool = False  # whether the pending lines are the spool's head
        self._is_connected = self._is_closing = False
        self._was_told_full = self._was_told_away = False
        self._client: Any = None
        self._thread = threading.Thread(target=self._run, name="mqtt verdicts", daemon=True)
        self._thread.start()

    def send(self, verdict: Verdict) -> None:
        """Take a verdict; never waits. Dropped and counted only where even the inbox is full."""
        line = verdict.to_line()
        with self._lock:
            self.statistics.accepted += 1
            if self._arriving >= _INBOX or self._is_closing:
                self.statistics.dropped += 1
                return
            self._arriving += 1
            self.statistics.waiting += 1
            self._inbox.put(lambda: self._take(line))

    def close(self, timeout_s: float = 3.0) -> None:
        """Give the broker `timeout_s` to take what waits, and keep the rest on disk."""
        if self._is_closing:
            return
        deadline = time.monotonic() + timeout_s
        while self.statistics.waiting and self._is_connected and time.monotonic() < deadline:
            time.sleep(0.01)
        with self._lock:
            self._is_closing = True
            self._inbox.put(self._shut)
        self._thread.join(timeout=10)

    # What follows runs in the sink's own thread; the client's callbacks only put work into the inbox.

    def _run(self) -> None:
        self._connect()
        while True:
            step = self._inbox.get()
            try:
                step()
                if self._is_closing and self._client is None:
                    return
                self._publish()
            except Exception as error:  # the thread lives on: verdicts that come later have their chance
                self._on_event(f"{self._target}: {error!r}.")

    def _take(self, line: bytes) -> None:
        with self._lock:
            self._arriving -= 1
        if self._is_connected and not len(self._spool) and len(self._pending) < _INBOX:
            self._add(line)
            return
        try:
            before = self._spool.dropped
            self._spool.append(line)
            self._count_dropped(self._spool.dropped - before, "the spool is full")
        except OSError as error:
            self._count_dropped(1, f"the spool cannot be written ({error.strerror})")

    def _add(self, line: bytes) -> None:
        self._pending[self._next_key] = line
        self._next_key += 1

    def _publish(self) -> None:
        """Send what is pending and not in flight, in order; fill up from the spool when nothing is."""
        if not self._is_connected:
            return
        if not self._pending and len(self._spool):
            self._is_from_spool = True
            try:
                lines = self._spool.head()
            except OSError as error:
                self._on_event(f"{self._target}: the spool cannot be read ({error.strerror}).")
                return
            for line in lines:
                self._add(line)
        in_flight = set(self._keys.values())
        for key, line in self._pending.items():
            if len(in_flight) >= _IN_FLIGHT:
                return
            if key not in in_flight:
                sent = self._client.publish(self._target.topic, line.rstrip(), qos=1)
                if sent.rc != 0:
                    return  # the connection is gone, and its callback is on its way
                self._keys[sent.mid] = key
                in_flight.add(key)

    def _acknowledged(self, client: Any, message_id: int) -> None:
        key = self._keys.pop(message_id, None) if client is self._client else None
        if key is None:
            return
        self._pending.pop(key)
        with self._lock:
            self.statistics.delivered += 1
            self.statistics.waiting -= 1
        if self._is_from_spool and not self._pending:
            self._spool.remove_head()
            self._is_from_spool = False

    def _connected(self, client: Any, reason: Any) -> None:
        if client is not self._client:
            return
        if reason.is_failure:
            self._on_event(f"{self._target}: the broker refuses the connection ({reason}).")
            return
        self._is_connected, self._was_told_away = True, False
        client.publish(f"{self._target.topic}/status", "online", qos=1, retain=True)
        waiting = f"; {len(self._spool)} verdicts wait on disk" if len(self._spool) else ""
        self._on_event(f"{self._target}: connected{waiting}.")

    def _unreachable(self) -> None:
        if not self._was_told_away:
            self._on_event(f"{self._target}: no broker answers; verdicts go to disk.")
        self._was_told_away = True

    def _disconnected(self, client: Any, reason: Any) -> None:
        if client is not self._client or not self._is_connected:
            return
        self.statistics.disconnects += 1
        self._on_event(f"{self._target}: connection lost ({reason}); verdicts go to disk.")
        self._keep_pending()
        self._let_go()
        self._connect()

    def _keep_pending(self) -> None:
        """What was not acknowledged goes back to disk, before all others; the spool's own is there still."""
        lines = list(self._pending.values())
        self._pending.clear()
        self._keys.clear()
        self._is_connected = False
        try:
            if self._is_from_spool:
                self._spool.replace_head(lines)
            else:
                self._spool.prepend(lines)
        except OSError as error:
            self._spool.let_go()
            if self._is_from_spool:  # the head is still there, with those that have been delivered
                again = len(self._spool) - self.statistics.waiting
                self.statistics.found += again
                self.statistics.waiting += again
            else:
                self._count_dropped(len(lines), f"the spool cannot be written ({error.strerror})")
        self._is_from_spool = False

    def _count_dropped(self, count: int, why: str) -> None:
        if count:
            with self._lock:
                self.statistics.dropped += count
                self.statistics.waiting -= count
            if not self._was_told_full:
                self._on_event(f"{self._target}: {why}; verdicts are dropped.")
        self._was_told_full = bool(count) or (self._was_told_full and not self._is_connected)

    def _connect(self) -> None:
        """A new client: an old one would send what it holds again by itself."""
        client = self._mqtt.Client(self._mqtt.CallbackAPIVersion.VERSION2)
        if self._target.user is not None:
            client.username_pw_set(self._target.user, self._target.password)
        if self._target.is_encrypted:
            settings = self._target.settings
            client.tls_set(
                ca_certs=settings.get("ca"), certfile=settings.get("cert"), keyfile=settings.get("key")
            )
        client.will_set(f"{self._target.topic}/status", "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, _LONGEST_WAIT_S)
        put = self._inbox.put
        client.on_connect = lambda c, *rest: put(lambda: self._connected(c, rest[2]))
        client.on_connect_fail = lambda *rest: put(self._unreachable)
        client.on_disconnect = lambda c, *rest: put(lambda: self._disconnected(c, rest[2]))
        client.on_publish = lambda c, data, mid, *rest: put(lambda: self._acknowledged(c, mid))
        self._client = client
        client.connect_async(self._target.host, self._target.port, keepalive=15)
        client.loop_start()

    def _let_go(self) -> None:
        client, self._client = self._client, None
        client.disconnect()
        client.loop_stop()

    def _shut(self) -> None:
        if self._is_connected:
            done = self._client.publish(f"{self._target.topic}/status", "offline", qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # gone: the broker says it by its own means
                done.wait_for_publish(timeout=1.0)
        self._keep_pending()
        self._spool.close()
        self._let_go()


class _Target:
    """Where an address leads; its words leave the password out."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.host, self.topic = parts.hostname or "", parts.path.strip("/")
        self.port = parts.port or _PORTS[parts.scheme]
        self.is_encrypted = parts.scheme == "mqtts"
        self.user = unquote(parts.username) if parts.username else None
        self.settings = _settings(parts.query, is_encrypted=self.is_encrypted)
        self.password = _password(unquote(parts.password) if parts.password else None, self.settings)
        if self.password is not None and self.user is None:
            raise UsageError("A password for a broker needs a user before it: mqtt://user@host/topic.")
        self._words = f"{parts.scheme}://{self.host}:{self.port}/{self.topic}"

    def __str__(self) -> str:
        return self._words


def _settings(query: str, *, is_encrypted: bool) -> dict[str, str]:
    """The settings of an address; UsageError for others, and for files that cannot be read."""
    found = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in found.items():
        if name not in _SETTINGS:
            raise UnknownNameError("setting of an MQTT address", name, _SETTINGS)
        if name in _TLS_FILES and not is_encrypted:
            raise UsageError(f"{name}= is for mqtts://; this address is not encrypted.")
        if name in _TLS_FILES and not Path(value).is_file():
            raise UsageError(f"{name}={value}: no such file. Name a certificate or key in PEM.")
    if "key" in found and "cert" not in found:
        raise UsageError("key= is that of cert=, which is missing.")
    return found


def _password(written: str | None, settings: Mapping[str, str]) -> str | None:
    """The password from the one place where it is given."""
    given = [name for name in ("password-file", "password-env") if name in settings]
    if len(given) + (written is not None) > 1:
        raise UsageError("The password of a broker is given twice. Give it once.")
    if not given:
        return written
    where = settings[given[0]]
    if given[0] == "password-env":
        if where not in os.environ:
            raise UsageError(f"password-env={where}: there is no such variable. Export it.")
        return os.environ[where]
    try:
        return read_file(where, most=_LONGEST_PASSWORD).decode().splitlines()[0]
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"password-file={where}: no password in it ({error}). Write it there.") from error


def _parse(address: str) -> _Target:
    try:
        parts = urlsplit(address)
        topic = parts.path.strip("/")
        is_right = parts.scheme in _PORTS and bool(parts.hostname) and bool(topic)
        # A host such as a..b would end the client's thread without a word.
        if (
            is_right
            and "#" not in address.rpartition("@")[2]
            and not set("+\0") & set(topic)
            and (parts.hostname or "").encode("idna")
        ):
            return _Target(address)
    except ValueError:  # a port that is no number, a host that is none
        pass
    raise UsageError(
        "Expected the address of a broker and a topic, such as mqtt://192.168.1.5/line3/verdicts "
        "(mqtts:// over TLS; the port after the host; no # or + in the topic); found another text."
    )


def _paho() -> Any:
    try:
        import paho.mqtt.client
    except ImportError as error:
        raise EdgeadError(
            f"MQTT needs paho-mqtt ({error}). Install it with: {how_to_install('mqtt')}"
        ) from error
    return paho.mqtt.client
