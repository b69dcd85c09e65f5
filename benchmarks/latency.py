"""How fast a compiled model inspects, against its backbone, the paper's network and the bare engine.

    python benchmarks/latency.py                        # a model of the default configuration, made here
    python benchmarks/latency.py --bundle part.edgead   # yours
    python benchmarks/latency.py --quick

What is compared is measured in turns in one process, and the medians are divided: other load on the machine
touches both sides alike. Milliseconds of a shared machine are for orientation.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import subjects
from common import ROOT, Row, json_option, median_ms, quick_option, report, time_in_turns

from edgead.bundle import Bundle, read_bundle
from edgead.cli.options import threads_option
from edgead.compiler.recipe import load_recipe
from edgead.runtime.inspector import Inspector


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option(
    "--bundle", "path", type=click.Path(path_type=Path), metavar="FILE", help="Measure this INT8 bundle."
)
@click.option("--paper/--no-paper", default=None, help="Time the paper's network (8 GB of memory, a minute).")
@threads_option
@quick_option
@json_option
def main(
    path: Path | None, paper: bool | None, threads: int | None, quick: bool, json_path: str | None
) -> None:
    # First the rows that start processes: they are no business of one that holds engines and their threads.
    others = [import_time(repetitions=5 if quick else 15), *installed_size()]
    with _bundle(path, quick=quick) as bundle:
        rows = against_backbone(bundle, threads=threads, quick=quick)
        rows += against_bare_engine(bundle, threads=threads, quick=quick)
        if paper or (paper is None and not quick):
            rows += against_paper(bundle, threads=threads, quick=quick)
    rows += others
    trained = "given with --bundle" if path else "default configuration after one step of training"
    settings = {"model": trained, "threads": threads, "batch": 1, "config": bundle.manifest.config}
    report("latency", rows, json_path=json_path, quick=quick, settings=settings)


@contextmanager
def _bundle(path: Path | None, *, quick: bool) -> Iterator[Bundle]:
    with tempfile.TemporaryDirectory(prefix="edgead-latency-") as folder:
        if path is None:
            click.echo("Making a model to time ...", err=True)
            images = (8, 4) if quick else (280, 64)
            path = subjects.untrained_bundle(Path(folder), images=images[0], calibration_images=images[1])
        yield read_bundle(path)


def against_backbone(bundle: Bundle, *, threads: int | None, quick: bool) -> list[Row]:
    """Our whole model over its backbone alone, both INT8 requests of OpenVINO that copy nothing."""
    config, images = bundle.manifest.config, list(bundle.reference.inputs)
    name, stages = config["backbone"], tuple(config["stages"])
    alone = subjects.backbone_int8(name, stages, images, recipe=load_recipe("default"))
    calls = {
        "ours": subjects.openvino_request(subjects.bundle_model(bundle), images[0], threads=threads).call,
        "backbone": subjects.openvino_request(alone, images[0], threads=threads).call,
    }
    medians = _medians(calls, rounds=6 if quick else 120)
    how = (
        f"{name}, stages {stages}, uint8 in, normalised inside, INT8 by the default recipe, its maps out; "
        f"{_milliseconds(medians)}"
    )
    ratio = medians["ours"] / medians["backbone"]
    return [
        Row("INT8 model over its backbone alone", ratio, "x p50", 1.5, 1.25, how=how, details=medians),
        Row("INT8 model, engine call", medians["ours"], "ms p50", how="OpenVINO, batch 1, nothing copied"),
    ]


def against_bare_engine(bundle: Bundle, *, threads: int | None, quick: bool) -> list[Row]:
    """inspect() over OpenVINO's own call of the same request on the same image: what edgead adds."""
    image = bundle.reference.inputs[0]
    with Inspector(bundle, engine="openvino", threads=threads) as inspector:
        request: Any = vars(inspector.engine)["_request"]  # the very request that the engine runs, unwrapped

        def everything() -> Any:
            result = inspector.inspect(image)
            return result.anomaly_map, result.regions

        calls = {
            "inspect": lambda: inspector.inspect(image),
            "everything": everything,
            "engine": lambda: inspector.engine.infer(image),
            "bare": lambda: request.infer(share_outputs=True),
        }
        medians = _medians(calls, rounds=6 if quick else 120)
    how = f"{image.shape[0]} x {image.shape[1]} image; {_milliseconds(medians)}"
    over = {name: medians[name] / medians["bare"] for name in ("inspect", "everything", "engine")}
    bare_how = f"over the engine's OpenVINO request called directly, nothing copied; {how}"
    return [
        Row("inspect() over the bare engine call", over["inspect"], "x p50", 1.15, 1.03, how=bare_how),
        Row("the same with map and regions read", over["everything"], "x p50", how=bare_how),
        Row("our engine class over the bare call", over["engine"], "x p50", how=bare_how, details=medians),
    ]


