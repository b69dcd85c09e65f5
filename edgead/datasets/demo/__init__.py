"""The drawn demo set: three products of a line, in the layout of MVTec AD, without a download.

Every picture follows from the seed, its product, its folder and its number alone, so that a smaller demo is
a part of a larger one. With the same versions of numpy and OpenCV the files are equal byte for byte.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgead.datasets.demo.board import Board
from edgead.datasets.demo.fabric import Fabric
from edgead.datasets.demo.metal import Metal
from edgead.datasets.demo.scene import DrawnProduct, photograph_defect, photograph_good
from edgead.errors import DataError, UnknownNameError, UsageError
from edgead.images import write_image

__all__ = ["PRODUCTS", "draw_demo"]

PRODUCTS: dict[str, Callable[[], DrawnProduct]] = {"metal": Metal, "fabric": Fabric, "board": Board}
_DRAWING = 1  # raise when any picture changes, so that an older folder is not taken for a new one
_NOTE = "demo.json"
_CLEAREST, _FAINTEST = 1.0, 0.2


def draw_demo(
    root: str | os.PathLike[str],
    *,
    products: Sequence[str] = ("metal", "fabric", "board"),
    seed: int = 0,
    train_images: int = 60,
    test_images: int = 12,
    defects_per_kind: int = 6,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Draws each product into `root/<product>` and returns those folders; pictures are 320 x 320 RGB.

    `test_images` counts the good ones; of every kind of defect `defects_per_kind` follow, from clear to
    faint, with masks of exactly the pixels that the defect changes visibly. A folder that holds the same
    drawing already is kept. `on_progress` gets the pictures done and in all.
    Raises `UnknownNameError` for a product, `DataError` when a folder holds something else.
    """
    chosen = [_product(name) for name in dict.fromkeys(products)]
    for name, count in (
        ("train_images", train_images),
        ("test_images", test_images),
        ("defects_per_kind", defects_per_kind),
    ):
        if count < 0:
            raise UsageError(f"{name} must be 0 or more, not {count}.")
    folders = [Path(root) / product.name for product in chosen]
    counts = {"train": train_images, "test": test_images, "defects": defects_per_kind}
    notes = [{"drawing": _DRAWING, "product": product.name, "seed": seed, **counts} for product in chosen]
    missing = [_must_draw(folder, note) for folder, note in zip(folders, notes, strict=True)]
    total = sum(train_images + test_images + defects_per_kind * len(product.kinds) for product in chosen)
    done = 0

    def advance(pictures: int = 1) -> None:
        nonlocal done
        done += pictures
        if on_progress is not None:
            on_progress(done, total)

    for product, folder, note, draw in zip(chosen, folders, notes, missing, strict=True):
        if draw:
            _draw_whole(product, folder, note, seed, counts, advance)
        else:
            advance(train_images + test_images + defects_per_kind * len(product.kinds))
    return folders


def _product(name: str) -> DrawnProduct:
    if name not in PRODUCTS:
        raise UnknownNameError("demo product", name, PRODUCTS)
    return PRODUCTS[name]()


def _must_draw(folder: Path, note: dict[str, object]) -> bool:
    """False where exactly this drawing is there; an error where something else is."""
    if not folder.exists():
        return True
    try:
        found = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == note:
        return False
    what = "another drawing" if isinstance(found, dict) else "something that is not a drawn demo"
    raise DataError(
        f"{folder} should be free for the demo and holds {what}. Remove it or name another folder."
    )


def _draw_whole(
    product: DrawnProduct,
    folder: Path,
    note: dict[str, object],
    seed: int,
    counts: dict[str, int],
    advance: Callable[[], None],
) -> None:
    """Draws into a hidden folder beside the final one, and renames it when all is there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise DataError(f"{folder} cannot be made: {error.strerror}. Name another folder.") from error
    try:
        _draw_good(product, working / "train" / "good", seed, counts["train"], advance)
        _draw_good(product, working / "test" / "good", seed, counts["test"], advance)
        for kind in product.kinds:
            _draw_defects(product, kind, working, seed, counts["defects"], advance)
        (working / _NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")
        working.chmod(0o755)  # mkdtemp's folders are private to the user; the demo is not secret
        working.replace(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}. Nothing was left behind.") from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _draw_good(
    product: DrawnProduct, folder: Path, seed: int, count: int, advance: Callable[[], None]
) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        rng = _rng(seed, product.name, folder.parent.name, "good", index)
        write_image(folder / f"{index:03}.png", photograph_good(product, rng))
        advance()


def _draw_defects(
    product: DrawnProduct, kind: str, root: Path, seed: int, count: int, advance: Callable[[], None]
) -> None:
    images, masks = root / "test" / kind, root / "ground_truth" / kind
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for index in range(count):
        strength = float(np.linspace(_CLEAREST, _FAINTEST, count)[index])
        image, mask = photograph_defect(
            product, kind, strength, _rng(seed, product.name, "test", kind, index)
        )
        write_image(images / f"{index:03}.png", image)
        write_image(masks / f"{index:03}_mask.png", mask.astype(np.uint8) * np.uint8(255))
        advance()


def _rng(seed: int, product: str, part: str, kind: str, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(f"{product}/{part}/{kind}".encode()), index])
