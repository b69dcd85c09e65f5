"""Addresses of cameras: what is right is opened, what is wrong is answered with what was probably meant."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.cameras import CAMERA_KINDS, is_address, open_camera
from edgead.cameras.addresses import without_password
from edgead.errors import CameraError, DataError, EdgeadError, UnknownNameError, UsageError


@pytest.mark.parametrize("name", sorted(CAMERA_KINDS))
def test_every_example_parses(name: str):
    missing = CAMERA_KINDS[name].missing()
    if missing or name == "video":  # of the latter, the file
        with pytest.raises(CameraError, match=r"pip install|apt-get|no such file"):
            open_camera(CAMERA_KINDS[name].example)
    else:
        assert open_camera(CAMERA_KINDS[name].example).statistics.received == 0


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("gigge://10.0.0.1", "Did you mean gige"),
        ("rstp://10.0.0.1/a", "Did you mean rtsp"),
        ("gige://?heigth=3", "Did you mean height"),
        ("replay:x?fps=fast", "fps is 'fast', but expected a number"),
        ("replay:x?fps=nan", "expected a number"),
        ("replay:x?fps=0", "from 0.001"),
        ("replay:x?drop=1.5", "from 0 to 1"),
        ("replay:x?queue=0", "queue is '0', but expected a whole number from 1"),
        ("gige://?pixel_format=Mono9", "Did you mean Mono"),
        ("rtsp://me:secret@10.0.0.1/a?channel=1#timout=1", "Did you mean timeout"),
        ("csi:front", "number of a sensor|GStreamer"),
        ("0", "expected the address of a camera"),
        ("", "expected the address of a camera"),
    ],
)
def test_slips_of_the_pen(address: str, words: str):
    with pytest.raises(EdgeadError, match=words) as caught:
        open_camera(address)
    assert "secret" not in str(caught.value)


def test_passwords_are_not_told():
    assert without_password("rtsp://me:secret@10.0.0.1/a:b") == "rtsp://me:***@10.0.0.1/a:b"
    assert open_camera("rtsp://me:secret@10.0.0.1/a").name == "rtsp://me:***@10.0.0.1/a"


SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="&;#\"'*"), min_size=3, max_size=12
)


@given(SECRETS.map("q7{}7q".format))
def test_no_password_is_told_wherever_it_stands(secret: str):
    for address in (
        f"rtsp://me:{secret}@10.0.0.1/a",
        f"rtsp://:{secret}@10.0.0.1/a?channel=1",
        f"http://10.0.0.1/video?user=me&password={secret}&size=2",
        f"http://10.0.0.1/video?pwd={secret}",
        f"http://10.0.0.1/video?access_token={secret}#timeout=2",
        f"gst:rtspsrc location=rtsp://me:{secret}@h/a ! decodebin",
        f"gst:rtspsrc location=rtsp://h/a user-id=me user-pw={secret} ! decodebin",
        f'gst:rtspsrc user-pw = "{secret} {secret}" ! decodebin',
    ):
        assert secret not in without_password(address)
        assert secret not in without_password(f"{address}: could not be opened.")


def test_what_is_no_password_is_told():
    for address in (
        "gige://192.168.1.20?exposure=200",
        "folder:passed/parts",
        "rtsp://10.0.0.1/a?key_frames=1",
    ):
        assert without_password(address) == address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gige://", True),
        ("v4l2:0", True),
        ("folder:x", True),
        ("unknown://x", True),
        ("photo.png", False),
        ("a:b.png", False),
        ("C:\\parts\\a.png", False),
        ("/tmp/x", False),
        ("", False),
    ],
)
def test_addresses_are_told_from_files(text: str, expected: bool):
    assert is_address(text) is expected


def test_a_file_that_looks_like_an_address_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("folder:x").write_text("")
    assert not is_address("folder:x")


def test_what_is_not_installed_comes_with_its_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(CameraError, match=r"apt-get install gir1\.2-aravis.*pip install '\.\[gige\]'"):
        open_camera("gige://10.0.0.1")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("v4l2:97", r"cannot be opened\. Devices here: "),
        ("v4l2:/dev/null", "cannot be opened"),
        ("http://127.0.0.1:9/none", "Does the camera answer"),
        ("video:none.mp4", "no such file"),
        ("gentl:none.cti", "no such file|pip install"),
    ],
)
def test_cameras_that_are_not_there(address: str, words: str):
    with pytest.raises(CameraError, match=words):
        open_camera(address).open()


def test_a_folder_without_images(tmp_path: Path):
    for kind in ("folder", "replay"):
        with pytest.raises(DataError, match="expected images"):
            open_camera(f"{kind}:{tmp_path}").read()


def test_a_film_that_is_none(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"no film" * 100)
    with pytest.raises(CameraError, match="no film that OpenCV can decode"):
        open_camera(f"video:{tmp_path / 'a.mp4'}").read()


@given(st.text(max_size=40))
def test_any_text_is_opened_or_refused(text: str):
    with contextlib.suppress(UsageError, UnknownNameError, CameraError):
        open_camera(text)
    is_address(text.replace("\0", ""))
