"""Files appear whole or not at all, whatever stops the writing."""

from __future__ import annotations

import os
import resource
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgead.errors import DataError, EdgeadError
from edgead.files import is_private, lock_file, private_folder, read_file, whole_file, write_bytes, write_json


@pytest.fixture
def limited() -> Iterator[None]:
    """The system itself refuses to let any file grow beyond 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "content", [b"abc", [b"a", memoryview(b"bc")], iter([b"abc"])], ids=["whole", "chunks", "lazy"]
)
def test_what_is_given_is_written(tmp_path: Path, content: bytes) -> None:
    write_bytes(tmp_path / "deep" / "a", content)
    assert (tmp_path / "deep" / "a").read_bytes() == b"abc"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_real_refusal_in_the_middle_leaves_the_old_file(tmp_path: Path, limited: None) -> None:
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(DataError, match=r"a: cannot be written \(File too large\)\. Free space"):
        write_bytes(tmp_path / "a", [b"x" * 90, b"y" * 90], error=DataError)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_whatever_stops_the_writer_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def stopped() -> Iterator[bytes]:
        yield b"half"
        raise error

    with pytest.raises(error), whole_file(tmp_path / "a") as file:
        file.writelines(stopped())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["no/a", ".", "/"])
def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgeadError, match="cannot be written"):
        write_bytes(name, b"abc", make_folder=False)
    assert list(tmp_path.iterdir()) == []


def test_json_is_sorted_and_finite(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": [2.5]})
    assert (tmp_path / "a").read_text() == '{\n  "a": [\n    2.5\n  ],\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a", {"b": float("nan")})


@pytest.mark.parametrize("has_fcntl", [True, False])
def test_a_file_is_held_by_one_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_fcntl: bool
):
    """Without fcntl, as on Windows, the lock is msvcrt's, of which a double stands in here."""
    held: set[int] = set()

    def locking(file: int, mode: int, length: int) -> None:
        if held - {file}:
            raise OSError("locked")
        held.add(file)

    if not has_fcntl:
        monkeypatch.setitem(sys.modules, "fcntl", None)
        monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    lock_file(first)
    with pytest.raises(OSError, match=r"locked|unavailable"):
        lock_file(second)
    waiting = threading.Thread(target=lock_file, args=(second,), kwargs={"wait": True})
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    os.close(first)
    held.discard(first)
    waiting.join(10)
    assert not waiting.is_alive()
    os.close(second)


def read_in_a_thread(pipe: Path) -> tuple[threading.Thread, list[bytes]]:
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    return reader, found


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader, found = read_in_a_thread(pipe)
    write_bytes(pipe, b"abc")
    reader.join(10)
    assert found == [b"abc"]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    with pytest.raises(EdgeadError, match="/dev/full: cannot be written"):
        write_bytes("/dev/full", b"abc" * 9999)
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write_bytes(link, b"abc")
    assert Path("/dev/full").is_char_device()
    assert Path("/dev/null").is_char_device()
    assert link.is_symlink()


def test_a_descriptor_of_a_pipe_is_written_to() -> None:
    """As a shell hands over >(cat)."""
    reading, writing = os.pipe()
    write_bytes(f"/dev/fd/{writing}", b"abc")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"abc"


@pytest.mark.parametrize("exists", [True, False], ids=["a file", "nothing yet"])
def test_a_link_stays_and_what_it_names_is_written(tmp_path: Path, exists: bool) -> None:
    link, target = tmp_path / "link", tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    link.symlink_to(target)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_file(tmp_path / "a", most=3) == b"abc"
    with pytest.raises(OSError, match="3 bytes, and at most 2"):
        read_file(tmp_path / "a", most=2)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "pipe", "folder"])
def test_what_would_never_end_is_not_read(tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"a pipe or a device|a folder|directory"):
        read_file(tmp_path / path)


def test_a_private_folder_is_of_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert private_folder(folder, error=EdgeadError) == folder
    folder.chmod(0o755)
    private_folder(folder, error=EdgeadError)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(EdgeadError, match="others may write here"):
        private_folder(folder, error=EdgeadError)
    assert folder.stat().st_mode & 0o777 == mode


def test_a_link_is_no_private_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(EdgeadError, match="a link"):
        private_folder(tmp_path / "link", error=EdgeadError)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_another_user_s_folder_and_file_are_not_used(tmp_path: Path) -> None:
    folder, file = tmp_path / "a", tmp_path / "f"
    folder.mkdir()
    file.touch()
    for path in (folder, file):
        os.chown(path, 12345, 12345)
    with pytest.raises(EdgeadError, match="another user's"):
        private_folder(folder, error=EdgeadError)
    with file.open("rb") as opened:
        assert not is_private(opened.fileno())


@pytest.mark.parametrize(("mode", "expected"), [(0o600, True), (0o644, True), (0o664, False), (0o606, False)])
def test_a_file_that_others_may_write_is_not_private(tmp_path: Path, mode: int, expected: bool) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(mode)
    with (tmp_path / "f").open("rb") as opened:
        assert is_private(opened.fileno()) is expected
