"""The strict zip: what it writes any zip program reads; what it reads is only what it writes."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.bundle.archive import decode_archive, encode_archive
from edgead.errors import BundleError

FILES = {"manifest.json": b"{}", "model.onnx": bytes(range(64)), "empty": b""}
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}(\.[a-z]{1,4})?", fullmatch=True)


def pack(files: dict[str, bytes]) -> bytes:
    return b"".join(encode_archive(files, origin="test"))


def zipped(*entries: tuple[zipfile.ZipInfo | str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def symbolic_link() -> bytes:
    info = zipfile.ZipInfo("model.onnx")
    info.external_attr = 0o120777 << 16
    return zipped((info, b"/etc/passwd"))


def encrypted() -> bytes:
    data = bytearray(pack({"a": b"1"}))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def huge_size() -> bytes:
    data = bytearray(pack({"a": b"1"}))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<2I", data, at + 20, 2**32 - 1, 2**32 - 1)
    return bytes(data)


def test_other_programs_read_it():
    with zipfile.ZipFile(io.BytesIO(pack(FILES))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=6))
def test_what_is_written_is_read_back(files: dict[str, bytes]):
    assert {
        name: bytes(content) for name, content in decode_archive(pack(files), origin="test").items()
    } == files


def test_every_flipped_bit_is_noticed():
    whole = pack(FILES)
    for at in range(len(whole)):
        for bit in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[at] ^= bit
            with pytest.raises(BundleError, match="test"):
                decode_archive(bytes(damaged), origin="test")


def test_every_truncation_is_noticed():
    whole = pack(FILES)
    for length in range(len(whole)):
        with pytest.raises(BundleError):
            decode_archive(whole[:length], origin="test")


@given(st.binary(max_size=300))
def test_noise_never_passes(noise: bytes):
    with pytest.raises(BundleError):
        decode_archive(b"PK\x03\x04" + noise, origin="test")


@given(st.data())
def test_a_cut_or_an_insertion_never_passes(data: st.DataObject):
    whole = pack(FILES)
    at = data.draw(st.integers(0, len(whole)))
    extra = data.draw(st.binary(min_size=1, max_size=30))
    with pytest.raises(BundleError):
        decode_archive(whole[:at] + extra + whole[at:], origin="test")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "0 bytes that are none", id="empty"),
        pytest.param(b"\x89PNG" + bytes(100), "that are none", id="another format"),
        pytest.param(zipped(("../../etc/passwd", b"")), "unsafe file name", id="parent folder"),
        pytest.param(zipped(("/etc/passwd", b"")), "unsafe file name", id="absolute"),
        pytest.param(zipped(("C:\\x", b"")), "unsafe file name", id="drive"),
        pytest.param(zipped(("a/b", b"")), "unsafe file name", id="folder"),
        pytest.param(zipped(("a..b", b"")), "unsafe file name", id="dots"),
        pytest.param(zipped(("ä", b"")), "unsafe file name", id="not ascii"),
        pytest.param(
            zipped(("a", b"1" * 99), compression=zipfile.ZIP_DEFLATED), "is compressed", id="compressed"
        ),
        pytest.param(symbolic_link(), "symbolic link", id="link"),
        pytest.param(encrypted(), "is encrypted", id="encrypted"),
        pytest.param(huge_size(), "claims 4294967295 bytes", id="huge"),
        pytest.param(zipped(("a", b"1")), "structure differs", id="packed by another program"),
        pytest.param(pack(FILES) + b"\0", "damaged", id="a byte behind"),
        pytest.param(b"\0" + pack(FILES), "that are none", id="a byte before"),
    ],
)
def test_what_is_refused(data: bytes, message: str):
    with pytest.raises(BundleError, match=message):
        decode_archive(data, origin="test")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicates_are_refused():
    with pytest.raises(BundleError, match="'a' twice"):
        decode_archive(zipped(("a", b"1"), ("a", b"2")), origin="test")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", ".hidden", "x" * 101, "a\nb"])
def test_unsafe_names_are_not_written(name: str):
    with pytest.raises(BundleError, match="unsafe file name"):
        pack({name: b""})


def test_too_many_files_are_not_written():
    with pytest.raises(BundleError, match="at most 64 files"):
        pack({f"f{index}": b"" for index in range(65)})
