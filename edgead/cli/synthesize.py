"""`edgead synthesize`: a diffusion model of good parts, and sets of anomalous images drawn from it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import json_option, write_json
from edgead.cli.progress import progress_share
from edgead.cli.stage_progress import stage_progress
from edgead.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from edgead.synthesis.diffusion.model import DiffusionModel

_model_argument = click.argument("model", type=click.Path(path_type=Path))
_product_option = click.option("--product", metavar="NAME", help="Of a model of several products.")
_chain_option = click.option(
    "--chain", type=click.IntRange(min=1), help="Steps from noise to image.  [default: 20; of size small 100]"
)
_seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)


@click.group()
def command() -> None:
    """Draw realistic anomalies with a diffusion model of the good parts (RealNet's SDAS).

    \b
    Example:
      edgead synthesize fit parts/good --out models/part
      edgead synthesize sheet models/part --out sheet.png
      edgead synthesize sample models/part --count 1000 --strength 0.1:0.2 --out sets/part
      edgead train parts/good --out runs/part --synthesis sets/part
    """


@command.command("fit")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="MODEL", help="Write this folder."
)
@click.option(
    "--size", default="small", show_default=True, help="small (CPU), standard (one GPU), published."
)
@click.option("--image-size", metavar="SIZE", help="Height x width, as in 256 or 256x512.  [default: 256]")
@click.option("--steps", type=click.IntRange(min=1), help="[default: the size's]")
@click.option("--minutes", type=float, help="Fit for about this long, in place of --steps.")
@click.option("--batch", type=click.IntRange(min=1), help="Images per step.  [default: the size's]")
@click.option("--learning-rate", type=float, help="[default: the size's]")
@click.option("--schedule", default="linear", show_default=True, help="Of the noise: linear or cosine.")
@_seed_option
@json_option
def fit_command(
    data: tuple[Path, ...], out: Path, minutes: float | None, json_path: str | None, **chosen: Any
) -> None:
    """Fit a diffusion model to the good images of DATA: one folder, or one per product.

    \b
    Examples:
      edgead synthesize fit parts/good --out models/part --minutes 40
      torchrun --nproc-per-node 4 -m edgead synthesize fit parts/good --size standard --out models/part

    Killed half-way, the same command goes on from the last checkpoint.
    """
    if minutes is not None and chosen["steps"] is not None:
        raise UsageError("Give --steps or --minutes, not both: one decides the other.")
    from edgead.synthesis.diffusion.fit import DEFAULTS, FitSettings, fit
    from edgead.synthesis.diffusion.images import load_good_images
    from edgead.synthesis.diffusion.model import read_facts
    from edgead.synthesis.diffusion.network import network_config

    size = chosen["size"]
    usual = network_config(size)
    height, width = _size(chosen["image_size"]) or (usual.height, usual.width)
    network_config(size, height=height, width=width)  # a size that cannot be, before images are read
    images = load_good_images(data, height=height, width=width)
    network = network_config(
        size, height=height, width=width, channels=images.channels, products=len(images.products)
    )
    steps, batch, learning_rate = DEFAULTS[size]
    settings = FitSettings(
        network=network,
        steps=chosen["steps"] or steps,
        batch=chosen["batch"] or batch,
        seed=chosen["seed"],
        learning_rate=learning_rate if chosen["learning_rate"] is None else chosen["learning_rate"],
        schedule=chosen["schedule"],
    )
    try:
        with stage_progress() as on_progress:
            found = fit(images, out, settings=settings, size=size, minutes=minutes, on_progress=on_progress)
    except KeyboardInterrupt:
        raise TrainingError("Interrupted. The same command goes on from the last checkpoint.") from None
    if found is None:  # a process of torchrun that is not the first
        return
    facts = asdict(read_facts(found))
    if json_path is not None:
        write_json(json_path, {"model": str(found), **facts})
    if json_path != "-":
        minutes_taken = facts["seconds"] / 60
        click.echo(f"{found}: {size}, {facts['settings']['steps']} steps in {minutes_taken:.1f} minutes")
        click.echo(f"Next: edgead synthesize sheet {found} --out sheet.png")


@command.command("sample")
@_model_argument
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="SET", help="Write this folder."
)
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option(
    "--strength", default="0.1:0.2", show_default=True, help="Low:high of each image, or one number."
)
@click.option("--sampler", default="ancestral", show_default=True, help="ancestral; ddim, with 0.01:0.03.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Images drawn at once."
)
@click.option("--part", default="1/1", show_default=True, help="Draw this share, as in 2/4, on this machine.")
@click.option("--licence", metavar="TEXT", help="Of the images, for the index.  [default: the good images']")
@_chain_option
@_seed_option
@_product_option
@json_option
def sample_command(
    model: Path,
    out: Path,
    strength: str,
    part: str,
    licence: str | None,
    chain: int | None,
    product: str | None,
    json_path: str | None,
    **chosen: Any,
) -> None:
    """Draw a set of anomalous images from MODEL.

    \b
    Examples:
      edgead synthesize sample models/part --count 1000 --strength 0.1:0.2 --out sets/part
      edgead synthesize sample models/part --count 10000 --part 2/4 --out sets/part
      torchrun --nproc-per-node 2 -m edgead synthesize sample models/part --out sets/part

    However the work is split, image number k is the same. Given again, the command draws what is missing.
    """
    from edgead.learning.process import keep_large_blocks
    from edgead.synthesis.diffusion.drawing import (
        OWN_LICENCE,
        DrawSettings,
        count_of_part,
        draw_set,
        usual_chain,
    )

    number, parts, rank = _part(part)
    keep_large_blocks()
    fitted = _read(model, rank=rank)
    steps = chain or usual_chain(fitted.facts.size)
    settings = DrawSettings(
        **chosen, strength_range=_range(strength), steps=steps, licence=licence or OWN_LICENCE
    )
    total = count_of_part(settings, part=number, parts=parts)
    with progress_share(f"Drawing {total} images") as show:
        done = 0

        def on_images(count: int) -> None:
            nonlocal done
            done += count
            show(done / max(total, 1))

        draw_set(
            fitted, out, settings=settings, product=product, part=number, parts=parts, on_images=on_images
        )
    if json_path is not None:
        write_json(json_path, {"set": str(out), "images": total, "part": number, "parts": parts})
    if json_path != "-":
        click.echo(f"{out}: {total} images of strength {strength}")


@command.command("sheet")
@_model_argument
@click.option("--out", default="sheet.png", show_default=True, type=click.Path(path_type=Path), metavar="PNG")
@click.option("--strength", "strengths", metavar="LIST", help="Of the rows.  [default: 0,0.1,0.2,0.4,0.8]")
@click.option("--columns", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), help="Good parts.  [default: those of the fit]")
@_chain_option
@_seed_option
@_product_option
def sheet_command(
    model: Path,
    out: Path,
    strengths: str | None,
    columns: int,
    data: Path | None,
    chain: int | None,
    seed: int,
    product: str | None,
) -> None:
    """Draw a picture of what strength does with MODEL, to choose it by eye.

    \b
    Example:
      edgead synthesize sheet models/part --strength 0,0.1,0.3 --out sheet.png
    """
    from edgead.images import write_image
    from edgead.synthesis.diffusion.drawing import usual_chain
    from edgead.synthesis.diffusion.sheet import STRENGTHS, draw_sheet

    rows = STRENGTHS if strengths is None else tuple(_number(part) for part in strengths.split(","))
    fitted = _read(model)
    sheet = draw_sheet(
        fitted,
        strengths=rows,
        columns=columns,
        seed=seed,
        steps=chain or usual_chain(fitted.facts.size),
        product=product,
        data=data,
    )
    write_image(out, sheet)
    click.echo(f"Written: {out}")


def _read(model: Path, *, rank: int = 0) -> DiffusionModel:
    from edgead.learning.distributed import device_for_rank
    from edgead.synthesis.diffusion.model import read_model

    return read_model(model, device=device_for_rank(rank))


def _part(text: str) -> tuple[int, int, int]:
    """(part, of how many, rank on this machine) of "2/4", divided further among torchrun's processes."""
    import os

    try:
        part, parts = (int(number) for number in text.split("/"))
    except ValueError:
        raise UsageError(f"--part is written 2/4, and is '{text}'.") from None
    if not 1 <= part <= parts:
        raise UsageError(f"--part is one of 1/{parts} to {parts}/{parts}, and is '{text}'.")
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return (part - 1) * world + rank + 1, parts * world, rank


def _range(text: str) -> tuple[float, float]:
    bounds = [_number(part) for part in text.split(":")]
    if len(bounds) > 2:
        raise UsageError(f"--strength is low:high, as in 0.1:0.2, or one number, and is '{text}'.")
    return bounds[0], bounds[-1]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--strength: expected a number, found '{text}'.") from None


def _size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of "256" or "256x512"."""
    if text is None:
        return None
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isdigit() for side in sides):
        raise UsageError(f"--image-size: expected one number, or height x width, found '{text}'.")
    return int(sides[0]), int(sides[-1])
