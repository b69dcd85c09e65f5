"""What every benchmark shares: rows of claims, the machine they were measured on, calls timed in turns."""

from __future__ import annotations

import datetime
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from edgead.cli.options import write_json
from edgead.device.machine import describe_machine, package_versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# A script's own folder is on the path, this one's parent is not; what tests import too is named from there.
sys.path.append(str(ROOT))
_PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "nncf", "numpy", "scikit-learn", "torchmetrics")

json_option = click.option(
    "--json", "json_path", metavar="FILE", help="Write the rows here.  [default: in benchmarks/results]"
)
quick_option = click.option(
    "--quick", is_flag=True, help="A look in about a minute; the figures are not to be quoted."
)


@dataclass(frozen=True)
class Row:
    """One claim and what was measured; `how` says on what and with which settings."""

    claim: str
    value: float | None
    unit: str
    bar: float | None = None
    goal: float | None = None
    higher_is_better: bool = False
    how: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None without a bar or a value."""
        return self._reaches(self.bar)

    @property
    def goal_met(self) -> bool | None:
        return self._reaches(self.goal)

    def _reaches(self, limit: float | None) -> bool | None:
        if limit is None or self.value is None:
            return None
        return self.value >= limit if self.higher_is_better else self.value <= limit

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met, "goal_met": self.goal_met}


def report(
    name: str, rows: Sequence[Row], *, json_path: str | None, quick: bool, settings: Mapping[str, Any]
) -> None:
    """Print the rows and write them with the machine; a quick look is written only where `--json` says so."""
    click.echo(table(rows))
    if quick:
        click.echo("A quick look: these figures are not to be quoted.")
    if json_path is None and quick:
        return
    destination = json_path or str(RESULTS / f"{name}.json")
    if destination != "-":
        Path(destination).parent.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": f"benchmarks/{Path(sys.argv[0]).name}",
        "measured": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "code": STARTED_FROM,
        "quick": quick,
        "settings": dict(settings),
        "machine": {**describe_machine(), "packages": package_versions(_PACKAGES)},
        "rows": [row.to_json() for row in rows],
    }
    write_json(destination, json.loads(json.dumps(content, default=str)))
    if destination != "-":
        click.echo(f"Written: {destination}")


def table(rows: Sequence[Row]) -> str:
    """The rows for a terminal, one line each."""
    width = max((len(row.claim) for row in rows), default=0)
    lines = [f"{'':<{width}}  {'value':>10} {'bar':>8} {'goal':>8}  met"]
    for row in rows:
        met = {None: "", True: "goal" if row.goal_met else "bar", False: "NO"}[row.met]
        cells = f"{_cell(row.value):>10} {_cell(row.bar):>8} {_cell(row.goal):>8}"
        lines.append(f"{row.claim:<{width}}  {cells}  {met:<4} {row.unit}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def code_version() -> str:
    """The commit that was measured, marked where the files differ from it; "unknown" outside of git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


# Asked before anything is measured: hours later the checkout may be at another commit, and a process that
# holds engines and their threads should start no other.
STARTED_FROM = code_version()


def time_in_turns(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, block: int = 8, unsettled: int = 2
) -> dict[str, list[int]]:
    """Nanoseconds of every call, by name: in each round every call has its turn, `block` times in a row.

    What else the machine does then touches all alike. The first `unsettled` of a block, which find the other
    calls' data in the caches, are not counted. Every other round goes through the calls backwards.
    """
    samples: dict[str, list[int]] = {name: [] for name in calls}
    clock = time.perf_counter_ns
    for number in range(rounds):
        order = list(calls) if number % 2 == 0 else list(calls)[::-1]
        for name in order:
            call = calls[name]
            for repetition in range(block + unsettled):
                started = clock()
                call()
                taken = clock() - started
                if repetition >= unsettled:
                    samples[name].append(taken)
    return samples


def median_ms(samples_ns: Sequence[int]) -> float:
    return statistics.median(samples_ns) / 1e6
