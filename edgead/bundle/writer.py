"""Write a .edgead file: whole or not at all, and the same bytes for the same contents."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

from edgead.bundle.archive import Content, encode_archive
from edgead.bundle.manifest import MANIFEST_NAME, REFERENCE_NAME, Manifest
from edgead.bundle.reader import check_shapes
from edgead.bundle.reference import Reference, npz_from_reference
from edgead.errors import BundleError
from edgead.files import write_bytes


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
    write_bytes(path, encode_archive(archive, origin=str(path)), error=BundleError, make_folder=False)
    return manifest
