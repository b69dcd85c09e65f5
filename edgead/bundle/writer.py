"""Write a .edgead file: whole or not at all, and the same bytes for the same contents."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgead.bundle.archive import Content, encode_archive
from edgead.bundle.manifest import MANIFEST_NAME, REFERENCE_NAME, Manifest
from edgead.bundle.reader import check_shapes
from edgead.bundle.reference import Reference, npz_from_reference
from edgead.errors import BundleError


def write_bundle(
    path: str | Path, manifest: Manifest, *, files: Mapping[str, bytes], reference: Reference
) -> Manifest:
    """Write a bundle and return its manifest with `hashes.files` filled in from the contents.

    `files` holds exactly the names of `manifest.model_files`. Raises BundleError for contents that do not
    agree and for a file that cannot be written; then nothing is left behind and an older bundle stays.
    """
    path = Path(path)
    if set(files) != set(manifest.model_files):
        raise BundleError(
            f"{path}: model_files lists {manifest.model_files}, but {sorted(files)} were given."
        )
    check_shapes(manifest, reference, origin=str(path))
    contents: dict[str, Content] = {**files, REFERENCE_NAME: npz_from_reference(reference)}
    contents = {name: contents[name] for name in sorted(contents)}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = dataclasses.replace(manifest, hashes=dataclasses.replace(manifest.hashes, files=digests))
    archive = {MANIFEST_NAME: manifest.to_json(), **contents}
    _write_whole(path, encode_archive(archive, origin=str(path)))
    return manifest


def _write_whole(path: Path, chunks: Iterable[Content]) -> None:
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = stream.name
            for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)  # temporary files are private; a bundle is read by the line's own user
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror}). {_remedy(error)}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Free space on that disk, or write to another; nothing was left behind."
    return "Check that the folder exists and may be written to; nothing was left behind."
