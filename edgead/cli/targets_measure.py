"""`edgead targets measure`: a profile with latencies measured on the device at hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import json_option, write_json
from edgead.cli.progress import is_watched, progress_share
from edgead.errors import UsageError

if TYPE_CHECKING:
    from edgead.cost.measure import MeasuredNetwork
    from edgead.profiles.target import Target


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the profile here (.toml)."
)
@click.option(
    "--target", default="intel-cpu", show_default=True, metavar="NAME", help="The profile to start from."
)
@click.option(
    "--precision", "precisions", multiple=True, help="Measure in this one.  [default: int8 and f32]"
)
@click.option(
    "--count", type=click.IntRange(min=12), default=48, show_default=True, help="Networks to measure."
)
@click.option("--backbone", metavar="NAME", help="Their frozen network.  [default: the preset's]")
@click.option("--input-size", metavar="SIZE", help="Their input, as in 256 or 256x512.  [default: 256]")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the engine.  [default: all cores it may use]"
)
@click.option(
    "--clock",
    type=click.Choice(["wall", "processor"]),
    default="wall",
    show_default=True,
    help="With one thread, processor time tells what a call takes when nobody interrupts it.",
)
@click.option(
    "--models", type=click.Path(path_type=Path), metavar="FOLDER", help="Measure models made before."
)
@click.option(
    "--make-models", type=click.Path(path_type=Path), metavar="FOLDER", help="Make them and stop there."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws the networks.")
@json_option
def command(
    out: Path | None,
    target: str,
    precisions: tuple[str, ...],
    models: Path | None,
    make_models: Path | None,
    threads: int | None,
    clock: str,
    json_path: str | None,
    **drawn: Any,
) -> None:
    """Measure this device and write a profile that predicts latencies from what was measured.

    \b
    Examples:
      edgead targets measure --out my-device.toml
      edgead train parts/good --out runs/part --target my-device.toml --latency-ms 5

    Networks drawn at random are built, quantized and run by the target's engine, some minutes in all. On a
    device without torch, measure models that were made elsewhere:

    \b
      edgead targets measure --make-models models/         # on a workstation
      edgead targets measure --models models/ --out my-device.toml --target arm-cpu
    """
    from edgead.profiles.target import read_target

    base = read_target(target)
    wanted = _precisions(base, precisions)
    if models is not None and make_models is not None:
        raise UsageError("Give --models or --make-models, not both: one measures what the other made.")
    if make_models is not None:
        _make(make_models, wanted, **drawn)
        click.echo(f"{make_models}: models to measure with --models on the device")
        return
    if out is None or out.suffix != ".toml":
        raise UsageError(f"--out: expected a file name ending in .toml, found {out or 'none'}.")
    if models is None:
        import tempfile

        with tempfile.TemporaryDirectory(prefix="edgead-measure-") as folder:
            _make(Path(folder), wanted, **drawn)
            content = _measure(Path(folder), base, target, threads, clock, out)
    else:
        content = _measure(models, base, target, threads, clock, out)
    if json_path is not None:
        write_json(json_path, content)
    if json_path != "-":
        click.echo(f"{out}: {len(content['points'])} points in {', '.join(content['precisions'])}")
        click.echo(
            f"measured on {content['measured_on']['cpu']}, {content['measured_on']['threads']} threads"
        )
        click.echo(f"Next: edgead train DATA --out RUN --target {out} --latency-ms X")


def _precisions(base: Target, wanted: tuple[str, ...]) -> tuple[str, ...]:
    from edgead.errors import UnknownNameError

    possible = [name for name in base.precisions if name in ("int8", "f32")]
    for name in wanted:
        if name not in possible:
            raise UnknownNameError(f"precision to measure on {base.name}", name, possible)
    return wanted or tuple(possible)


def _make(folder: Path, precisions: Sequence[str], **drawn: Any) -> None:
    """Write the models and what they are to `folder`, the index last."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder. Give a new one.")
    if is_watched():
        click.echo("Loading torch ...", err=True)
    from edgead.cli.parsing import input_size_from_text
    from edgead.cost.design_space import Space
    from edgead.cost.measure import MODELS_INDEX
    from edgead.cost.probes import draw_configs, make_probes
    from edgead.files import write_bytes
    from edgead.models.realnet.config import RealNetConfig

    size = input_size_from_text(drawn["input_size"])
    base = RealNetConfig().with_choices(backbone=drawn["backbone"], input_size=size)
    configs = draw_configs(Space(base), drawn["count"], seed=drawn["seed"])
    index = []
    with progress_share("Making models") as on_progress:
        for number, probe in enumerate(make_probes(configs, precisions, on_progress=on_progress)):
            name = f"{number:03}.onnx"
            write_bytes(folder / name, probe.model)
            index.append({"file": name, "precision": probe.precision, "config": probe.config.to_json()})
    write_bytes(folder / MODELS_INDEX, json.dumps(index, indent=1).encode())


def _measure(
    folder: Path, base: Target, named: str, threads: int | None, clock: str, out: Path
) -> dict[str, Any]:
    import dataclasses

    from edgead.cost.measure import measure_models, measured_on, read_models
    from edgead.cost.profile_file import profile_with_table
    from edgead.device.machine import usable_cores
    from edgead.files import write_bytes
    from edgead.profiles import read_data_text

    models = read_models(folder)
    threads = threads or usable_cores()
    circumstances = measured_on(base.engine, threads=threads, clock=clock)
    with progress_share("Measuring") as on_progress:
        found: list[MeasuredNetwork] = measure_models(
            models, engine=base.engine, threads=threads, clock=clock, on_progress=on_progress
        )
    text = profile_with_table(read_data_text("targets", named), circumstances, found)
    write_bytes(out, text.encode(), make_folder=False)
    return {
        "profile": str(out),
        "measured_on": dataclasses.asdict(circumstances),
        "precisions": sorted({one.precision for one in found}),
        "points": [{**dataclasses.asdict(one), "config": dict(one.config)} for one in found],
    }
