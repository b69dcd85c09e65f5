"""Who made a bundle: Ed25519 signatures over its manifest, whose hashes cover every other file.

A signature lies in the bundle beside what it signs, in signatures.json; several keys may sign, so that a new
key can be brought to the lines before the old one ends. What is signed is the manifest as it is stored, and a
release number, which a signer raises with each bundle: who trusts releases from 7 up refuses an older bundle
of the same name, though its signature is right (roll-back).

Which keys are trusted is said by a file, a line for each key and for each least release:

    edgead-ed25519 MCowBQYDK2VwAyEA... night shift 2026
    release 7 of tile

It is the argument `trusted`, or the file that EDGEAD_TRUSTED names, or /etc/edgead/trusted-keys where that
exists. With any of them, a bundle that no trusted key has signed is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgead.errors import BundleError, UsageError
from edgead.files import read_file
from edgead.installation import how_to_install
from edgead.records import json_from, parse_json, record_from

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURES_NAME = "signatures.json"
KEY_KIND = "edgead-ed25519"
TRUSTED_VARIABLE = "EDGEAD_TRUSTED"
TRUSTED_FILE = Path("/etc/edgead/trusted-keys")
MOST_RELEASE = 2**63 - 1
_SCHEMA = 1
_MOST_SIGNATURES = 16
_MAX_BYTES = 2**20
_PURPOSE = b"edgead bundle, schema of signatures 1\n"  # a signature for something else is none of a bundle
_RELEASE_LINE = re.compile(r"release (\d{1,18}) of (.+)")


@dataclass(frozen=True)
class Signature:
    """One signature: of which key (its fingerprint), of which release, and its 64 bytes in base64."""

    key: str
    release: int
    value: str

    def __post_init__(self) -> None:
        if not 0 <= self.release <= MOST_RELEASE:
            raise BundleError(f"signatures: release: expected 0 to {MOST_RELEASE}, found {self.release}.")


@dataclass(frozen=True)
class Signatures:
    """The contents of signatures.json."""

    schema_version: int
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        if self.schema_version != _SCHEMA or len(self.signatures) > _MOST_SIGNATURES:
            raise BundleError(
                f"signatures: expected schema {_SCHEMA} and at most {_MOST_SIGNATURES} signatures, found "
                f"schema {self.schema_version} and {len(self.signatures)}. Upgrade edgead on this device."
            )

    @classmethod
    def of(cls, signatures: Sequence[Signature]) -> Signatures:
        return cls(_SCHEMA, tuple(signatures))

    def to_json(self) -> bytes:
        return json_from(self, origin=SIGNATURES_NAME, error=BundleError)

    @classmethod
    def from_json(cls, text: bytes, *, origin: str) -> Signatures:
        """Read what `to_json` wrote; BundleError for anything else."""
        if len(text) > _MAX_BYTES:
            raise BundleError(f"{origin}: {len(text)} bytes, expected at most {_MAX_BYTES}. Sign it again.")
        value = parse_json(text, origin=origin, error=BundleError)
        return record_from(cls, value, origin=origin, error=BundleError, complete=True)


@dataclass(frozen=True)
class PublicKey:
    """32 bytes that verify, and what people call the key."""

    raw: bytes
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise UsageError(f"A public key of Ed25519 has 32 bytes, not {len(self.raw)}.")

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()[:32]

    @property
    def line(self) -> str:
        """As it stands in a file of trusted keys."""
        return f"{KEY_KIND} {base64.b64encode(self.raw).decode()} {self.name}".rstrip()


@dataclass(frozen=True)
class Trust:
    """Keys whose bundles are opened, and by the name of a bundle the least release of it."""

    keys: tuple[PublicKey, ...]
    least_releases: dict[str, int] = field(default_factory=dict)
    origin: str = "the keys given"


@dataclass(frozen=True)
class Origin:
    """Whose signature a bundle bears, and of which release."""

    key: PublicKey
    release: int

    def to_json(self) -> dict[str, object]:
        return {"key": self.key.fingerprint, "name": self.key.name, "release": self.release}

    def describe(self) -> str:
        name = f"'{self.key.name}' " if self.key.name else ""
        return f"release {self.release}, signed by {name}({self.key.fingerprint})"


def read_trust(path: str | Path) -> Trust:
    """The trusted keys of a file, in the form above; raises UsageError naming the line at fault."""
    keys: list[PublicKey] = []
    releases: dict[str, int] = {}
    try:
        lines = read_file(path, most=_MAX_BYTES).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: no file of trusted keys ({error}). Write the line that `edgead key new` prints into it."
        ) from error
    for number, line in enumerate((line.strip() for line in lines), start=1):
        if not line or line.startswith("#"):
            continue
        if found := _RELEASE_LINE.fullmatch(line):
            releases[found[2]] = max(int(found[1]), releases.get(found[2], 0))
            continue
        keys.append(_key_of(line, f"{path}, line {number}"))
    if not keys:
        raise UsageError(f"{path}: no key in it. Write the line that `edgead key new` prints into it.")
    return Trust(tuple(keys), releases, str(path))


def _key_of(line: str, origin: str) -> PublicKey:
    kind, _, rest = line.partition(" ")
    encoded, _, name = rest.strip().partition(" ")
    try:
        if kind != KEY_KIND:
            raise ValueError(f"found '{kind[:40]}'")
        return PublicKey(base64.b64decode(encoded, validate=True), name.strip())
    except (ValueError, binascii.Error, UsageError) as error:
        raise UsageError(
            f"{origin}: expected '{KEY_KIND} KEY NAME' or 'release NUMBER of BUNDLE' ({error}). "
            "Copy the line that `edgead key new` printed."
        ) from error


def trust_in_force(trusted: str | Path | Trust | None) -> Trust | None:
    """The keys given, or those of the environment, or those of the machine; None where nobody asks."""
    if isinstance(trusted, Trust):
        return trusted
    if trusted is None:
        trusted = os.environ.get(TRUSTED_VARIABLE) or (TRUSTED_FILE if TRUSTED_FILE.exists() else None)
    return None if trusted is None else read_trust(trusted)


def signed_bytes(manifest: bytes, release: int) -> bytes:
    """What a signature is of."""
    return _PURPOSE + struct.pack(">Q", release) + manifest


def check_origin(
    manifest: bytes, name: str, signatures: Signatures | None, trust: Trust, *, origin: str
) -> Origin:
    """The first right signature of a trusted key; BundleError where there is none, or it is too old."""
    given = () if signatures is None else signatures.signatures
    by_fingerprint = {key.fingerprint: key for key in trust.keys}
    wrong = None
    for one in given:
        key = by_fingerprint.get(one.key)
        if key is None:
            continue
        if not _is_right(key, one, signed_bytes(manifest, one.release)):
            wrong = one.key
            continue
        least = trust.least_releases.get(name, 0)
        if one.release < least:
            raise BundleError(
                f"{origin}: release {one.release} of '{name}', and {trust.origin} asks for {least} at least. "
                "It is an earlier bundle: take the latest, or lower the number there."
            )
        return Origin(key, one.release)
    if wrong is not None:
        found = f"its signature of key {wrong} is not of this content: it was changed after it was signed"
    elif given:
        found = f"it is signed by {', '.join(one.key for one in given)}, which {trust.origin} does not name"
    else:
        found = "it is not signed"
    raise BundleError(
        f"{origin}: {found}. Expected a signature by a key of {trust.origin}. Get the bundle from its maker, "
        "or sign it (`edgead sign`) if you made it."
    )


def _is_right(key: PublicKey, signature: Signature, message: bytes) -> bool:
    from_raw, invalid = _ed25519()
    try:
        public: Ed25519PublicKey = from_raw(key.raw)
        public.verify(base64.b64decode(signature.value, validate=True), message)
    except (invalid, ValueError, binascii.Error):
        return False
    return True


def _ed25519() -> tuple[Any, type[Exception]]:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise UsageError(
            f"Signatures need the package cryptography. Install it: {how_to_install('sign')}."
        ) from error
    return Ed25519PublicKey.from_public_bytes, InvalidSignature