def against_paper(bundle: Bundle, *, threads: int | None, quick: bool) -> list[Row]:
    """The published configuration in f32 over ours in INT8, both OpenVINO requests that copy nothing."""
    image = bundle.reference.inputs[0]
    click.echo("Building the paper's network ...", err=True)
    model = subjects.paper_model(image)
    paper = subjects.openvino_request(model, image, threads=threads, precision="f32")
    del model
    ours = subjects.openvino_request(subjects.bundle_model(bundle), image, threads=threads)
    paper.call()
    samples: dict[str, list[int]] = {"paper": [], "ours": []}
    for _ in range(2 if quick else 12):  # a call takes a second; ours run in between, in the same conditions
        started = time.perf_counter_ns()
        paper.call()
        samples["paper"].append(time.perf_counter_ns() - started)
        samples["ours"] += time_in_turns({"ours": ours.call}, rounds=1, block=30, unsettled=5)["ours"]
    medians = {name: median_ms(taken) for name, taken in samples.items()}
    how = (
        "WideResNet-50, m = 256/512/512/256, r = 512, converted from torch, f32, random weights (timing does "
        f"not depend on them); {len(samples['paper'])} calls; {_milliseconds(medians)}"
    )
    ratio = medians["paper"] / medians["ours"]
    return [
        Row(
            "paper's configuration in f32 over ours", ratio, "x p50", 120, 400, higher_is_better=True,
            how=how, details=medians,
        )
    ]  # fmt: skip


def import_time(*, repetitions: int) -> Row:
    """Seconds that `import edgead` adds to an interpreter, a process of its own each time."""
    taken: dict[str, list[float]] = {"pass": [], "import edgead": []}
    for _ in range(repetitions):
        for code, seconds in taken.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
            seconds.append(time.perf_counter() - started)
    added = statistics.median(taken["import edgead"]) - statistics.median(taken["pass"])
    how = f"python -c 'import edgead' minus python -c pass, medians of {repetitions} processes each"
    return Row("import edgead", max(added, 0.0), "s", 0.1, 0.05, how=how)


def installed_size() -> list[Row]:
    """What edgead[openvino] takes on disk besides OpenVINO, OpenCV and numpy, as a line's PC installs it."""
    click_bytes = _distribution_bytes("click")
    rows = []
    for parts, claim, bar in (
        ("runtime", "installed, without OpenVINO, OpenCV, numpy", 5.0),
        ("", "the same, with what trains and compiles", None),
    ):
        own = _installed_bytes(parts)
        how = (
            f"{'make runtime-wheel' if parts else 'the whole wheel'}: edgead {own / 1e6:.2f} MB, click "
            f"{click_bytes / 1e6:.2f} MB, with compiled files"
        )
        rows.append(Row(claim, (own + click_bytes) / 1e6, "MB", bar, how=how))
    return rows


def _installed_bytes(parts: str) -> int:
    """Build a wheel from a copy, so that nothing is left in the source, and install it in a folder."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(prefix="edgead-wheel-") as temporary:
        source, wheels, target = (Path(temporary) / name for name in ("source", "wheels", "target"))
        source.mkdir()
        for name in ("edgead", "targets", "calibration"):
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        build = [*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(source)]
        subprocess.run(build, check=True, env={**os.environ, "EDGEAD_PARTS": parts})
        (wheel,) = wheels.glob("edgead-*.whl")
        subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
        return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _distribution_bytes(name: str) -> int:
    files = importlib.metadata.distribution(name).files or []
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _medians(calls: dict[str, Any], *, rounds: int) -> dict[str, float]:
    for call in calls.values():
        for _ in range(10):
            call()
    return {name: median_ms(taken) for name, taken in time_in_turns(calls, rounds=rounds).items()}


def _milliseconds(medians: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f} ms" for name, value in medians.items())


if __name__ == "__main__":
    main()
