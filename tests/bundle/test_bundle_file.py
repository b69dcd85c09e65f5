"""A whole bundle on disk: written whole or not at all, and refused at any change."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgead.bundle import Manifest, read_bundle, write_bundle
from edgead.bundle.archive import decode_archive, encode_archive
from edgead.errors import BundleError
from tests.runtime.tiny_bundle import tiny_manifest, tiny_onnx, tiny_reference, write_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.edgead", 8, 8)


def repack(path: Path, **changes: bytes | None) -> None:
    files = {name: bytes(content) for name, content in decode_archive(path.read_bytes(), origin="t").items()}
    for name, content in changes.items():
        files.pop(name, None)
        if content is not None:
            files[name] = content
    path.write_bytes(b"".join(encode_archive(files, origin="t")))


def test_round_trip(bundle_path: Path):
    bundle = read_bundle(bundle_path)
    assert bundle.read("model.onnx") == tiny_onnx(8, 8)
    assert dataclasses.replace(bundle.manifest, hashes=tiny_manifest(8, 8).hashes) == tiny_manifest(8, 8)
    assert set(bundle.manifest.hashes.files) == {"model.onnx", "reference.npz"}


def test_equal_contents_give_equal_bytes(bundle_path: Path):
    again = write_tiny_bundle(bundle_path.with_name("again.edgead"), 8, 8)
    assert again.read_bytes() == bundle_path.read_bytes()
    assert again.stat().st_mode & 0o777 == 0o644


def test_unzip_reads_it(bundle_path: Path):
    with zipfile.ZipFile(bundle_path) as archive:
        assert archive.namelist() == ["manifest.json", "model.onnx", "reference.npz"]


def test_every_flipped_byte_is_noticed(bundle_path: Path):
    whole = bundle_path.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        bundle_path.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"tiny\.edgead"):
            read_bundle(bundle_path)


def test_another_model_under_the_same_manifest_is_noticed(bundle_path: Path):
    repack(bundle_path, **{"model.onnx": tiny_onnx(16, 16)})
    with pytest.raises(BundleError, match=r"'model\.onnx' is not the file that the manifest describes"):
        read_bundle(bundle_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"manifest.json": None}, "no manifest.json inside", id="no manifest"),
        pytest.param({"reference.npz": None}, "no reference.npz inside", id="no reference"),
        pytest.param({"model.onnx": None}, "expected .* in the archive", id="no model"),
        pytest.param(
            {"extra.bin": b"1"}, "expected .* in the archive, found .*extra.bin", id="a file too many"
        ),
        pytest.param({"manifest.json": b"{}"}, "missing required field", id="empty manifest"),
    ],
)
def test_files_that_do_not_belong(bundle_path: Path, changes: dict[str, bytes | None], message: str):
    repack(bundle_path, **changes)
    with pytest.raises(BundleError, match=message):
        read_bundle(bundle_path)


def test_a_missing_file_names_its_neighbours(bundle_path: Path):
    with pytest.raises(BundleError, match=r"tin\.edgead: no such file. The folder holds tiny\.edgead"):
        read_bundle(bundle_path.with_name("tin.edgead"))


def test_a_folder_is_not_a_bundle(tmp_path: Path):
    with pytest.raises(BundleError, match="a folder"):
        read_bundle(tmp_path)


def write(path: Path, manifest: Manifest | None = None, **changes: object) -> None:
    settings = {"files": {"model.onnx": tiny_onnx(8, 8)}, "reference": tiny_reference(8, 8), **changes}
    write_bundle(path, manifest or tiny_manifest(8, 8), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {}}, "model_files lists"),
        ({"files": {"other.onnx": b""}}, "model_files lists"),
        ({"reference": tiny_reference(16, 8)}, "the manifest states inputs"),
    ],
)
def test_contents_must_agree(tmp_path: Path, changes: dict[str, object], message: str):
    with pytest.raises(BundleError, match=message):
        write(tmp_path / "a.edgead", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_bundle(bundle_path: Path, monkeypatch: pytest.MonkeyPatch):
    old = bundle_path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match=r"cannot be written \(No space left.*Free space"):
        write(bundle_path)
    assert bundle_path.read_bytes() == old
    assert list(bundle_path.parent.iterdir()) == [bundle_path]


def test_the_system_refusing_a_write_leaves_nothing(tmp_path: Path):
    """A real refusal, in the middle of the file: the system's limit on a file's size."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from tests.runtime.tiny_bundle import write_tiny_bundle\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "write_tiny_bundle(Path(sys.argv[1]), 64, 64)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.edgead")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "BundleError" in done.stderr
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_said(tmp_path: Path):
    with pytest.raises(BundleError, match="Check that the folder exists"):
        write(tmp_path / "no" / "a.edgead")
