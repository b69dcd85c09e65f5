"""In whatever order lines are pushed, taken and released: each is shown right, once, or counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.runtime.line.buffer import LineBlock, LineBuffer, PushStatus, WhenFull

WIDTH = 5

operations = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 30), st.sampled_from([0, 0, 0, 1, 7])),
        st.tuples(st.just("take")),
        st.tuples(st.just("release"), st.integers(0, 10)),
        st.tuples(st.just("end part"), st.booleans()),
    ),
    max_size=80,
)


def pixels_of(part: int, numbers: np.ndarray) -> np.ndarray:
    """Every pixel follows from part, number and column."""
    return (part * 7 + numbers[:, None] * 31 + np.arange(WIDTH) * 13).astype(np.uint8)


@dataclass
class Line:
    """One camera and one inspection, each with a memory of its own."""

    buffer: LineBuffer
    part: int = 0
    number: int = 0
    in_part: bool = False
    offered: list[tuple[int, int]] = field(default_factory=list)
    lost: int = 0
    held: list[LineBlock] = field(default_factory=list)
    shown: list[tuple[int, int]] = field(default_factory=list)
    last: set[tuple[int, int]] = field(default_factory=set)
    ended: list[int] = field(default_factory=list)

    def push(self, count: int, gap: int) -> None:
        if count == 0:
            assert self.buffer.push(np.zeros((0, WIDTH), np.uint8)) is PushStatus.STORED
            return
        self.number += gap
        self.lost += gap if self.in_part else 0
        numbers = np.arange(self.number, self.number + count)
        self.buffer.push(
            pixels_of(self.part, numbers), number=self.number, timestamp_ns=numbers * 10, encoder=-numbers
        )
        self.offered += [(self.part, int(number)) for number in numbers]
        self.number += count
        self.in_part = True

    def end_part(self, restart: bool) -> None:
        self.buffer.end_part()
        self.part += self.in_part
        self.in_part = False
        self.number = 0 if restart else self.number

    def take(self) -> None:
        taken = self.buffer._ring.take(0)
        if isinstance(taken, int):
            return
        block = LineBlock(taken)
        self.held.append(block)
        self.check(block)
        lines = [(block.part, int(number)) for number in block.numbers]
        assert set(lines[: block.repeated]) <= self.last
        assert not set(lines[block.repeated :]) & self.last
        if self.shown and self.shown[-1][0] == block.part:
            assert block.missing_before == block.first_number + block.repeated - self.shown[-1][1] - 1
        self.shown += lines[block.repeated :]
        self.last = set(lines)
        if block.ends_part:
            self.ended.append(block.part)
        else:
            assert len(block) == self.buffer.block_lines or block.is_cut

    def check(self, block: LineBlock) -> None:
        assert block.pixels.shape == (len(block), WIDTH)
        np.testing.assert_array_equal(block.pixels, pixels_of(block.part, block.numbers))
        np.testing.assert_array_equal(block.timestamps_ns, block.numbers * 10)
        np.testing.assert_array_equal(block.encoders, -block.numbers)
        assert (np.diff(block.arrived_ns) >= 0).all()

    def release(self, which: int) -> None:
        if self.held:
            block = self.held.pop(which % len(self.held))
            self.check(block)  # as it was when it was taken
            block.release()

    def run(self, steps: list[tuple], drain: bool) -> None:
        actions = {"push": self.push, "take": self.take, "release": self.release, "end part": self.end_part}
        for name, *arguments in steps:
            actions[name](*arguments)
            if drain:
                self.drain()
            now = self.buffer.statistics
            assert (
                now.pushed == len(self.offered) == now.consumed + now.overwritten + now.dropped + now.waiting
            )
            assert now.lost == self.lost
        self.part += self.in_part
        self.buffer.close()
        self.drain()

    def drain(self) -> None:
        before = -1
        while before != len(self.held):
            before = len(self.held)
            self.take()
        while self.held:
            self.release(0)


buffers = st.builds(
    lambda block_lines, share, blocks, when_full: LineBuffer(
        WIDTH,
        block_lines=block_lines,
        overlap=int(share * block_lines),
        blocks=blocks,
        when_full=when_full,
        wait_s=0,
    ),
    st.integers(1, 12),
    st.floats(0, 0.5),
    st.integers(4, 6),
    st.sampled_from(WhenFull),
)


@settings(max_examples=300, deadline=None)
@given(buffers, operations)
def test_every_line_is_shown_once_or_counted(buffer: LineBuffer, steps: list[tuple]):
    line = Line(buffer)
    line.run(steps, drain=False)
    end = buffer.statistics
    assert line.shown == sorted(set(line.shown))
    assert set(line.shown) <= set(line.offered)
    assert end.consumed == len(line.shown)
    assert end.missing - end.lost == len(line.offered) - len(line.shown)
    assert end.waiting == 0
    assert end.overwritten == 0 or buffer.when_full is WhenFull.DROP_OLDEST
    assert end.high_water <= buffer.blocks * buffer.block_lines
    assert end.parts == line.part


@settings(max_examples=150, deadline=None)
@given(buffers, operations)
def test_a_consumer_that_keeps_up_sees_every_line_and_every_end(buffer: LineBuffer, steps: list[tuple]):
    room = (buffer.blocks - 2) * (buffer.block_lines - buffer.overlap)
    smaller = [(step[0], min(step[1], room), *step[2:]) if step[0] == "push" else step for step in steps]
    line = Line(buffer)
    line.run(smaller, drain=True)
    assert line.shown == line.offered
    assert line.ended == list(range(line.part))
    assert buffer.statistics.missing == line.lost
