"""The table of published data sets (`catalogue.toml`), and the check of a copy against their counts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgead.datasets.folders import open_collection
from edgead.datasets.listing import first_few, folders_in, images_in
from edgead.datasets.samples import ImageDataset
from edgead.errors import DataError, UnknownNameError
from edgead.profiles import read_toml

TEXTURES = "textures"
_COUNTED = ("good to train on", "good to test on", "defective to test on", "good set apart")


@dataclass(frozen=True)
class Published:
    """One data set as its authors published it; `catalogue.toml` says what the counts are."""

    name: str
    title: str
    layout: str
    licence: str
    page: str
    cite: str
    url: str = ""
    sha256: str = ""
    md5: str = ""
    hash_source: str = ""
    archive: str = ""
    megabytes: int | None = None
    instructions: str = ""
    note: str = ""
    prepared_layout: str = ""
    products: int = 0
    counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    total: tuple[int, ...] = ()
    together: tuple[int, ...] = ()  # good, defective; no split was published
    textures: tuple[int, ...] = ()  # kinds, pictures

    @property
    def images(self) -> int | None:
        """How many images it has, where that is published."""
        rows = list(self.counts.values()) or [self.total or self.together or self.textures[1:]]
        return sum(sum(row) for row in rows) or None

    @property
    def needs_acceptance(self) -> bool:
        """Whether its licence forbids something that a user may be about to do, such as commercial use."""
        return self.licence != "CC BY 4.0"

    @property
    def file_name(self) -> str:
        """What the archive is called on this machine."""
        return self.archive or self.url.rpartition("/")[2]


def published_datasets() -> dict[str, Published]:
    """All entries of the catalogue by name, in its order."""
    table = read_toml(Path(__file__).with_name("catalogue.toml"))
    return {name: _entry(name, fields) for name, fields in table.items()}


def published_dataset(name: str) -> Published:
    """One entry; UnknownNameError with near matches where there is none of that name."""
    known = published_datasets()
    if name not in known:
        raise UnknownNameError("data set", name, known)
    return known[name]


def _entry(name: str, fields: dict[str, Any]) -> Published:
    counts = {product: tuple(row) for product, row in fields.pop("counts", {}).items()}
    rows: dict[str, Any] = {
        key: tuple(fields.pop(key)) for key in ("total", "together", "textures") if key in fields
    }
    return Published(name=name, counts=counts, **rows, **fields)


@dataclass(frozen=True)
class Check:
    """What a copy was found to be: `differences` is empty where the counts are the published ones."""

    published: Published
    products: tuple[str, ...]
    images: int
    differences: tuple[str, ...]


def check_copy(path: str | os.PathLike[str], name: str) -> Check:
    """Open the copy of data set `name` in a folder and compare its counts with the published ones.

    A folder of one product is compared with that product alone. Raises DataError where nothing of its layout
    is there.
    """
    published, root = published_dataset(name), Path(path)
    if published.layout == TEXTURES:
        return _check_textures(root, published)
    products = open_collection(_inner(root))
    layouts = {published.layout, published.prepared_layout}
    strange = [product for product in products if product.layout not in layouts]
    if strange:
        raise DataError(
            f"{strange[0].root} is in the layout '{strange[0].layout}', and {published.title} in "
            f"'{published.layout}'. Check the name: `edgead datasets` lists them."
        )
    images = sum(len(p.train) + len(p.test) + len(p.validation) for p in products)
    return Check(published, tuple(p.name for p in products), images, tuple(_differences(products, published)))


def _inner(root: Path) -> Path:
    """The folder inside, where an archive's own folder is all there is."""
    inside = folders_in(root)
    while len(inside) == 1 and not images_in(root)[0] and folders_in(inside[0]):
        try:
            open_collection(root)
            return root
        except DataError:
            root = inside[0]
            inside = folders_in(root)
    return root


def _differences(products: Sequence[ImageDataset], published: Published) -> list[str]:
    found = {product.name: _counts(product) for product in products}
    if published.together:
        good = sum(counts[0] + counts[1] for counts in found.values())
        return _compared(
            "all", (good, sum(c[2] for c in found.values())), published.together, ("good", "bad")
        )
    if not published.counts:
        sums = tuple(sum(column) for column in zip(*found.values(), strict=True))
        differences = _compared("all products", sums[: len(published.total)], published.total)
        if published.products not in (0, len(products)):
            differences.append(f"{len(products)} of {published.products} products are there")
        return differences
    unknown = [name for name in found if name not in published.counts]
    differences = [f"{first_few(unknown)}: no product of {published.title}"] if unknown else []
    if len(products) > 1:
        missing = [name for name in published.counts if name not in found]
        differences += [f"{first_few(missing)}: missing"] if missing else []
    for name in found:
        if name in published.counts:
            expected = published.counts[name]
            differences += _compared(name, found[name][: len(expected)], expected)
    return differences


def _counts(product: ImageDataset) -> tuple[int, int, int, int]:
    bad = sum(sample.is_anomalous for sample in product.test)
    return len(product.train), len(product.test) - bad, bad, len(product.validation)


def _compared(
    what: str, found: Sequence[int], expected: Sequence[int], words: Sequence[str] = _COUNTED
) -> list[str]:
    pairs = zip(words, found, expected, strict=False)
    wrong = [f"{have} {word} where {want} were published" for word, have, want in pairs if have != want]
    return [f"{what}: {'; '.join(wrong)}"] if wrong else []


def _check_textures(root: Path, published: Published) -> Check:
    folder = next((f for f in (root / "images", root / "dtd" / "images", root) if folders_in(f)), root)
    kinds = {kind.name: len(images_in(kind)[0]) for kind in folders_in(folder)}
    if not sum(kinds.values()):
        raise DataError(
            f"{root} holds no folders of textures; expected images/<kind>/*.jpg. Unpack it again."
        )
    found = (len(kinds), sum(kinds.values()))
    differences = _compared(published.title, found, published.textures, ("kinds", "pictures"))
    return Check(published, tuple(kinds), found[1], tuple(differences))
