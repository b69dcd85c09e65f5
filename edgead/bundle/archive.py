"""A strict zip: files stored uncompressed, flat ASCII names, one byte layout for equal contents.

Any unzip program opens it. The reader accepts nothing but the layout that the writer makes, so that a changed
byte anywhere, in the contents or in the zip's own headers, is noticed.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from edgead.errors import BundleError

# The fields of APPNOTE 4.3.7, 4.3.12 and 4.3.16. 32-bit sizes bound an archive to 4 GiB.
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION_NEEDED = 20
_MADE_BY_UNIX = (3 << 8) | _VERSION_NEEDED
_DOS_TIME, _DOS_DATE = 0, 0x21  # 1980-01-01: equal contents give equal bytes on any day
_REGULAR_FILE = 0o100644 << 16
_FILE_TYPE_MASK, _SYMBOLIC_LINK = 0o170000, 0o120000

MAX_FILES = 64
MAX_BYTES = 2**32 - 1
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)

Content = bytes | memoryview


class _Entry(NamedTuple):
    """One record of the central directory; sizes and offsets in bytes."""

    name: str
    crc: int
    size: int
    offset: int


def check_name(name: str, origin: str) -> None:
    """Refuse a name that is a path or could be one on any system; raises BundleError."""
    if not _SAFE_NAME.fullmatch(name) or ".." in name:
        raise BundleError(
            f"{origin}: unsafe file name {name[:120]!r} inside; expected letters, digits, '.', '_' and '-' "
            "only, without folders. Do not unpack this file; get it again from where it was compiled."
        )


def encode_archive(files: Mapping[str, Content], *, origin: str) -> Iterator[Content]:
    """Yield the bytes of the archive of `files`, in the order of the mapping, without copying contents."""
    if len(files) > MAX_FILES or sum(len(content) + 300 for content in files.values()) > MAX_BYTES:
        raise BundleError(
            f"{origin}: {len(files)} files do not fit; at most {MAX_FILES} files and 4 GiB together. "
            "Use a smaller model."
        )
    directory, offset = [], 0
    for name, content in files.items():
        check_name(name, origin)
        entry = _Entry(name, zlib.crc32(content), len(content), offset)
        yield _local_header(entry)
        yield content
        offset += _LOCAL.size + len(name) + entry.size
        directory.append(_central_record(entry))
    records = b"".join(directory)
    yield records + _END.pack(_END_MAGIC, 0, 0, len(files), len(files), len(records), offset, 0)


def _local_header(entry: _Entry) -> bytes:
    fields = (_VERSION_NEEDED, 0, 0, _DOS_TIME, _DOS_DATE, entry.crc, entry.size, entry.size)
    return _LOCAL.pack(_LOCAL_MAGIC, *fields, len(entry.name), 0) + entry.name.encode("ascii")


def _central_record(entry: _Entry) -> bytes:
    fields = (_MADE_BY_UNIX, _VERSION_NEEDED, 0, 0, _DOS_TIME, _DOS_DATE, entry.crc, entry.size, entry.size)
    tail = (len(entry.name), 0, 0, 0, 0, _REGULAR_FILE, entry.offset)
    return _CENTRAL.pack(_CENTRAL_MAGIC, *fields, *tail) + entry.name.encode("ascii")


def decode_archive(data: bytes | memoryview, *, origin: str) -> dict[str, memoryview]:
    """Name -> contents of an archive of `encode_archive`, as views of `data`.

    Raises BundleError for anything else: damaged, truncated, compressed, encrypted, with links, folders,
    duplicates, or with bytes that belong to no file. `origin` names the archive in the message.
    """
    view = memoryview(data)
    entries, directory_start = _read_directory(view, origin)
    files: dict[str, memoryview] = {}
    for entry in entries:
        if entry.name in files:
            raise BundleError(f"{origin}: holds '{entry.name}' twice. Get the file again from its source.")
        files[entry.name] = _content(view, entry, directory_start, origin)
    _check_layout(view, files, origin)
    return files


def _read_directory(view: memoryview, origin: str) -> tuple[list[_Entry], int]:
    end = len(view) - _END.size
    if end < 0 or bytes(view[:2]) != b"PK":
        raise BundleError(
            f"{origin}: expected a zip archive, found {len(view)} bytes that are none. "
            "Check that this is the file that `edgead compile` wrote."
        )
    magic, _, _, _, count, size, start, _ = _END.unpack_from(view, end)
    if magic != _END_MAGIC or start + size != end or count > MAX_FILES:
        raise _damaged(
            origin, "its directory is not at its end: the file is truncated, or something follows it"
        )
    entries, at = [], start
    for _ in range(count):
        entry, at = _read_record(view, at, end, origin)
        entries.append(entry)
    return entries, start


def _read_record(view: memoryview, at: int, end: int, origin: str) -> tuple[_Entry, int]:
    if at + _CENTRAL.size > end:
        raise _damaged(origin, "its directory is cut short")
    record = _CENTRAL.unpack_from(view, at)
    _, _, _, flags, method, _, _, crc, _, size, name_length, extra, comment, _, _, attributes, offset = record
    stop = at + _CENTRAL.size + name_length
    if record[0] != _CENTRAL_MAGIC or stop > end:
        raise _damaged(origin, "a record of its directory is not one")
    name = bytes(view[at + _CENTRAL.size : stop]).decode("latin-1")
    check_name(name, origin)
    _check_plain(name, flags, method, attributes, origin)
    return _Entry(name, crc, size, offset), stop + extra + comment


def _check_plain(name: str, flags: int, method: int, attributes: int, origin: str) -> None:
    if flags & 1:
        found = "is encrypted"
    elif method != 0:
        found = "is compressed"
    elif (attributes >> 16) & _FILE_TYPE_MASK == _SYMBOLIC_LINK:
        found = "is a symbolic link"
    else:
        return
    raise BundleError(
        f"{origin}: '{name}' inside {found}; expected plain files, stored as they are. "
        "A bundle must not be packed again: use the file that `edgead compile` wrote."
    )


def _content(view: memoryview, entry: _Entry, directory_start: int, origin: str) -> memoryview:
    begin = entry.offset + _LOCAL.size + len(entry.name)
    if begin + entry.size > directory_start:
        raise _damaged(origin, f"'{entry.name}' claims {entry.size} bytes, more than the file holds")
    content = view[begin : begin + entry.size]
    if zlib.crc32(content) != entry.crc:
        raise _damaged(origin, f"the contents of '{entry.name}' do not match their checksum")
    return content


def _check_layout(view: memoryview, files: dict[str, memoryview], origin: str) -> None:
    at = 0
    for chunk in encode_archive(files, origin=origin):
        if view[at : at + len(chunk)] != chunk:
            raise _damaged(origin, f"its structure differs near byte {at} from what edgead writes")
        at += len(chunk)
    if at != len(view):
        raise _damaged(origin, f"{len(view) - at} bytes belong to no file")


def _damaged(origin: str, found: str) -> BundleError:
    return BundleError(f"{origin}: damaged: {found}. Copy it again from its source, or compile it again.")
