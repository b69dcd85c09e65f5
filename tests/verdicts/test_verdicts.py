"""Verdicts leave in order and none disappears unseen: files, full disks, a real broker that dies."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import EdgeadError, UsageError
from edgead.verdicts import SCHEMA, CallbackSink, JsonLinesSink, Sink, Verdict, open_sink
from edgead.verdicts.spool import Spool


def verdict(sequence: int, **changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "source": "c", "sequence": sequence, "number": sequence, "is_anomalous": False, "score": 0.25,
        "threshold": 0.5, "pixel_threshold": 0.5, **changes,
    }  # fmt: skip
    return Verdict(**fields)


def balance(sink: Sink) -> None:
    s = sink.statistics
    assert s.accepted + s.found == s.delivered + s.waiting + s.dropped, s


class TestRecords:
    def test_the_fields(self):
        record = json.loads(verdict(3, problem="dark").to_line())
        assert record["schema"] == SCHEMA
        assert (record["sequence"], record["score"], record["problem"]) == (3, 0.25, "dark")

    @pytest.mark.parametrize("score", [float("nan"), float("inf"), None])
    def test_scores_that_json_cannot_say(self, score: float | None):
        assert json.loads(verdict(0, score=score).to_line())["score"] is None


class TestCallback:
    def test_in_order(self):
        seen: list[Verdict] = []
        sink = CallbackSink(seen.append)
        for number in range(3):
            sink.send(verdict(number))
        assert [v.sequence for v in seen] == [0, 1, 2]
        balance(sink)

    def test_what_the_host_raises_comes_through_and_is_counted(self):
        def fail(_: Verdict) -> None:
            raise ZeroDivisionError("the host's")

        sink = CallbackSink(fail)
        with pytest.raises(ZeroDivisionError):
            sink.send(verdict(0))
        assert sink.statistics.dropped == 1
        balance(sink)


class TestJsonLines:
    def test_lines_are_there_at_once_and_appended(self, tmp_path: Path):
        for start in (0, 2):
            with JsonLinesSink(tmp_path / "a.jsonl") as sink:
                sink.send(verdict(start))
                sink.send(verdict(start + 1))
                lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
                assert [json.loads(line)["sequence"] for line in lines] == list(range(start + 2))

    def test_a_full_disk_is_told_once_counted_and_survived(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        true_write, room = os.write, [700]

        def write(file: int, data: Any) -> int:
            if room[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            done = true_write(file, bytes(data)[: room[0]])
            room[0] -= done
            return done

        monkeypatch.setattr(os, "write", write)
        told: list[str] = []
        with JsonLinesSink(tmp_path / "a.jsonl", on_event=told.append) as sink:
            for number in range(5):
                sink.send(verdict(number))
            room[0] = 10**6
            sink.send(verdict(5))
        records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_bytes().splitlines()]
        kept = [record["sequence"] for record in records]  # no half line among them
        assert kept[-1] == 5
        assert len(kept) == sink.statistics.delivered < 6
        assert sink.statistics.dropped == 6 - len(kept)
        assert len(told) == 2
        assert "No space left" in told[0]
        assert "can be written again" in told[1]
        balance(sink)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_a_disk_that_is_full_from_the_start(self):
        told: list[str] = []
        with JsonLinesSink("/dev/full", on_event=told.append) as sink:
            sink.send(verdict(0))
        assert sink.statistics.dropped == len(told) == 1

    def test_a_file_that_cannot_be_made(self, tmp_path: Path):
        with pytest.raises(EdgeadError, match="cannot be written"):
            JsonLinesSink(tmp_path / "no" / "a.jsonl")


class TestSpool:
    @settings(max_examples=50, deadline=None)
    @given(
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("append"), st.integers(1, 40)),
                st.tuples(st.just("take"), st.just(0)),
                st.tuples(st.just("partly"), st.integers(0, 30)),
                st.tuples(st.just("again"), st.just(0)),
            ),
            max_size=30,
        )
    )
    def test_a_queue_that_survives_its_process(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
    ):
        folder = tmp_path_factory.mktemp("spool")
        spool, expected, number = Spool(folder, max_bytes=10**9), [], 0
        for what, amount in steps:
            if what == "append":
                for _ in range(amount):
                    line = f"{number:05}".encode() + b"x" * 3000 + b"\n"
                    spool.append(line)
                    expected.append(line)
                    number += 1
            elif what == "take" and expected:
                head = spool.head()
                assert head
                assert expected[: len(head)] == head
                del expected[: len(head)]
                spool.remove_head()
            elif what == "partly" and expected:
                head = spool.head()
                done = min(amount, len(head) - 1)
                spool.replace_head(head[done:])
                del expected[:done]
            elif what == "again":
                spool.close()
                spool = Spool(folder, max_bytes=10**9)
            assert len(spool) == len(expected)
        rest = []
        while head := spool.head():
            rest += head
            spool.remove_head()
        spool.close()
        assert rest == expected
        assert [path.name for path in folder.iterdir()] == ["lock"]

    def test_the_oldest_make_room_and_are_counted(self, tmp_path: Path):
        spool = Spool(tmp_path, max_bytes=400_000)
        line = b"x" * 999 + b"\n"
        for _ in range(1000):
            spool.append(line)
        assert spool.dropped + len(spool) == 1000
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 400_000
        assert len(spool) > 250

    @settings(max_examples=100, deadline=None)
    @given(
        steps=st.lists(
            st.sampled_from(["append", "append", "append", "head", "removed", "replaced", "let go"]),
            max_size=60,
        )
    )
    def test_every_line_is_counted_under_any_order_of_events(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[str]
    ):
        """Lines that were given to a broker and acknowledged, those that wait, those dropped: all of them."""
        spool = Spool(tmp_path_factory.mktemp("spool"), max_bytes=300_000)
        accepted = delivered = 0
        on_the_way: list[bytes] = []
        for what in steps:
            if what == "append":
                for _ in range(7):
                    spool.append(f"{accepted:05}".encode() + b"x" * 9000 + b"\n")
                    accepted += 1
            elif what == "head" and not on_the_way:
                on_the_way = spool.head()
            elif what == "removed" and on_the_way:
                spool.remove_head()
                delivered, on_the_way = delivered + len(on_the_way), []
            elif what == "replaced" and on_the_way:
                done = len(on_the_way) // 2
                spool.replace_head(on_the_way[done:])
                delivered, on_the_way = delivered + done, []
            elif what == "let go":
                spool.let_go()
                on_the_way = []
            assert accepted == delivered + len(spool) + spool.dropped
        spool.close()

    def test_what_is_on_its_way_makes_no_room(self, tmp_path: Path):
        spool = Spool(tmp_path, max_bytes=1000)
        for number in range(3):
            spool.append(f"{number}".encode() + b"x" * 300 + b"\n")
        head = spool.head()
        for number in range(3, 9):
            spool.append(f"{number}".encode() + b"x" * 300 + b"\n")
        assert spool.dropped == 6
        spool.remove_head()
        assert len(head) == 3
        assert len(spool) == 0

    def test_a_line_cut_by_a_crash_is_left_out(self, tmp_path: Path):
        spool = Spool(tmp_path, max_bytes=10**6)
        spool.append(b"whole\n")
        spool.close()
        (segment,) = tmp_path.glob("*.jsonl")
        segment.write_bytes(b"whole\nhal")
        assert Spool(tmp_path, max_bytes=10**6).head() == [b"whole\n"]

    def test_one_process_at_a_time(self, tmp_path: Path):
        first = Spool(tmp_path, max_bytes=10**6)
        with pytest.raises(EdgeadError, match="another process"):
            Spool(tmp_path, max_bytes=10**6)
        first.close()
        Spool(tmp_path, max_bytes=10**6).close()

    def test_a_folder_that_cannot_be(self, tmp_path: Path):
        (tmp_path / "file").write_text("")
        with pytest.raises(EdgeadError, match="Name another folder"):
            Spool(tmp_path / "file", max_bytes=10**6)


needs_broker = pytest.mark.skipif(
    shutil.which("mosquitto") is None, reason="mosquitto is not installed (apt-get install mosquitto)"
)


class Broker:
    """A real mosquitto, and a subscriber that keeps what it publishes."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.received: list[dict[str, Any]] = []
        self.states: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None

    @property
    def address(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}/line/verdicts"

    @property
    def sequences(self) -> list[int]:
        return [record["sequence"] for record in self.received]

    def start(self) -> None:
        import paho.mqtt.client as mqtt

        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._listens)
        subscribed = threading.Event()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.on_message = self._keep
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("127.0.0.1", self.port)
        client.subscribe("line/#", qos=1)
        client.loop_start()
        assert subscribed.wait(10)
        self._client = client

    def _keep(self, client: Any, data: Any, message: Any) -> None:
        if message.topic.endswith("/status"):
            self.states.append(message.payload.decode())
        else:
            self.received.append(json.loads(message.payload))

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def hold(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        if self._client is not None:
            self._client.loop_stop()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._client = self._process = None


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@needs_broker
class TestMqtt:
    def sink(self, broker: Broker, tmp_path: Path, **settings: Any) -> Any:
        from edgead.verdicts.mqtt import MqttSink

        return MqttSink(broker.address, spool=tmp_path / "spool", **settings)

    def test_all_arrive_in_order(self, broker: Broker, tmp_path: Path):
        broker.start()
        with self.sink(broker, tmp_path) as sink:
            for number in range(300):
                sink.send(verdict(number))
            wait_until(lambda: sink.statistics.delivered == 300)
        wait_until(lambda: len(broker.received) >= 300)
        assert broker.sequences == list(range(300))
        wait_until(lambda: broker.states == ["online", "offline"])
        balance(sink)

    def test_a_broker_that_goes_and_comes_back(self, broker: Broker, tmp_path: Path):
        """Killed in mid-stream: nothing waits for it, nothing is lost, the order is kept."""
        told: list[str] = []
        broker.start()
        with self.sink(broker, tmp_path, on_event=told.append) as sink:
            for number in range(100):
                sink.send(verdict(number))
            wait_until(lambda: len(broker.received) == 100)
            broker.hold()
            for number in range(100, 200):  # in flight when it dies, and behind
                sink.send(verdict(number))
            time.sleep(0.1)
            broker.kill()
            for number in range(200, 400):
                sink.send(verdict(number))
            wait_until(lambda: sink.statistics.disconnects == 1)
            broker.start()
            wait_until(lambda: sink.statistics.delivered == 400)
            balance(sink)
        wait_until(lambda: 399 in broker.sequences)
        assert set(broker.sequences) == set(range(400))
        first_seen = list(dict.fromkeys(broker.sequences))
        assert first_seen == sorted(first_seen)
        assert sink.statistics.dropped == 0
        assert any("connection lost" in words for words in told)

    def test_what_waits_at_the_end_is_sent_by_the_next_process(self, broker: Broker, tmp_path: Path):
        with self.sink(broker, tmp_path) as sink:
            for number in range(50):
                sink.send(verdict(number))
        assert sink.statistics.waiting == 50
        balance(sink)
        broker.start()
        with self.sink(broker, tmp_path) as later:
            assert later.statistics.found == 50
            later.send(verdict(50))
            wait_until(lambda: later.statistics.delivered == 51)
        wait_until(lambda: len(broker.received) >= 51)
        assert broker.sequences == list(range(51))
        balance(later)

    def test_a_spool_that_is_full_drops_the_oldest_and_counts(self, broker: Broker, tmp_path: Path):
        told: list[str] = []
        with self.sink(broker, tmp_path, spool_bytes=300_000, on_event=told.append) as sink:
            for number in range(3000):
                sink.send(verdict(number))
            wait_until(lambda: sink.statistics.dropped > 1000)
        balance(sink)
        assert sum("the spool is full" in words for words in told) == 1
        broker.start()
        with self.sink(broker, tmp_path) as later:
            wait_until(lambda: len(broker.received) >= later.statistics.found)
        assert broker.sequences == list(range(3000 - len(broker.sequences), 3000))

    def test_a_disk_that_is_full_as_well(
        self, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def write(file: int, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        told: list[str] = []
        with self.sink(broker, tmp_path, on_event=told.append) as sink:
            with monkeypatch.context() as patch:
                patch.setattr("edgead.verdicts.sinks.os.write", write)
                for number in range(20):
                    sink.send(verdict(number))
                wait_until(lambda: sink.statistics.dropped == 20)
            sink.send(verdict(20))
        assert sink.statistics.waiting == 1
        balance(sink)
        assert any("No space left" in words for words in told)

    def test_sending_does_not_wait_for_a_broker_that_is_away(self, broker: Broker, tmp_path: Path):
        """More verdicts than the inbox holds while its thread is held up: the rest is dropped and counted."""
        with self.sink(broker, tmp_path) as sink:
            gate = threading.Event()
            sink._inbox.put(lambda: gate.wait(20))
            for number in range(10_500):
                sink.send(verdict(number))
            assert sink.statistics.dropped == 500
            gate.set()
        balance(sink)


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "http://h/t", "mqtt://h", "mqtt://h/", "mqtt:///t", "mqtt://h:x/t", "mqtt://h/a/#",
     "mqtt://me:secret@h:1883/+/t", "mqtt://a..b/t", f"mqtt://{'a' * 64}/t", "mqtt://h:99999/t", "mqtt://h/t#x"],
)  # fmt: skip
def test_addresses_that_are_none(tmp_path: Path, address: str):
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
    from edgead.verdicts.mqtt import MqttSink

    with pytest.raises(UsageError, match="such as mqtt://") as caught:
        MqttSink(address, spool=tmp_path / "spool")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "spool").exists()


