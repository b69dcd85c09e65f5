"""Downloads with resume and a hash, and unpacks archives without letting one write outside its folder.

Not by pooch, which begins an interrupted download again: data sets have gigabytes.
"""

from __future__ import annotations

import http.client
import json
import platform
import secrets
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from edgead.errors import DataError, UsageError
from edgead.files import file_hash, write_json

_CHUNK = 1 << 20
_TRIES = 5  # in a row that bring nothing
_MOST_TRIES = 200
_TIMEOUT_S = 60
_MOST_FILES = 1_000_000
_MOST_BYTES = 400 * 2**30

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Downloaded:
    """A complete file and its SHA-256; `is_pinned` says that the hash was known before."""

    path: Path
    url: str
    size: int
    sha256: str
    is_pinned: bool


def download(
    url: str, path: Path, *, sha256: str = "", md5: str = "", on_progress: Progress | None = None
) -> Downloaded:
    """Fetch `url` to `path`, going on where an interrupted download stopped.

    What is there so far is in `<path>.part`. A server that lost or changed the file in between sends it from
    its beginning. The hash is compared with `sha256` or `md5`; without either, with the one recorded in
    `<path>.json` by the first download, or recorded there. `on_progress(bytes, of)` is called now and then.
    Raises DataError for a server that fails, and for another hash; the file is then not put in place.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"Expected an address that begins with http:// or https://, found '{url}'.")
    record = path.with_name(f"{path.name}.json")
    known = "" if sha256 or md5 else _recorded(record, url)
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        _fetch(url, part, on_progress)
        _require_hash(part, url, sha256=sha256 or known, md5=md5, was_recorded=bool(known))
        part.replace(path)
        _tag(part).unlink(missing_ok=True)
    else:
        _require_hash(path, url, sha256=sha256 or known, md5=md5, was_recorded=bool(known))
    done = Downloaded(path, url, path.stat().st_size, file_hash(path, "sha256"), bool(sha256 or md5))
    write_json(record, {**asdict(done), "path": path.name})
    return done


def _fetch(url: str, part: Path, on_progress: Progress | None) -> None:
    failures = 0
    for _ in range(_MOST_TRIES):
        before = _size(part)
        try:
            _fetch_rest(url, part, on_progress)
            return
        except urllib.error.HTTPError as error:
            problem: Exception = error
            if error.code < 500:
                raise DataError(
                    f"{url}: the server answers {error.code} {error.reason}. The address may have moved; "
                    "look at the data set's page."
                ) from error
        except (OSError, http.client.HTTPException) as error:
            problem = error
        failures = 1 if _size(part) > before else failures + 1  # what came is progress
        if failures == _TRIES:
            break
        time.sleep(min(2.0**failures / 16, 8))
    raise DataError(
        f"{url}: {problem or type(problem).__name__}. {_size(part)} bytes are there: the same command "
        "goes on from them."
    ) from problem


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _fetch_rest(url: str, part: Path, on_progress: Progress | None) -> None:
    """One request for what is missing; raises OSError where the connection ends before the file does."""
    have = _size(part)
    tag = _tag(part).read_text() if have and _tag(part).is_file() else ""
    if not tag:
        have = 0  # nothing says that the rest would be of the same file
    headers = {"User-Agent": "edgead", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have and error.headers.get("Content-Range", "") == f"bytes */{have}":
            return  # complete already
        if error.code == 416 and have:
            part.unlink()
            raise OSError("the file on the server became shorter") from error
        raise
    with answer:
        if answer.status != 206:
            have = 0
        stated = answer.headers.get("Content-Length")
        total = have + int(stated) if stated else None
        new_tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        _tag(part).write_text("" if new_tag.startswith("W/") else new_tag)
        with part.open("ab" if have else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                if on_progress is not None:
                    on_progress(have, total)
    if total is not None and have < total:
        raise OSError(f"the connection ended after {have} of {total} bytes")


def _tag(part: Path) -> Path:
    """Where the server's name for this version of the file is kept."""
    return part.with_name(f"{part.name}.tag")


def _recorded(record: Path, url: str) -> str:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        return str(found["sha256"]) if found["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _require_hash(path: Path, url: str, *, sha256: str, md5: str, was_recorded: bool) -> None:
    kind, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    if not expected:
        return
    found = file_hash(path, kind)
    if found == expected.lower():
        return
    why = "recorded when it was first downloaded" if was_recorded else "pinned"
    raise DataError(
        f"{path} from {url} has the {kind} {found}, and {expected} is {why}. It is damaged, or another file "
        "than it was. Remove it and download again; if the publisher changed it, look at their page first."
    )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive to a new `folder`, whole or not at all.

    Raises DataError for a damaged archive, one that holds links to the outside, absolute or climbing paths,
    and one larger than any data set; UsageError where `folder` holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty. Name another folder, or remove it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        beside.mkdir()
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, beside)
        else:
            _unpack_tar(archive, beside)
        if folder.exists():
            folder.rmdir()
        beside.replace(folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}. Remove it and download again.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()
        _require_reasonable(archive, len(entries), sum(entry.file_size for entry in entries))
        for entry in entries:
            _require_inside(archive, entry.filename)
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise DataError(f"{archive} holds the link {entry.filename}; a data set needs none.")
        opened.extractall(folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise DataError(
            f"{archive}: Python {platform.python_version()} cannot unpack foreign tar archives safely. "
            "Unpack it yourself (tar -xf), or use Python 3.10.12, 3.11.4 or later."
        )
    count = size = 0
    with tarfile.open(archive) as opened:
        for member in opened:
            count, size = count + 1, size + member.size
            _require_reasonable(archive, count, size)
            _require_inside(archive, member.name)
            opened.extract(member, folder, filter="data")


def _require_inside(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
        raise DataError(f"{archive} holds the path {name}, outside of its folder. Do not use it.")


def _require_reasonable(archive: Path, count: int, size: int) -> None:
    if count > _MOST_FILES or size > _MOST_BYTES:
        raise DataError(f"{archive} claims {count} files and {size} bytes, more than any data set has.")
