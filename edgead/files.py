"""Files that are written whole or not at all, under a temporary name first; their hashes; the cache."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from edgead.errors import EdgeadError

MOST_BYTES = 1 << 30  # of a file of text that is read whole
_CHUNK = 1 << 20
_OTHERS, _OTHERS_WRITE = 0o077, 0o022  # bits of a mode: the group counts as others
_LOCK_SECONDS = 0.1  # between two tries, where the system cannot wait for a lock


def file_hash(path: Path, kind: str = "sha256") -> str:
    """The hash of a file's bytes, hexadecimal; raises OSError."""
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def cache_folder(*, error: type[EdgeadError] = EdgeadError) -> Path:
    """The user's own folder for what can be made or fetched again; EDGEAD_CACHE names another.

    Raises `error` for a user without a home.
    """
    if named := os.environ.get("EDGEAD_CACHE"):
        return Path(named)
    try:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as refusal:
        raise error(f"This user has no home folder for the cache. {CACHE_ADVICE}") from refusal
    return Path(base) / "edgead"


CACHE_ADVICE = (
    "Make the folder writable for this user, or name another: export EDGEAD_CACHE=/var/cache/edgead (a "
    "service: CacheDirectory=edgead and Environment=EDGEAD_CACHE=/var/cache/edgead in its unit)."
)


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether there is something at `path` that is no file: a pipe, a device, a socket, by a link or not."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def read_file(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file, `most` of them at most; raises OSError, for a pipe or a device as well.

    These would be read without an end, or never answer.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "a folder", os.fspath(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "a pipe or a device, not a file", os.fspath(path))
        if found.st_size > most:
            words = f"{found.st_size} bytes, and at most {most} are read"
            raise OSError(errno.EFBIG, words, os.fspath(path))
        return file.read(most)


def private_folder(folder: Path, *, error: type[EdgeadError]) -> Path:
    """The folder, made where it is not there, of this user alone (mode 0700): for files that hold code.

    Raises `error` where it is another user's or a link, and where others may write to it: what lies there
    could be theirs.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.lstat()
        if hasattr(os, "geteuid") and (stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid()):
            raise error(
                f"{folder}: it is a link, or another user's, and what is kept there is code. {CACHE_ADVICE}"
            )
        if os.name == "posix" and found.st_mode & _OTHERS_WRITE:
            raise error(
                f"{folder}: others may write here, and what is kept here is code. Empty it, then run: "
                f"chmod go-rwx {folder}"
            )
        if found.st_mode & _OTHERS:
            folder.chmod(0o700)
    except OSError as refusal:
        raise error(f"{folder}: nothing can be kept here ({refusal.strerror}). {CACHE_ADVICE}") from refusal
    if not os.access(folder, os.W_OK | os.X_OK):
        raise error(f"{folder}: nothing can be kept here (no permission to write). {CACHE_ADVICE}")
    return folder


def is_private(descriptor: int) -> bool:
    """Whether an open file is this user's, and nobody else's to write."""
    found = os.fstat(descriptor)
    is_own = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return (
        is_own and stat.S_ISREG(found.st_mode) and not (os.name == "posix" and found.st_mode & _OTHERS_WRITE)
    )


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends, and is removed if it fails.

    With `sync` its bytes are on the disk before the name is: a power cut leaves the old file or the new one.
    A pipe or a device is written to and stays what it is; of a symbolic link, the file that it names is
    replaced. Raises what the block raises, and OSError.
    """
    if is_stream(path):
        with Path(path).open("wb") as stream:
            yield stream
        return
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        with temporary.open(
            "xb"
        ) as file:  # unlike tempfile's, with the permissions that the user's umask sets
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise


def write_bytes(
    path: str | os.PathLike[str],
    content: bytes | Iterable[bytes | memoryview],
    *,
    error: type[EdgeadError] = EdgeadError,
    make_folder: bool = True,
    sync: bool = True,
) -> None:
    """Write a file, given whole or in chunks; a failure leaves what was there before.

    Raises `error` naming the file, also for a full disk and, without `make_folder`, for a folder that is
    not there.
    """
    target = Path(path)
    try:
        if make_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target, sync=sync) as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
    except OSError as refusal:
        raise error(
            f"{target}: cannot be written ({refusal.strerror or refusal}). {_remedy(refusal)}"
        ) from refusal


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON, sorted and indented, whole or not at all; values that are not finite are refused."""
    write_bytes(path, (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def _remedy(refusal: OSError) -> str:
    if refusal.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Free space on that disk, or write to another; nothing was left behind."
    return "Check that the folder exists and may be written to; nothing was left behind."


def lock_file(descriptor: int, *, wait: bool = False) -> None:
    """Hold an open file for this process until it is closed; the system lets go when the process ends.

    Raises OSError where another process holds it, or waits for that one.
    """
    try:
        import fcntl
    except ImportError:  # Windows; not yet tried there
        _lock_on_windows(descriptor, wait=wait)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _lock_on_windows(descriptor: int, *, wait: bool) -> None:
    import msvcrt

    while True:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            if not wait:
                raise
            time.sleep(_LOCK_SECONDS)
        else:
            return
