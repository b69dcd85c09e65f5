"""The line buffer from Python: what blocks show, what is counted, how it ends, what is refused."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import edgead
from edgead.errors import LineError, LineTimeoutError, UnknownNameError, UsageError
from edgead.runtime.line.buffer import LineBlock, LineBuffer, PushStatus, WhenFull

ROOT = Path(__file__).resolve().parents[3]


def small(**changes: object) -> LineBuffer:
    return LineBuffer(**{"width": 3, "block_lines": 4, "overlap": 1, "blocks": 4, "wait_s": 0, **changes})


def rows(first: int, count: int, width: int = 3) -> np.ndarray:
    return np.repeat(np.arange(first, first + count, dtype=np.uint8)[:, None], width, axis=1)


def shown(lines: LineBuffer) -> list[tuple[list[int], int, int]]:
    """(value of each line, repeated, missing before) of each block until the end."""
    return [(block.pixels[:, 0].tolist(), block.repeated, block.missing_before) for block in lines]


def test_blocks_overlap_and_the_last_is_shorter():
    lines = small()
    lines.push(rows(0, 9))
    lines.close()
    assert shown(lines) == [([0, 1, 2, 3], 0, 0), ([3, 4, 5, 6], 1, 0), ([6, 7, 8], 1, 0)]
    assert lines.statistics.consumed == 9


def test_a_part_never_shares_a_block_with_the_next():
    lines = small()
    lines.push(rows(0, 2))
    lines.end_part()
    lines.push(rows(9, 2), number=0)
    lines.close()
    found = [(block.part, block.first_number, len(block), block.ends_part) for block in lines]
    assert found == [(0, 0, 2, True), (1, 0, 2, True)]


@pytest.mark.parametrize(("overlap", "last"), [(0, 0), (1, 1)])
def test_a_part_that_ends_on_the_border_of_blocks_is_ended_without_a_new_line(overlap: int, last: int):
    lines = small(overlap=overlap)
    lines.push(rows(0, 4))
    lines.end_part()
    lines.end_part()  # nothing since the last: no part
    lines.close()
    blocks = [(len(block), len(block) - block.repeated, block.ends_part) for block in lines]
    assert blocks == [(4, 4, False), (last, 0, True)]
    assert lines.statistics.parts == 1


def test_missing_numbers_cut_a_block_and_are_counted():
    lines = small()
    lines.push(rows(0, 2))
    lines.push(rows(7, 5), number=7)
    lines.close()
    assert shown(lines) == [([0, 1], 0, 0), ([7, 8, 9, 10], 0, 5), ([10, 11], 1, 0)]
    assert lines.statistics.lost == 5


@pytest.mark.parametrize(
    ("when_full", "left", "overwritten", "dropped"),
    [
        ("drop_oldest", range(4, 18), 4, 0),
        ("drop_newest", range(16), 0, 2),
        ("wait", range(16), 0, 2),  # in vain: wait_s is 0
    ],
)
def test_what_is_left_when_nobody_takes(when_full: str, left: range, overwritten: int, dropped: int):
    lines = small(overlap=0, when_full=when_full)
    statuses = [lines.push(rows(number, 1)) for number in range(18)]
    lines.close()
    assert [value for block in lines for value in block.pixels[:, 0].tolist()] == list(left)
    end = lines.statistics
    assert (end.overwritten, end.dropped) == (overwritten, dropped)
    assert statuses.count(PushStatus.DROPPED) == dropped


def test_a_block_that_is_held_is_never_overwritten():
    lines = small(when_full="drop_oldest")
    lines.push(rows(0, 4))
    held = lines.take(0)
    pixels = held.pixels
    for number in range(4, 100):
        lines.push(rows(number, 1))
    assert pixels[:, 0].tolist() == [0, 1, 2, 3]
    held.release()
    assert pixels[:, 0].tolist() == [0, 1, 2, 3]  # the array still holds it
    with pytest.raises(ValueError, match="was released"):
        _ = held.pixels


def test_a_slow_consumer_looks_at_whole_lines_while_others_are_overwritten():
    lines = LineBuffer(16, block_lines=8, overlap=2, when_full="drop_oldest", dtype=np.uint16)

    def produce() -> None:
        numbers = np.arange(40_000)
        for batch in numbers.reshape(-1, 10):
            lines.push(np.repeat(batch[:, None] % 2**16, 16, axis=1).astype(np.uint16), number=batch)
        lines.close()

    producer = threading.Thread(target=produce)
    producer.start()
    fresh = 0
    for block in lines:
        expected = np.repeat(block.numbers[:, None] % 2**16, 16, axis=1)
        np.testing.assert_array_equal(block.pixels, expected)
        time.sleep(0.001)
        np.testing.assert_array_equal(block.pixels, expected)
        fresh += len(block) - block.repeated
    producer.join()
    end = lines.statistics
    assert end.overwritten > 0
    assert end.consumed == fresh == 40_000 - end.overwritten - end.dropped


def test_a_block_goes_back_with_its_last_array():
    lines = small(overlap=0)
    lines.push(rows(0, 4))
    block = lines.take(0)
    part_of_it = block.pixels[1:]
    block.release()
    assert lines.statistics.consumed == 0
    del part_of_it
    gc.collect()
    assert lines.statistics.consumed == 4


def test_a_block_that_is_forgotten_goes_back():
    lines = small(overlap=0)
    lines.push(rows(0, 4))
    block = lines.take(0)
    del block
    gc.collect()
    assert lines.statistics.consumed == 4


def test_arrays_are_views_and_outlive_the_buffer():
    lines = small(width=2, channels=3, dtype=np.uint16)
    pixels = np.arange(4 * 2 * 3, dtype=np.uint16).reshape(4, 2, 3) * 1000
    lines.push(pixels, timestamp_ns=np.arange(4), encoder=7)
    block = lines.take(0)
    first, second = block.pixels, block.pixels
    assert np.shares_memory(first, second)
    assert not first.flags.writeable
    assert not first.flags.owndata
    timestamps, encoders = block.timestamps_ns, block.encoders
    del lines, block
    gc.collect()
    np.testing.assert_array_equal(first, pixels)
    assert timestamps.tolist() == [0, 1, 2, 3]
    assert encoders.tolist() == [7] * 4


def test_late_lines_are_counted_when_they_are_released():
    lines = small(overlap=0, deadline_ms=1)
    lines.push(rows(0, 4))
    block = lines.take(0)
    time.sleep(0.01)
    block.release()
    assert lines.statistics.late == 4


def test_timestamps_are_of_the_monotonic_clock():
    lines = small()
    before = time.monotonic_ns()
    lines.push(rows(0, 4))
    block = lines.take(0)
    assert before <= block.timestamps_ns[0] == block.arrived_ns[0] <= time.monotonic_ns()


# How it ends.


def test_a_consumer_that_raises_stops_the_producer():
    lines = small(wait_s=60)
    statuses: list[PushStatus] = []

    def produce() -> None:
        while not statuses or statuses[-1] is PushStatus.STORED:
            statuses.append(lines.push(rows(0, 1)))

    def consume() -> None:
        with lines:
            for _ in lines:
                time.sleep(0.05)  # meanwhile the producer fills the ring and waits
                raise ZeroDivisionError

    producer = threading.Thread(target=produce)
    producer.start()
    with pytest.raises(ZeroDivisionError):
        consume()
    producer.join(10)
    assert statuses[-1] is PushStatus.STOPPED
    end = lines.statistics
    assert end.pushed == len(statuses) == end.consumed + end.waiting + end.dropped


def test_stop_ends_a_take_that_waits():
    lines = small()
    threading.Timer(0.05, lines.stop).start()
    assert lines.take(timeout_s=30) is None


def test_a_camera_that_fails_says_why_after_the_last_line():
    lines = small()
    lines.push(rows(0, 2))
    lines.fail("link lost")
    lines.close()  # once more does nothing
    blocks = iter(lines)
    assert len(next(blocks)) == 2
    with pytest.raises(LineError, match="link lost"):
        next(blocks)


def test_a_long_reason_is_cut_between_characters_or_marked():
    lines = small()
    lines.fail("é" * 150)
    with pytest.raises(LineError, match="éééé"):
        lines.take(0)


def test_a_producer_that_dies_silently_is_noticed():
    lines = small()
    lines.push(rows(0, 3))
    with pytest.raises(LineTimeoutError, match="3 lines wait"):
        lines.take(timeout_s=0.02)


def test_ctrl_c_is_answered_while_waiting_for_lines():
    code = (
        "import _thread, signal, threading, edgead\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        "lines = edgead.LineBuffer(8, block_lines=4)\n"
        "threading.Timer(0.2, _thread.interrupt_main).start()\n"
        "try:\n    lines.take()\nexcept KeyboardInterrupt:\n    print('answered')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.stdout == "answered\n", done.stderr


def test_a_second_consumer_is_refused():
    lines = small()
    waiting = threading.Thread(target=lambda: lines.take(timeout_s=30))
    waiting.start()
    time.sleep(0.1)
    with pytest.raises(LineError, match="one consumer"):
        lines.take(0)
    lines.stop()
    waiting.join(10)


# What is refused.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width is a whole number"),
        ({"width": 3.0}, "width is a whole number"),
        ({"width": True}, "width is a whole number"),
        ({"block_lines": -1}, "block_lines is"),
        ({"overlap": 3}, "overlap is a whole number from 0 to 2"),
        ({"blocks": 3}, "blocks is a whole number from 4"),
        ({"channels": 17}, "channels is"),
        ({"dtype": "float32"}, "uint8, uint16"),
        ({"dtype": ">u2"}, "byte order"),
        ({"dtype": "pixel"}, "uint8, uint16"),
        ({"wait_s": float("nan")}, "wait_s is"),
        ({"deadline_ms": -1}, "deadline_ms is"),
        ({"width": 2**24, "block_lines": 2**20}, "GiB; this machine has"),
    ],
)
def test_impossible_formats(changes: dict, message: str):
    with pytest.raises(UsageError, match=message):
        small(**changes)


def test_an_unknown_policy_gets_near_matches():
    with pytest.raises(UnknownNameError, match="Did you mean drop_oldest"):
        small(when_full="drop_old")


@pytest.mark.parametrize(
    ("pixels", "arguments", "error", "message"),
    [
        (np.zeros(4, np.uint8), {}, UsageError, "Expected lines of 3 uint8"),
        (np.zeros((2, 4), np.uint8), {}, UsageError, "found an array of 2 x 4"),
        (np.zeros(3, np.float32), {}, UsageError, "float32"),
        (np.zeros(3, np.uint16), {}, UsageError, "uint16"),
        (np.zeros((1, 1, 3), np.uint8), {}, UsageError, "Expected lines"),
        (np.uint8(3), {}, UsageError, "one number"),
        (rows(0, 2), {"number": 1}, LineError, "goes back"),
        (rows(0, 2), {"number": [9, 9]}, LineError, "repeats"),
        (rows(0, 2), {"number": [9]}, UsageError, "one for each of the 2 lines"),
        (rows(0, 2), {"number": -1}, UsageError, "the first is -1"),
        (rows(0, 2), {"number": 2**63 - 2}, UsageError, "2.63 - 2"),
        (rows(0, 2), {"number": 2**63}, UsageError, "63 bits"),
        (rows(0, 2), {"timestamp_ns": 1.5}, UsageError, "timestamp_ns is one whole number"),
        (rows(0, 2), {"encoder": [[1, 2]]}, UsageError, "encoder is one"),
    ],
)
def test_lines_that_do_not_fit_change_nothing(pixels, arguments: dict, error: type, message: str):
    lines = small()
    lines.push(rows(0, 2), number=5)
    before = lines.statistics
    with pytest.raises(error, match=message):
        lines.push(pixels, **arguments)
    after = lines.statistics
    assert (after.pushed, after.waiting, after.lost) == (before.pushed, before.waiting, before.lost)


def test_pushing_after_closing_is_refused():
    lines = small()
    lines.close()
    with pytest.raises(LineError, match="closed"):
        lines.push(rows(0, 1))
    with pytest.raises(LineError, match="closed"):
        lines.end_part()


def test_rows_with_a_stride_are_taken_as_they_are():
    lines = small()
    lines.push(np.arange(24, dtype=np.uint8).reshape(4, 6)[:, ::2])
    assert lines.take(0).pixels[0].tolist() == [0, 2, 4]


# What others rely on.


def test_the_header_is_where_get_include_says():
    header = (Path(edgead.get_include()) / "edgead_line.h").read_text(encoding="utf-8")
    for policy in WhenFull:
        assert f"EDGEAD_LINE_{policy.name}" in header


def test_get_include_needs_neither_numpy_nor_the_extension():
    code = (
        "import sys\nsys.modules['numpy'] = None\nsys.modules['edgead.runtime.line._ring'] = None\n"
        "import edgead\nprint(edgead.get_include())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.stdout.strip() == edgead.get_include(), done.stderr


def test_a_missing_extension_says_how_to_build_it():
    code = "import sys\nsys.modules['edgead.runtime.line._ring'] = None\nimport edgead\nedgead.LineBuffer"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert "ImportError: The line buffer's C extension is not built" in done.stderr
    assert "python setup.py build_ext --inplace" in done.stderr


def test_a_block_describes_itself():
    lines = small()
    lines.push(rows(0, 4))
    block = lines.take(0)
    assert isinstance(block, LineBlock)
    assert repr(block) == "<LineBlock 0: part 0, lines 0 to 3>"
