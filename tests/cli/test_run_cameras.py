"""`edgead run` on cameras: verdicts, counts, several cameras, and an end in order whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgead.cli import main
from edgead.images import write_image
from tests.cameras.fake_gige import fake_cameras, why_not
from tests.runtime.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.edgead")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Five pictures; the fourth is bright."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(5):
        write_image(folder / f"{number}.png", np.full((40, 60, 3), 255 * (number == 3), np.uint8))
    return folder


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_in_words(bundle: Path, parts: Path):
    result = invoke("run", bundle, f"replay:{parts}?fps=100&queue=9", "--threads", 1)
    assert result.exit_code == 0
    assert "frame 3: ANOMALOUS, score 1 (threshold 0.75), 1 region(s)" in result.stdout
    assert "frame 0: good, score 0" in result.stdout
    assert "5 inspected, 1 anomalous, 0 not inspected; 0 lost, 0 overwritten" in result.stderr


def test_several_cameras_in_one_process(bundle: Path, parts: Path, tmp_path: Path):
    (parts / "4.png").write_bytes(b"\x89PNG")
    addresses = [f"folder:{parts}", f"replay:{parts}?fps=100&queue=9&times=2"]
    result = invoke(
        "run", bundle, *addresses, "--threads", 1, "--json-lines", tmp_path / "a.jsonl", "--counts", "-"
    )
    assert result.exit_code == 0
    records = lines((tmp_path / "a.jsonl").read_text())
    for address, count in zip(addresses, (5, 10), strict=True):
        mine = [record for record in records if record["source"] == address]
        assert [record["sequence"] for record in mine] == list(range(count))
        assert [record["is_anomalous"] for record in mine][:5] == [False, False, False, True, None]
        assert "4.png" in mine[4]["problem"]
    counts = json.loads(result.stdout)
    assert counts["cameras"][addresses[1]]["not_inspected"] == 2
    assert counts["cameras"][addresses[0]]["frames"]["unreadable"] == 1
    assert counts["verdicts"]["JsonLinesSink"]["delivered"] == 15


def test_pictures_of_what_is_anomalous(bundle: Path, parts: Path, tmp_path: Path):
    result = invoke("run", bundle, f"folder:{parts}", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert len(lines((tmp_path / "out" / "results.jsonl").read_text())) == 5
    assert [path.name[-12:] for path in (tmp_path / "out").glob("*.png")] == ["00000003.png"]


def test_the_end_after_a_count(bundle: Path, parts: Path):
    result = invoke("run", bundle, f"replay:{parts}?fps=200&times=0", "--count", 7, "--json-lines", "-")
    assert result.exit_code == 0
    assert len(lines(result.stdout)) == 7


def test_a_web(bundle: Path, tmp_path: Path):
    folder = tmp_path / "web"
    folder.mkdir()
    for number in range(6):
        pixels = np.zeros((24, 64, 3), np.uint8)
        if number in (2, 3):  # a defect over their border
            pixels[8 if number == 2 else 0 : 24 if number == 2 else 8, 16:32] = 255
        write_image(folder / f"{number}.png", pixels)
    options = ("--web", "--lines-per-pixel", 2, "--columns-per-pixel", 2, "--json-lines", "-")
    result = invoke("run", bundle, f"folder:{folder}", *options)
    assert result.exit_code == 0
    records = lines(result.stdout)
    assert sum(record["lines"] for record in records) == 144
    regions = [region for record in records for region in record["regions"]]
    assert [(r["line"], r["lines"], r["column"], r["width"]) for r in regions] == [(56, 24, 16, 16)]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["gigee://10.0.0.1"], 2, "Did you mean gige"),
        (["replay:{parts}?fsp=3"], 2, "Did you mean fps"),
        (["replay:{parts}", "{parts}"], 2, "is a camera, others are files"),
        (["folder:{parts}", "folder:{parts}"], 2, "named twice"),
        (["{parts}", "--mqtt", "mqtt://h/t"], 2, "are for cameras"),
        (["folder:{parts}", "--mqtt", "h"], 2, "such as mqtt://"),
        (["folder:{parts}/none"], 1, "expected images"),
        (["v4l2:97"], 1, "cannot be opened"),
        (["folder:{parts}", "--web", "--overlap", "0.9"], 2, "overlap"),
        (["folder:{parts}", "--web", "--columns-per-pixel", "2"], 1, "60 columns and a tile"),
        (["folder:{parts}", "--json-lines", "{parts}/no/a"], 1, "cannot be written"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(bundle: Path, parts: Path, arguments: list[str], status: int, words: str):
    if "--mqtt" in arguments:
        pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
    result = invoke("run", bundle, *(argument.format(parts=parts) for argument in arguments))
    assert result.exit_code == status
    assert words in result.stderr


def test_a_disk_that_is_full(bundle: Path, parts: Path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    result = invoke("run", bundle, f"folder:{parts}", "--json-lines", "/dev/full")
    assert result.exit_code == 1
    assert "5 inspected" in result.stderr
    assert "5 verdicts could not be delivered" in result.stderr


def test_a_broker_that_is_not_there(bundle: Path, parts: Path, tmp_path: Path):
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
    broker = ("--mqtt", "mqtt://127.0.0.1:9/line", "--spool", tmp_path / "spool")
    result = invoke("run", bundle, f"folder:{parts}", *broker, "--counts", tmp_path / "c.json")
    assert result.exit_code == 0
    assert "5 verdicts wait on disk" in result.stderr
    counts = json.loads((tmp_path / "c.json").read_text())["verdicts"]["MqttSink"]
    assert (counts["accepted"], counts["waiting"], counts["dropped"]) == (5, 5, 0)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "spool").glob("*.jsonl"))
    assert [record["sequence"] for record in lines(kept.decode())] == list(range(5))


def start(*arguments: object, **more: Any) -> subprocess.Popen[str]:
    code = "import sys; from edgead.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **more
    )


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(bundle: Path, parts: Path, tmp_path: Path, name: signal.Signals):
    path = tmp_path / "a.jsonl"
    endless = [f"replay:{parts}?fps=50&times=0", f"replay:{parts}?fps=20&times=0&seed=1"]
    process = start(
        "run", bundle, *endless, "--threads", 1, "--json-lines", path, "--counts", tmp_path / "c.json"
    )
    deadline = time.monotonic() + 30
    while (not path.exists() or path.read_text().count("\n") < 10) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(name)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 0, told
    assert told.count("inspected") >= 2
    records = lines(path.read_text())  # every line whole
    counts = json.loads((tmp_path / "c.json").read_text())
    assert counts["verdicts"]["JsonLinesSink"]["delivered"] == len(records) >= 10
    for camera in counts["cameras"].values():
        frames = camera["frames"]
        assert frames["received"] == frames["delivered"] + frames["overwritten"] + frames["waiting"]
        assert camera["inspected"] == frames["delivered"]


def test_a_reader_of_the_output_that_goes_away(bundle: Path, parts: Path):
    process = start("run", bundle, f"replay:{parts}?fps=100&times=0", "--json-lines", "-")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["sequence"] == 0
    process.stdout.close()
    assert process.wait(timeout=20) == 1
    assert process.stderr is not None
    process.stderr.close()


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is there")
def test_a_gige_camera_with_lost_packets(bundle: Path):
    with fake_cameras() as start_camera:
        start_camera("-r", "100")
        address = "gige://127.0.0.1?width=128&height=64&fps=50&queue=99"
        result = invoke("run", bundle, address, "--count", 20, "--json-lines", "-")
    assert result.exit_code == 0
    records = lines(result.stdout)
    open_ones = [record for record in records if record["is_anomalous"] is None]
    assert open_ones
    assert all("incomplete" in record["problem"] for record in open_ones)
    assert all(record["score"] is not None for record in records if record not in open_ones)
