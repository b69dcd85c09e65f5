"""Inspect the lines that the example camera plays; Python owns the loop, or C does.

    python setup.py build_ext --inplace
    python run.py part.edgead --images parts/good --line-rate 20000 --loop python
    python run.py part.edgead --loop c

Without --images, drawn cloth is played, with a hole in it.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import cv2
import line_host
import numpy as np
from numpy.typing import NDArray

import edgead
from edgead.images import read_image
from edgead.web.stream import WebStream, inspect_web

Material = NDArray[np.uint8]


def drawn_cloth(width: int = 640, rows: int = 2048) -> Material:
    """Threads across and along, grey, lines x width; a dark hole at line 1000, column 200."""
    line, column = np.mgrid[0:rows, 0:width]
    cloth = 128 + 30 * np.sin(line / 1.7) + 30 * np.sin(column / 2.3)
    noise = np.random.default_rng(0).normal(0, 4, cloth.shape)
    hole = (line - 1000) ** 2 + (column - 200) ** 2 < 15**2
    return np.where(hole, 10, cloth + noise).clip(0, 255).astype(np.uint8)


def pictures_as_web(folder: Path, limit: int = 32) -> Material:
    """The first pictures of a folder, one below the other, grey, in the width of the first."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".png", ".jpg", ".bmp"})
    if not paths:
        raise click.UsageError(f"{folder} has no .png, .jpg or .bmp.")
    grey = [cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY) for path in paths[:limit]]
    width = grey[0].shape[1]
    return np.vstack([image for image in grey if image.shape[1] == width])


def python_owns_the_loop(inspector: edgead.Inspector, lines: edgead.LineBuffer) -> list[tuple]:
    with lines:  # whatever is raised in here stops the camera
        return [
            (strip.part, defect.line, defect.column, defect.score)
            for strip in inspect_web(inspector, lines)
            for defect in strip.defects
        ]


def c_owns_the_loop(inspector: edgead.Inspector, lines: edgead.LineBuffer) -> list[tuple]:
    gate = line_host.Gate(lines, WebStream(inspector))
    gate.start()
    return gate.join()  # this thread has nothing more to do


LOOPS = {"python": python_owns_the_loop, "c": c_owns_the_loop}


@click.command()
@click.argument("bundle")
@click.option(
    "--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Played as a web."
)
@click.option(
    "--line-rate", type=click.FloatRange(min=1), default=5000, show_default=True, help="Lines per second."
)
@click.option("--lines", "lines_total", type=click.IntRange(min=1), default=20000, show_default=True)
@click.option("--part-lines", type=click.IntRange(min=0), default=0, help="Lines of a part; 0: one part.")
@click.option("--loop", type=click.Choice(sorted(LOOPS)), default="python", show_default=True)
def main(
    bundle: str, images: Path | None, line_rate: float, lines_total: int, part_lines: int, loop: str
) -> None:
    """Print the defects and what became of every line, as JSON."""
    material = drawn_cloth() if images is None else pictures_as_web(images)
    lines = edgead.LineBuffer(material.shape[1], block_lines=256, blocks=16, when_full="drop_oldest")
    camera = line_host.Camera(
        lines.capsule, material, line_rate, lines_total=lines_total, part_lines=part_lines
    )
    with edgead.open(bundle) as inspector:
        camera.start()
        defects = LOOPS[loop](inspector, lines)
    camera.join()
    click.echo(json.dumps({"defects": defects, "lines": lines.statistics.to_json()}))


if __name__ == "__main__":
    main()
