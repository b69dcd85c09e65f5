"""How fast lines come in and are inspected: the line buffer, a push, a push while Python is busy, a web.

    python benchmarks/line.py             # some two minutes
    python benchmarks/line.py --quick
    python benchmarks/line.py --only push
    python benchmarks/line.py --bundle part.edgead  # the web through yours
    python benchmarks/line.py --only soak --minutes 30  # and only when asked for

A small C extension (line_push.c, compiled here) pushes through the table of functions as a host does. Two
threads work at full speed: a machine with fewer than two idle cores measures its scheduler.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import soak
import web
from common import Row, json_option, quick_option, report
from numpy.typing import NDArray
from subjects import untrained_bundle

import edgead
from edgead.runtime.line.buffer import LineBuffer

WIDTH = 4096
BLOCK = {"block_lines": 512, "blocks": 16}
MATERIAL_LINES = 512  # what is pushed: 2 MiB, as large as a driver's own buffers
LINE_RATE_HZ = 20_000
Samples = NDArray[np.uint32]


def build_line_push(folder: Path) -> ModuleType:
    """Compile line_push.c against edgead.get_include() and load it."""
    name, source = "line_push", Path(__file__).with_name("line_push.c")
    library = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    code = (
        "from setuptools import Extension, setup; import sys; setup(name=sys.argv[1], ext_modules=[Extension("
        "sys.argv[1], [sys.argv[2]], include_dirs=[sys.argv[3]], extra_compile_args=['-std=c11', '-O2'])],"
        "script_args=['-q', 'build_ext', '--build-lib', '.', '--build-temp', 'build'])"
    )
    command = [sys.executable, "-c", code, name, str(source), edgead.get_include()]
    subprocess.run(command, cwd=folder, check=True)
    spec = importlib.util.spec_from_file_location(name, library)
    if spec is None or spec.loader is None:
        raise click.ClickException(f"{library} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def material() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (MATERIAL_LINES, WIDTH), dtype=np.uint8)


def throughput(push: ModuleType, *, quick: bool) -> list[Row]:
    """As fast as the producer can, waiting for a consumer in Python that reads every byte of every block."""
    seconds = 2.0 if quick else 30.0
    lines = LineBuffer(WIDTH, **BLOCK, overlap=64)
    pushed: list[int] = []
    producer = threading.Thread(
        target=lambda: pushed.append(push.push_flat_out(lines.capsule, material(), seconds))
    )
    seen = wrong = 0
    began = time.monotonic()
    producer.start()
    for block in lines:
        pixels = block.pixels
        np.bitwise_xor.reduce(pixels.view(np.uint64), axis=None)  # reads all of it
        stamps = np.ascontiguousarray(pixels[:, :8]).view(np.int64)[:, 0]
        wrong += int((stamps != block.numbers).sum())
        seen += len(block) - block.repeated
        del pixels, block
    taken = time.monotonic() - began
    producer.join()
    end = lines.statistics
    unaccounted = pushed[0] - seen + abs(end.pushed - end.consumed) + wrong
    rate = seen / taken
    how = (
        f"{WIDTH} uint8 pixels, {BLOCK['blocks']} blocks of {BLOCK['block_lines']} lines that overlap by 64; "
        f"C pushes line by line, Python reads every byte; {seconds:.0f} s, {seen} lines"
    )
    details = {"megabytes_per_s": rate * WIDTH / 1e6, "statistics": end.to_json()}
    return [
        Row("lines per second, all accounted for", rate, "1/s", 1e5, 3e5, True, how, details),
        Row("lines that are unaccounted for or wrong", unaccounted, "lines", 0, 0, False, how),
    ]


def _timed(push: ModuleType, lines: LineBuffer, count: int, rate_hz: int) -> tuple[Samples, Samples]:
    """Nanoseconds of each plain copy and of each push."""
    into = np.ones((BLOCK["block_lines"] * BLOCK["blocks"], WIDTH), np.uint8)  # touched, as the ring is
    copies, pushes = np.ones(count, np.uint32), np.ones(count, np.uint32)
    push.push_timed(lines.capsule, material(), rate_hz, into, copies, pushes)
    return copies, pushes


def cost_of_a_push(push: ModuleType, *, quick: bool) -> list[Row]:
    """A push beside a plain copy of a line, in turns, while a consumer takes and releases the blocks."""
    bars = ((200, 80), (5000, 1000))
    rows: list[Row] = []
    for rate_hz, overlap in ((20_000, 0), (100_000, 0), (20_000, 64)):
        lines = LineBuffer(WIDTH, **BLOCK, overlap=overlap, when_full="drop_oldest")
        consumer = threading.Thread(target=lambda lines=lines: [None for _ in lines])
        consumer.start()
        copies, pushes = _timed(push, lines, rate_hz * (1 if quick else 10), rate_hz)
        lines.close()
        consumer.join()
        how = (
            f"{WIDTH} uint8 pixels at {rate_hz} lines/s, overlap {overlap} of {BLOCK['block_lines']}; "
            f"percentile of {len(pushes)} pushes less that of as many plain copies, in turns with them"
        )
        details = {"push_ns": _percentiles(pushes), "copy_ns": _percentiles(copies)}
        for percent, (bar, goal) in zip((50, 99.9), bars, strict=True):
            value = float(np.percentile(pushes, percent) - np.percentile(copies, percent))
            claim = f"push beyond the copy at {rate_hz // 1000} kHz, p{percent:g}"
            claim, limits = (f"{claim}, overlapping", {}) if overlap else (claim, {"bar": bar, "goal": goal})
            rows.append(Row(claim, value, "ns", **limits, how=how, details=details))
    return rows


def push_beside_busy_python(push: ModuleType, *, quick: bool) -> list[Row]:
    """p99.9 of a push while a thread computes in Python without a pause, over that beside an idle one."""
    samples: dict[bool, list[Samples]] = {False: [], True: []}
    for turn in range(2 if quick else 14):
        for busy in (False, True) if turn % 2 == 0 else (True, False):
            samples[busy].append(_push_beside(push, busy=busy))
    idle, busy_ns = np.concatenate(samples[False]), np.concatenate(samples[True])
    ratio = float(np.percentile(busy_ns, 99.9) / np.percentile(idle, 99.9))
    how = f"{len(idle)} pushes each at {LINE_RATE_HZ} lines/s, drop_oldest, in turns of a second"
    details = {"idle_ns": _percentiles(idle), "busy_ns": _percentiles(busy_ns)}
    return [Row("push p99.9, Python busy over idle", ratio, "ratio", 1.5, 1.1, False, how, details)]


def _push_beside(push: ModuleType, *, busy: bool) -> Samples:
    """A second of pushes that nobody takes, so that overwriting is included."""
    lines = LineBuffer(WIDTH, **BLOCK, when_full="drop_oldest")
    found: list[Samples] = []
    host = threading.Thread(target=lambda: found.extend(_timed(push, lines, LINE_RATE_HZ, LINE_RATE_HZ)))
    host.start()
    while host.is_alive():
        if busy:
            sum(range(2000))
        else:
            host.join(0.05)
    return found[1]


def _percentiles(samples: Samples) -> dict[str, float]:
    return {f"p{percent:g}": float(np.percentile(samples, percent)) for percent in (50, 99, 99.9, 99.99, 100)}


def web_streaming(push: ModuleType, *, quick: bool, bundle: Path | None = None) -> list[Row]:
    """Inspection of a web over bare inference, with a bundle given or one made after a step of training."""
    with tempfile.TemporaryDirectory(prefix="edgead-web-") as folder:
        if bundle is None:
            click.echo("Making a model to time ...", err=True)
            images = (8, 4) if quick else (280, 64)
            bundle = untrained_bundle(Path(folder), images=images[0], calibration_images=images[1])
        return web.streaming(bundle, quick=quick)


def soaking(push: ModuleType, *, quick: bool, bundle: Path | None = None, minutes: float = 30.0) -> list[Row]:
    """The sustained line rate and a soak at 80 % of it, with a bundle given or one made here."""
    with tempfile.TemporaryDirectory(prefix="edgead-soak-") as folder:
        bundle = bundle or untrained_bundle(Path(folder), images=8, calibration_images=4)
        return soak.soak(bundle, quick=quick, minutes=minutes)


# Each section gives rows; what does not need the C extension ignores it.
SECTIONS: dict[str, Callable[..., list[Row]]] = {
    "throughput": throughput,
    "push": cost_of_a_push,
    "gil": push_beside_busy_python,
    "streaming": web_streaming,
    "soak": soaking,
}
UNASKED = [name for name in SECTIONS if name != "soak"]  # that takes half an hour


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--only", multiple=True, type=click.Choice(list(SECTIONS)), help="These sections alone.")
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="FILE", help="For the web: this INT8 bundle."
)
@click.option("--minutes", type=click.FloatRange(min=0.1), default=30, show_default=True, help="Of the soak.")
@click.option("--rest", type=click.FloatRange(min=0), default=0, help="Seconds between sections, for others.")
@quick_option
@json_option
def main(
    only: tuple[str, ...],
    bundle: Path | None,
    minutes: float,
    rest: float,
    quick: bool,
    json_path: str | None,
) -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="edgead-line-") as folder:
        push = build_line_push(Path(folder))
        for number, name in enumerate(only or UNASKED):
            time.sleep(rest if number else 0)
            more = {"streaming": {"bundle": bundle}, "soak": {"bundle": bundle, "minutes": minutes}}
            rows += SECTIONS[name](push, quick=quick, **more.get(name, {}))
    if only and json_path is None:
        quick = True  # some rows alone do not replace the file of all
    report("line", rows, json_path=json_path, quick=quick, settings={"sections": list(only) or UNASKED})


if __name__ == "__main__":
    main()
