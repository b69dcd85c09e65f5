"""Bundles changed at random, hashes made again: opened as they are, or refused by an EdgeadError."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgead.bundle import read_bundle
from edgead.bundle.archive import decode_archive, encode_archive
from edgead.errors import BundleError, EdgeadError
from tests.runtime.tiny_bundle import write_tiny_bundle

SCALE = int(os.environ.get("EDGEAD_FUZZ", "1"))  # 14 for a release: 50,000 flips, 10,000 changed files
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**63, 10**30, 1e308, float("nan"), float("inf"), -1e-300),
    *("", "x" * 10_000, "\ud800", "a\x00b", "../x", "1e9", "\N{PILE OF POO}"),
    *([], {}, [[[]]], {"a": {}}),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "tiny.edgead").read_bytes()
    return {name: bytes(content) for name, content in decode_archive(bundle, origin="tiny").items()}


def opened(path: Path, files: dict[str, bytes]) -> bool:
    path.write_bytes(b"".join(encode_archive(files, origin="x")))
    try:
        read_bundle(path)
    except EdgeadError as error:
        str(error).encode()  # can be printed
        return False
    return True


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def changed_manifest(text: bytes, draw: random.Random) -> bytes:
    manifest = json.loads(text)
    for _ in range(draw.randint(1, 3)):
        *parents, last = draw.choice(list(places(manifest)))
        holder = manifest
        for key in parents:
            holder = holder[key]
        if draw.random() < 0.15:
            del holder[last]
        else:
            holder[last] = draw.choice(VALUES)
    found = json.dumps(manifest).encode()
    if draw.random() < 0.1:
        found = found.replace(b"{", b'{"a":' + b"[" * draw.choice([10, 1000, 100_000]) + b",", 1)
    return found


def changed_arrays(npz: bytes, draw: random.Random) -> bytes:
    arrays = {name: bytearray(content) for name, content in decode_archive(npz, origin="x").items()}
    array = arrays[draw.choice(list(arrays))]
    for _ in range(draw.randint(1, 4)):
        array[draw.randrange(min(len(array), 140))] = draw.randrange(256)
    if draw.random() < 0.2:
        del array[draw.randrange(len(array)) :]
    return b"".join(encode_archive({name: bytes(content) for name, content in arrays.items()}, origin="x"))


def with_hash(files: dict[str, bytes], name: str, content: bytes) -> dict[str, bytes]:
    manifest = json.loads(files["manifest.json"])
    manifest["hashes"]["files"][name] = hashlib.sha256(content).hexdigest()
    return {**files, name: content, "manifest.json": json.dumps(manifest).encode()}


def test_changed_manifests(files: dict[str, bytes], tmp_path: Path):
    draw = random.Random(0)
    for _ in range(400 * SCALE):
        text = changed_manifest(files["manifest.json"], draw)
        opened(tmp_path / "x.edgead", {**files, "manifest.json": text})


def test_changed_arrays(files: dict[str, bytes], tmp_path: Path):
    draw = random.Random(1)
    for _ in range(400 * SCALE):
        npz = changed_arrays(files["reference.npz"], draw)
        opened(tmp_path / "x.edgead", with_hash(files, "reference.npz", npz))


def test_every_flipped_bit_is_noticed(files: dict[str, bytes], tmp_path: Path):
    draw, path = random.Random(2), tmp_path / "x.edgead"
    whole = b"".join(encode_archive(files, origin="x"))
    for _ in range(3600 * SCALE):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(BundleError):
            read_bundle(path)


@pytest.mark.parametrize("name", ["map_tolerance", "score_tolerance"])
def test_a_tolerance_that_lets_anything_pass_is_refused(files: dict[str, bytes], tmp_path: Path, name: str):
    import numpy as np

    from edgead.bundle.reference import _npy

    arrays = {n: bytes(c) for n, c in decode_archive(files["reference.npz"], origin="x").items()}
    arrays[f"{name}.npy"] = _npy(np.float64(1e9))
    npz = b"".join(encode_archive(arrays, origin="x"))
    path = tmp_path / "x.edgead"
    path.write_bytes(b"".join(encode_archive(with_hash(files, "reference.npz", npz), origin="x")))
    with pytest.raises(BundleError, match=f"{name}: expected at most"):
        read_bundle(path)
