"""Make a key, and sign a bundle with it. The private key stays where bundles are made."""

from __future__ import annotations

import base64
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgead.bundle.archive import Content, decode_archive, encode_archive
from edgead.bundle.manifest import MANIFEST_NAME
from edgead.bundle.reader import read_bytes, read_unsigned
from edgead.bundle.signature import (
    MOST_RELEASE,
    SIGNATURES_NAME,
    PublicKey,
    Signature,
    Signatures,
    signed_bytes,
)
from edgead.errors import BundleError, UsageError
from edgead.files import read_file, write_bytes
from edgead.installation import how_to_install

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_SUFFIX = ".pub"


def make_key(path: str | Path, *, name: str = "", passphrase: bytes | None = None) -> PublicKey:
    """Write a new private key (PEM, PKCS 8, readable by this user alone) and, beside it, PATH.pub.

    Nothing is overwritten. Raises UsageError.
    """
    path = Path(path)
    if "\n" in name or name != name.strip():
        raise UsageError(f"The name of a key is one line without spaces around it, not {name!r}.")
    serialization, ed25519 = _cryptography()
    private = ed25519.Ed25519PrivateKey.generate()
    protection = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    text = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    public = _public(private, name)
    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    made: list[Path] = []
    try:
        for place, content, mode in ((path, text, 0o600), (public_path, f"{public.line}\n".encode(), 0o644)):
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(place)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except OSError as error:
        for place in made:
            with contextlib.suppress(OSError):
                place.unlink()
        reason = error.strerror
        if isinstance(error, FileExistsError):
            reason = "it is there already, and a key is never overwritten"
        raise UsageError(
            f"{error.filename or path}: cannot be written ({reason}). Name another file."
        ) from error
    return public


def sign_bundle(
    path: str | Path, key: str | Path, *, release: int | None = None, passphrase: bytes | None = None
) -> Signature:
    """Sign a bundle in place; other keys' signatures stay, an earlier one of the same key is replaced.

    Without `release`, the number of an earlier signature stays; the first is 1. Raises BundleError and
    UsageError; then the bundle is as it was.
    """
    path = Path(path)
    bundle = read_unsigned(path)  # whole and consistent: nothing else is worth a signature
    private = _private_key(Path(key), passphrase)
    public = _public(private, "")
    earlier = () if bundle.signatures is None else bundle.signatures.signatures
    if release is None:
        release = max((one.release for one in earlier), default=1)
    if not 0 <= release <= MOST_RELEASE:
        raise UsageError(f"A release is a number from 0 to {MOST_RELEASE}, not {release}.")
    files: dict[str, Content] = dict(decode_archive(read_bytes(path), origin=str(path)))
    value = private.sign(signed_bytes(bytes(files[MANIFEST_NAME]), release))
    own = Signature(public.fingerprint, release, base64.b64encode(value).decode())
    others = [one for one in earlier if one.key != own.key]
    files[SIGNATURES_NAME] = Signatures.of([*others, own]).to_json()
    write_bytes(path, encode_archive(files, origin=str(path)), error=BundleError, make_folder=False)
    return own


def _private_key(path: Path, passphrase: bytes | None) -> Ed25519PrivateKey:
    serialization, ed25519 = _cryptography()
    try:
        found: Any = serialization.load_pem_private_key(read_file(path), password=passphrase)
    except OSError as error:
        raise UsageError(f"{path}: no key ({error.strerror}). Make one: edgead key new {path}") from error
    except TypeError as error:
        advice = "It has none." if passphrase else "Give it: --passphrase-file FILE or EDGEAD_KEY_PASSPHRASE."
        raise UsageError(f"{path}: the passphrase of the key does not fit. {advice}") from error
    except ValueError as error:
        raise UsageError(
            f"{path}: no private key in PEM, or another passphrase. Name what `edgead key new` wrote."
        ) from error
    if not isinstance(found, ed25519.Ed25519PrivateKey):
        raise UsageError(f"{path}: a key of another kind. Make one of Ed25519: edgead key new FILE")
    private: Ed25519PrivateKey = found
    return private


def _public(private: Ed25519PrivateKey, name: str) -> PublicKey:
    return PublicKey(private.public_key().public_bytes_raw(), name)


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UsageError(
            f"Keys need the package cryptography. Install it: {how_to_install('sign')}."
        ) from error
    return serialization, ed25519