class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "message"),
        [
            ("broker/topic", "expected an address with a scheme"),
            ("mqqt://host/topic", "Did you mean mqtt"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, address: str, message: str):
        with pytest.raises(UsageError, match=message):
            open_sink(address)

    def test_a_folder_is_held_by_one_process_where_fcntl_is_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """As on Windows: the lock is msvcrt's, of which a double stands in here."""
        held: set[int] = set()

        def locking(file: int, mode: int, length: int) -> None:
            inode = os.fstat(file).st_ino
            if inode in held:
                raise OSError("locked")
            held.add(inode)

        monkeypatch.setitem(sys.modules, "fcntl", None)
        monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
        first = Spool(tmp_path / "spool", max_bytes=2**20)
        with pytest.raises(EdgeadError, match="another process keeps its verdicts there"):
            Spool(tmp_path / "spool", max_bytes=2**20)
        first.close()


class TestSecrets:
    @pytest.fixture(autouse=True)
    def needs_paho(self):
        pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")

    def target(self, address: str) -> Any:
        from edgead.verdicts.mqtt import _parse

        return _parse(address)

    def test_a_password_from_a_file_or_a_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "pw").write_text("from a file\n")
        monkeypatch.setenv("LINE_PASSWORD", "from a variable")
        assert self.target(f"mqtt://me@h/t?password-file={tmp_path}/pw").password == "from a file"
        assert self.target("mqtt://me@h/t?password-env=LINE_PASSWORD").password == "from a variable"
        assert self.target("mqtt://me:in%20it@h/t").password == "in it"

    def test_certificates(self, tmp_path: Path):
        (tmp_path / "ca.pem").write_text("")
        found = self.target(f"mqtts://h/t?ca={tmp_path}/ca.pem")
        assert found.settings == {"ca": f"{tmp_path}/ca.pem"}

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("mqtt://me:secret@h/t?password-env=HOME", "given twice"),
            ("mqtt://me@h/t?password-env=NO_SUCH_VARIABLE", "no such variable"),
            ("mqtt://me@h/t?password-file=/nowhere", "no password in it"),
            ("mqtt://h/t?password-env=HOME", "needs a user"),
            ("mqtt://h/t?ca=/nowhere", "not encrypted"),
            ("mqtts://h/t?ca=/nowhere", "no such file"),
            ("mqtts://h/t?key=/dev/null", "no such file|missing"),
            ("mqtt://h/t?passwrd-file=x", "Did you mean password-file"),
        ],
    )
    def test_what_cannot_be_meant(self, address: str, words: str):
        with pytest.raises(UsageError, match=words) as caught:
            self.target(address)
        assert "secret" not in str(caught.value)

    def test_the_spool_is_the_same_whatever_the_password(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        import hashlib

        from edgead.verdicts.addresses import default_spool

        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        first, second = (default_spool(f"mqtt://me:{password}@h/t") for password in ("old", "new"))
        assert first == second
        assert default_spool("mqtt://me@h/t?password-env=X") == first
        assert default_spool("mqtt://you:old@h/t") != first
        earlier = first.parent / hashlib.sha256(b"mqtt://me:kept@h/t").hexdigest()[:16]
        earlier.mkdir(parents=True)
        (earlier / "1000000001.jsonl").write_bytes(b"waits\n")
        assert (default_spool("mqtt://me:kept@h/t") / "1000000001.jsonl").read_bytes() == b"waits\n"
