"""Sets of drawn anomalous images (SIA format): pictures by product, and an index that vouches for them.

    SET/index.json             or index-2-of-4.json, one for each part of a set that several processes drew
    SET/<product>/000017.png   number 17, the same whoever drew it

The index names the model's hash, the settings, a licence, and of each image its strength, seed and SHA-256. A
folder of images without an index, such as the authors' published SIA (images by class), is read as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from edgead.errors import DataError
from edgead.files import write_bytes, write_json
from edgead.images import read_image, resize_image
from edgead.picture_files import pictures_in
from edgead.records import read_json, record_from

__all__ = ["AnomalySet", "SetFacts", "SetImage", "SetWriter", "open_set"]

SCHEMA_VERSION = 1
_INDEX = "index*.json"
_ADVICE = "Copy the set again, or draw it again."

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SetFacts:
    """What holds for every image of a set; parts of one set agree on it."""

    model_sha256: str  # of the weights that drew it
    product: str
    height: int
    width: int
    strength_range: tuple[float, float]
    sampler: str
    steps: int
    batch: int  # images drawn at once; the last digits of a picture may depend on it
    seed: int
    licence: str


@dataclass(frozen=True)
class SetImage:
    """One drawn image; `seed` and `strength` are enough to draw it again with the same model."""

    file: str  # relative to the set, with /
    number: int
    strength: float
    seed: int
    sha256: str


class SetWriter:
    """Writes one part of a set; what an earlier, killed run wrote of the same part is kept."""

    def __init__(self, folder: Path, facts: SetFacts, *, part: int = 1, parts: int = 1) -> None:
        """Raises DataError when the folder holds a set of other facts, or other things."""
        self.folder, self.facts = folder, facts
        self._index = folder / ("index.json" if parts == 1 else f"index-{part}-of-{parts}.json")
        _check_folder(folder, facts)
        images = _read_index(self._index)[1] if self._index.exists() else ()
        self._images = {image.number: image for image in images if _is_intact(folder, image)}

    @property
    def done(self) -> frozenset[int]:
        """Numbers of the images that are there."""
        return frozenset(self._images)

    def add(
        self,
        numbers: Sequence[int],
        pngs: Iterable[bytes],
        *,
        seeds: Sequence[int],
        strengths: Sequence[float],
    ) -> None:
        """Write images (encoded as PNG), then the index with them."""
        for number, png, seed, strength in zip(numbers, pngs, seeds, strengths, strict=True):
            file = f"{self.facts.product}/{number:06d}.png"
            write_bytes(self.folder / file, png, error=DataError, sync=False)
            digest = hashlib.sha256(png).hexdigest()
            self._images[number] = SetImage(file, number, strength, seed, digest)
        self.close()

    def close(self) -> None:
        """Write the index as it stands."""
        images = [asdict(self._images[number]) for number in sorted(self._images)]
        write_json(self._index, {"schema_version": SCHEMA_VERSION, **asdict(self.facts), "images": images})


@dataclass(frozen=True)
class AnomalySet:
    """Anomalous images to draw from, read when they are asked for; can be pickled."""

    path: Path
    files: tuple[Path, ...]
    digest: str  # of names and contents
    licence: str
    facts: SetFacts | None  # None without an index

    def __len__(self) -> int:
        return len(self.files)

    def image(self, number: int, *, height: int, width: int) -> Image:
        """Image `number` as uint8 H W 3. Raises DataError when it can no longer be read."""
        return resize_image(read_image(self.files[number]), height, width)


def open_set(path: str | Path) -> AnomalySet:
    """Open a set, one product's folder of a set, or a folder of images without an index, and check all
    hashes.

    Raises DataError: nothing there, several products, images that are missing, were changed, or are in no
    index.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; expected a set of anomalous images. Make one with edgead "
            "synthesize sample."
        )
    if any(folder.glob(_INDEX)):
        return _open_indexed(folder)
    return _open_indexed(folder.resolve().parent) if _is_product_of_set(folder) else _open_plain(folder)


