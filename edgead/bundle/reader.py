"""Open a .edgead file: no engine sees it before its checksums, hashes, fields and model files are checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgead.bundle.archive import MAX_BYTES, decode_archive
from edgead.bundle.manifest import MANIFEST_NAME, REFERENCE_NAME, Manifest, manifest_from_json
from edgead.bundle.model_check import check_model_file
from edgead.bundle.reference import Reference, reference_from_npz
from edgead.bundle.signature import (
    SIGNATURES_NAME,
    Origin,
    Signatures,
    Trust,
    check_origin,
    trust_in_force,
)
from edgead.errors import BundleError


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory: what it says of itself, its model files, its reference answers.

    `origin` is whose signature was asked for and found; None where no keys are trusted and nobody asked.
    """

    path: Path
    manifest: Manifest
    files: Mapping[str, memoryview]
    reference: Reference
    signatures: Signatures | None = None
    origin: Origin | None = None

    def read(self, name: str) -> bytes:
        """A copy of one model file; raises BundleError when the bundle has no such file."""
        if name not in self.files:
            raise BundleError(f"{self.path}: no file '{name}' inside; it has {', '.join(self.files)}.")
        return bytes(self.files[name])


def read_bundle(path: str | Path, *, trusted: str | Path | Trust | None = None) -> Bundle:
    """Read and verify a bundle, each hash included, and its signature where keys are trusted.

    `trusted`: see `edgead/bundle/signature.py`. Raises BundleError naming the file and what to do.
    """
    return _read(Path(path), trust_in_force(trusted))


def read_unsigned(path: str | Path) -> Bundle:
    """The same, whoever made it: to sign it."""
    return _read(Path(path), None)


def _read(path: Path, trust: Trust | None) -> Bundle:
    files = decode_archive(read_bytes(path), origin=str(path))
    for name in (MANIFEST_NAME, REFERENCE_NAME):
        if name not in files:
            raise BundleError(
                f"{path}: no {name} inside. Check that this is the file that `edgead compile` wrote."
            )
    stored = bytes(files.pop(MANIFEST_NAME))
    manifest = manifest_from_json(stored, origin=f"{path}: {MANIFEST_NAME}")
    signatures, origin = None, None
    if SIGNATURES_NAME in files:
        text = bytes(files.pop(SIGNATURES_NAME))
        signatures = Signatures.from_json(text, origin=f"{path}: {SIGNATURES_NAME}")
    if trust is not None:
        origin = check_origin(stored, manifest.name, signatures, trust, origin=str(path))
    _check_hashes(files, manifest, path)
    reference = reference_from_npz(files.pop(REFERENCE_NAME), origin=f"{path}: {REFERENCE_NAME}")
    check_shapes(manifest, reference, origin=str(path))
    for name, content in files.items():
        try:
            check_model_file(name, content, files)
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
    return Bundle(path, manifest, files, reference, signatures, origin)


def read_bytes(path: Path) -> bytes:
    """The whole file, within the limits of an archive; raises BundleError."""
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_BYTES:
            found = f"{size} bytes" if path.is_file() else "a folder or a device"
            raise BundleError(f"{path}: expected a bundle of at most 4 GiB, found {found}.")
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file. {_neighbours(path)}") from None
    except (OSError, MemoryError) as error:
        raise BundleError(
            f"{path}: cannot be read ({error or 'out of memory'}). Check its permissions and the disk."
        ) from error


def _neighbours(path: Path) -> str:
    names = sorted(other.name for other in path.parent.glob("*.edgead"))[:5] if path.parent.is_dir() else []
    return f"The folder holds {', '.join(names)}." if names else "Make one with `edgead compile`."


def _check_hashes(files: Mapping[str, memoryview], manifest: Manifest, path: Path) -> None:
    expected = {*manifest.model_files, REFERENCE_NAME}
    for what, found in (
        ("the archive", set(files)),
        ("hashes.files of the manifest", set(manifest.hashes.files)),
    ):
        if found != expected:
            raise BundleError(
                f"{path}: expected {sorted(expected)} in {what}, found {sorted(found)}. "
                "Compile the bundle again."
            )
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != manifest.hashes.files[name]:
            raise BundleError(
                f"{path}: '{name}' is not the file that the manifest describes (SHA-256 differs). "
                "Copy the bundle again from its source, or compile it again."
            )


def check_shapes(manifest: Manifest, reference: Reference, *, origin: str) -> None:
    """Hold the reference answers to the sizes that the manifest states; raises BundleError."""
    expected_input = (manifest.input.height, manifest.input.width, manifest.input.channels)
    expected_map = (manifest.output.map_height, manifest.output.map_width)
    found_input, found_map = reference.inputs.shape[1:], reference.anomaly_maps.shape[1:]
    if found_input != expected_input or found_map != expected_map:
        raise BundleError(
            f"{origin}: the manifest states inputs {expected_input} and maps {expected_map}, the reference "
            f"answers have {found_input} and {found_map}. Compile the bundle again."
        )
