"""Downloads from a server on this machine that breaks off, forgets and changes; archives that are hostile."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgead.cli import main
from edgead.datasets import catalogue
from edgead.datasets.download import download, unpack
from edgead.errors import DataError, UsageError
from tests.datasets import tiny_layouts as tiny

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves one file; `break_after` ends each answer after so many bytes."""

    content, tag, break_after, ranges, status = CONTENT, '"one"', 0, True, 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/set.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range", "")
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        if asked and server.ranges and self.headers.get("If-Range") == server.tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.end_headers()
                return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(body[: server.break_after or None])

    def log_message(self, *arguments: object) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, server: Server) -> None:
    server.break_after = 400_000
    shares: list[int] = []
    done = download(
        server.url,
        tmp_path / "set.zip",
        sha256=sha(CONTENT),
        on_progress=lambda have, total: shares.append(have),
    )
    assert done.path.read_bytes() == CONTENT
    assert done.is_pinned
    assert server.asked == ["", "bytes=400000-", "bytes=800000-"]
    assert shares == sorted(shares)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.zip", "set.zip.json"]


def test_what_an_earlier_command_left_is_used(tmp_path: Path, server: Server) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT[:1000])
    (tmp_path / "set.zip.part.tag").write_text('"one"')
    download(server.url, tmp_path / "set.zip", sha256=sha(CONTENT))
    assert server.asked == ["bytes=1000-"]
    (tmp_path / "b.zip.part").write_bytes(CONTENT)  # complete, but never renamed
    (tmp_path / "b.zip.part.tag").write_text('"one"')
    assert download(server.url, tmp_path / "b.zip", sha256=sha(CONTENT)).size == len(CONTENT)


@pytest.mark.parametrize("how", ["changed", "no ranges", "no tag"])
def test_a_file_that_cannot_be_continued_is_fetched_from_its_beginning(
    tmp_path: Path, server: Server, how: str
) -> None:
    (tmp_path / "set.zip.part").write_bytes(b"of an older file")
    (tmp_path / "set.zip.part.tag").write_text('"zero"' if how == "changed" else '"one"')
    server.ranges = how != "no ranges"
    if how == "no tag":
        (tmp_path / "set.zip.part.tag").unlink()
    assert download(server.url, tmp_path / "set.zip").path.read_bytes() == CONTENT


def test_another_hash_leaves_no_file(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DataError, match=r"sha256 [0-9a-f]{64}, and 00.* is pinned"):
        download(server.url, tmp_path / "set.zip", sha256="00" * 32)
    assert not (tmp_path / "set.zip").exists()
    assert download(server.url, tmp_path / "m.zip", md5=hashlib.md5(CONTENT).hexdigest()).is_pinned


def test_without_a_known_hash_the_first_is_recorded_and_holds(tmp_path: Path, server: Server) -> None:
    done = download(server.url, tmp_path / "set.zip")
    assert not done.is_pinned
    assert json.loads((tmp_path / "set.zip.json").read_text())["sha256"] == sha(CONTENT)
    assert download(server.url, tmp_path / "set.zip").sha256 == sha(CONTENT)
    assert len(server.asked) == 1  # what is there is not fetched again
    (tmp_path / "set.zip").unlink()
    server.content, server.tag = CONTENT[::-1], '"two"'
    with pytest.raises(DataError, match="recorded when it was first downloaded"):
        download(server.url, tmp_path / "set.zip")


def test_servers_that_refuse_and_addresses_that_are_none(tmp_path: Path, server: Server) -> None:
    server.status = 404
    with pytest.raises(DataError, match="answers 404 Not Found"):
        download(server.url, tmp_path / "set.zip")
    assert len(server.asked) == 1
    with pytest.raises(UsageError, match="http"):
        download("file:///etc/passwd", tmp_path / "set.zip")


def test_a_server_that_is_gone_says_how_to_go_on(tmp_path: Path, server: Server) -> None:
    server.break_after = 7
    server.ranges = False
    with pytest.raises(DataError, match="the same command goes on"):
        download(server.url, tmp_path / "set.zip")
    assert not (tmp_path / "set.zip").exists()


def _zip(path: Path, *entries: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def _tar(path: Path, name: str, *, link: str = "") -> Path:
    with tarfile.open(path, "w:xz") as archive:
        member = tarfile.TarInfo(name)
        member.size = 0 if link else 3
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        archive.addfile(member, None if link else io.BytesIO(b"abc"))
    return path


def test_archives_are_unpacked_whole(tmp_path: Path) -> None:
    unpack(_zip(tmp_path / "a.zip", ("set/a.png", b"x")), tmp_path / "zip")
    unpack(_tar(tmp_path / "a.tar.xz", "set/a.png"), tmp_path / "tar")
    assert (tmp_path / "zip/set/a.png").read_bytes() == b"x"
    assert (tmp_path / "tar/set/a.png").read_bytes() == b"abc"
    with pytest.raises(UsageError, match="not empty"):
        unpack(tmp_path / "a.zip", tmp_path / "zip")


HOSTILE = {
    "zip climbs": lambda p: _zip(p / "a.zip", ("ok", b"1"), ("../evil", b"x")),
    "zip absolute": lambda p: _zip(p / "a.zip", ("/evil", b"x")),
    "zip backslash": lambda p: _zip(p / "a.zip", ("..\\evil", b"x")),
    "tar climbs": lambda p: _tar(p / "a.tar", "../evil"),
    "tar link": lambda p: _tar(p / "a.tar", "link", link="/etc/passwd"),
    "no archive": lambda p: tiny.text(p / "a.tar", "<html>Please log in</html>"),
    "empty": lambda p: tiny.text(p / "a.tar", ""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_archives_that_are_not_to_be_trusted_leave_nothing(tmp_path: Path, case: str) -> None:
    (tmp_path / "in").mkdir()
    archive = HOSTILE[case](tmp_path / "in")
    with pytest.raises(DataError, match=r"a\.(zip|tar)"):
        unpack(archive, tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_the_command_downloads_unpacks_and_checks(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.visa(tmp_path / "VisA")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(tmp_path / "VisA", "VisA")
    server.content = archive.getvalue()
    entry = catalogue.published_dataset("visa")
    fields = {
        "url": server.url,
        "sha256": sha(server.content),
        "counts": {"candle": (2, 1, 1)},
        "archive": "v.tar",
    }
    small = catalogue.Published(**{**vars(entry), **fields})
    monkeypatch.setattr(catalogue, "published_datasets", lambda: {"visa": small})
    command = ["datasets", "download", "visa", "--to", str(tmp_path / "data")]
    for _ in range(2):  # again changes nothing
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        assert "as pinned" in result.output
        assert "1 product(s), 4 images, as published" in result.output
    assert len(server.asked) == 1