def _is_product_of_set(folder: Path) -> bool:
    """Whether the folder is the images of a set, beside whose index it lies."""
    for index in folder.resolve().parent.glob(_INDEX):
        try:
            if _read_index(index)[0].product == folder.resolve().name:
                return True
        except DataError:
            continue  # a file of that name that has nothing to do with it
    return False


def _open_indexed(root: Path) -> AnomalySet:
    indexes = sorted(root.glob(_INDEX))
    read = [_read_index(index) for index in indexes]
    facts = read[0][0]
    if any(other != facts for other, _ in read):
        raise DataError(
            f"The indexes in {root} are of different sets ({', '.join(index.name for index in indexes)}). "
            "Keep the parts of one set in a folder."
        )
    images = sorted(
        {image.number: image for _, part in read for image in part}.values(), key=lambda i: i.number
    )
    if not images:
        raise DataError(f"{root} is a set without images. Draw some with edgead synthesize sample.")
    for image in images:
        if not _is_intact(root, image):
            raise DataError(
                f"{root / image.file} is missing or not the image that the index names (SHA-256). Copy "
                "the whole set again, or draw it again."
            )
    strange = set(_images_in(root / facts.product)) - {root / image.file for image in images}
    if strange:
        raise DataError(
            f"{root} holds {len(strange)} images that its index does not name, such as {min(strange)}. "
            "Remove them, or put them into a folder of their own without an index."
        )
    text = json.dumps([[image.file, image.sha256] for image in images])
    files = tuple(root / image.file for image in images)
    return AnomalySet(root, files, hashlib.sha256(text.encode()).hexdigest(), facts.licence, facts)


def _open_plain(folder: Path) -> AnomalySet:
    """Images without an index: in the folder itself, or in its only folder."""
    files = _images_in(folder)
    if not files:
        inner = sorted(entry for entry in folder.iterdir() if entry.is_dir() and _images_in(entry))
        if len(inner) != 1:
            found = f"the folders {', '.join(entry.name for entry in inner[:5])}" if inner else "none"
            raise DataError(
                f"{folder} should hold images, or one folder of them; found {found}. Name the folder of the "
                "product."
            )
        folder, files = inner[0], _images_in(inner[0])
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return AnomalySet(folder, tuple(files), digest.hexdigest(), "not stated", None)


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return list(pictures_in(folder).pictures)


def _is_intact(root: Path, image: SetImage) -> bool:
    try:
        return hashlib.sha256((root / image.file).read_bytes()).hexdigest() == image.sha256
    except OSError:
        return False


@dataclass(frozen=True)
class _Index(SetFacts):
    """The facts and the images of a part, as in its file."""

    schema_version: int
    images: tuple[SetImage, ...]


def _read_index(path: Path) -> tuple[SetFacts, tuple[SetImage, ...]]:
    content = read_json(path, what="index of a set", advice=_ADVICE)
    version = content.get("schema_version") if isinstance(content, Mapping) else SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise DataError(f"{path} has another schema version than {SCHEMA_VERSION}. {_ADVICE}")
    index = record_from(_Index, content, origin=f"{path}, the index of a set", advice=_ADVICE)
    for image in index.images:
        place = PurePosixPath(image.file)
        if place.is_absolute() or ".." in place.parts or len(place.parts) != 2 or "\\" in image.file:
            raise DataError(f"{path} names '{image.file}', which is no file <product>/<image> of the set.")
    return SetFacts(**{field.name: getattr(index, field.name) for field in fields(SetFacts)}), index.images


def _check_folder(folder: Path, facts: SetFacts) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; --out names a folder. Give another one.")
    indexes = sorted(folder.glob(_INDEX)) if folder.is_dir() else []
    for index in indexes:
        if _read_index(index)[0] != facts:
            raise DataError(
                f"{index} is of a set with another model, product or settings. Give another --out."
            )
    if folder.is_dir() and not indexes and _is_strange(folder, facts.product):
        raise DataError(f"{folder} holds other things. Give an empty or new --out.")


def _is_strange(folder: Path, product: str) -> bool:
    """Whether there is more than a part of this set that another process has just begun."""
    return any(entry.name != product and not entry.name.startswith(".index") for entry in folder.iterdir())
