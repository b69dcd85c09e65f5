"""`edgead run`: inspect images with a bundle."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from edgead.cli.options import bundle_argument, engine_option, plain_json, threads_option
from edgead.cli.progress import with_progress
from edgead.errors import DataError, EdgeadError, UsageError
from edgead.files import is_stream


@click.command()
@bundle_argument
@click.argument("images", nargs=-1, required=True, metavar="IMAGES|CAMERAS...")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Write overlays and results.jsonl here."
)
@click.option("--json-lines", metavar="FILE", help="Write one JSON object per image; - for stdout.")
@click.option("--mqtt", metavar="ADDRESS", help="Publish verdicts: mqtt://host/topic. Cameras only.")
@click.option(
    "--send",
    multiple=True,
    metavar="ADDRESS",
    help="Send verdicts to this address, by its scheme: mqtt, or that of a plugin. Repeatable. Cameras only.",
)
@click.option(
    "--spool",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep verdicts here while no broker answers.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many verdicts of each camera.")
@click.option("--counts", metavar="FILE", help="Write what became of all, as JSON; - for stdout.")
@click.option("--web", is_flag=True, help="The frames are lines of an endless web, inspected in tiles.")
@click.option("--columns-per-pixel", type=int, default=1, show_default=True, help="Of the web, averaged.")
@click.option("--lines-per-pixel", type=int, default=1, show_default=True, help="Of the web, averaged.")
@click.option("--overlap", type=float, default=0.25, show_default=True, help="Share of a tile, up to 0.5.")
@click.option("--threshold", type=float, help="Scores from here on are anomalous.")
@click.option("--pixel-threshold", type=float, help="Map values from here on are regions.")
@engine_option
@threads_option
def command(
    bundle: Path,
    images: tuple[str, ...],
    out: Path | None,
    json_lines: str | None,
    mqtt: str | None,
    send: tuple[str, ...],
    spool: Path | None,
    count: int | None,
    counts: str | None,
    web: bool,
    columns_per_pixel: int,
    lines_per_pixel: int,
    overlap: float,
    **settings: Any,
) -> None:
    """Inspect IMAGES (files, folders, patterns) or CAMERAS with BUNDLE.

    \b
    Examples:
      edgead run part.edgead photo.png
      edgead run part.edgead photos/ --out inspected
      edgead run part.edgead 'photos/*.png' --json-lines - | jq .score
      edgead run part.edgead gige://192.168.1.20 v4l2:0 --mqtt mqtt://192.168.1.5/line3
      edgead run fabric.edgead 'gige://?height=512' --web --columns-per-pixel 2 --lines-per-pixel 2
      edgead run part.edgead 'replay:photos?fps=30&drop=0.01' --json-lines verdicts.jsonl

    Kinds of CAMERAS: gige://, v4l2:, rtsp://, http://, gst:, csi:, gentl:, video:, folder:, replay:; their
    settings and the schema of verdicts are in docs/cameras.md. Every frame has a verdict, those that could
    not be inspected as well. They run until they end, or SIGTERM or Ctrl-C ends them in order (status 0).

    Each JSON line has path, score, is_anomalous, threshold, pixel_threshold, regions (x, y, width, height,
    area, peak; pixels of the image) and timings_ns (resize, infer, postprocess). An image that cannot be read
    gives a line with path and error; the others go on, and the exit status is 1. Both thresholds are the
    bundle's unless given.
    """
    import edgead
    from edgead.cameras import is_address
    from edgead.inspection.files import find_images, inspect_file

    cameras = [image for image in images if is_address(image)]
    if cameras and len(cameras) < len(images):
        raise UsageError(
            f"{cameras[0]} is a camera, others are files. Name cameras, or files; a folder as folder:DIR."
        )
    if cameras:
        from edgead.cli.run_cameras import Destinations, run_cameras
        from edgead.web.stream import StreamSettings

        run_cameras(
            bundle,
            images,
            destinations=Destinations(json_lines, ((mqtt,) if mqtt else ()) + send, spool, out, counts),
            web=StreamSettings(columns_per_pixel, lines_per_pixel, overlap) if web else None,
            count=count,
            engine_settings=settings,
        )
        return
    if mqtt or send or spool or count or counts or web:
        raise UsageError(
            "--mqtt, --send, --spool, --count, --counts and --web are for cameras; folder:DIR is one."
        )
    found = find_images(images)
    paths = found.pictures
    destination = json_lines or (str(out / "results.jsonl") if out else None)
    base = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    failures = 0
    with edgead.open(bundle, **settings) as inspector, _line_writer(destination, folder=out) as write:
        for path in with_progress(paths, label="Inspecting", quiet=destination in (None, "-")):
            overlay = out / "overlays" / f"{path.absolute().relative_to(base)}.png" if out else None
            record = inspect_file(inspector, path, overlay=overlay)
            failures += "error" in record
            write(record)
    if found.left_out:
        click.echo(f"{len(paths)} images; {found.describe(Path.cwd())}", err=True)
    _conclude(len(paths), failures, out, quiet=destination == "-")


@contextlib.contextmanager
def _line_writer(
    destination: str | None, *, folder: Path | None
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes a record: as words without a destination, else as a line of JSON.

    Makes `folder`, if any. Lines go to a .part file first: a run cut short leaves there what it had, and a
    finished file is whole. A pipe or a device gets each line at once.
    """
    if folder is not None:
        from edgead.inspection.files import make_folder

        make_folder(folder)
    if destination is None:
        yield lambda record: click.echo(_in_words(record))
    elif destination == "-":
        yield lambda record: click.echo(_line(record), nl=False)
    else:
        path = Path(destination if is_stream(destination) else os.path.realpath(destination))
        part = path if is_stream(path) else path.with_name(f"{path.name}.part")
        try:
            with part.open("w", encoding="utf-8", buffering=1) as stream:
                yield lambda record: stream.writelines([_line(record)])
            if part != path:
                part.replace(path)
        except OSError as error:
            kept = "" if part == path else f" What was done is in {part}."
            raise EdgeadError(f"{destination}: cannot be written ({error.strerror}).{kept}") from error


def _line(record: dict[str, Any]) -> str:
    return json.dumps(plain_json(record), allow_nan=False) + "\n"


def _in_words(record: dict[str, Any]) -> str:
    if "error" in record:
        return f"{record['path']}: error: {record['error']}"
    verdict = "ANOMALOUS" if record["is_anomalous"] else "good"
    regions = f", {len(record['regions'])} region(s)" if record["is_anomalous"] else ""
    score = f"score {record['score']:.4g} (threshold {record['threshold']:.4g})"
    return f"{record['path']}: {verdict}, {score}{regions}"


def _conclude(count: int, failures: int, out: Path | None, *, quiet: bool) -> None:
    if out is not None and not quiet:
        click.echo(f"{count - failures} of {count} images inspected; see {out}", err=True)
    if failures:
        raise DataError(f"{failures} of {count} images could not be inspected; their records say why.")
