"""Addresses of cameras: `kind:where?setting=value`, each kind with its settings and what it needs."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from edgead.cameras.base import Driver
from edgead.cameras.camera import Camera, CameraSettings
from edgead.errors import CameraError, UnknownNameError, UsageError
from edgead.installation import how_to_install
from edgead.plugins import entries, load

Number = Callable[[str], Any]
GROUP = "edgead.cameras"  # of entry points; each names a CameraKind
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?://)?([^?]*)(?:\?(.*))?", re.DOTALL)


@dataclass(frozen=True)
class CameraKind:
    """A kind of address: an example, its own settings, how a driver is made, what it needs.

    `make` takes what is between the kind and the "?" and the settings. `missing` says what is not installed
    and how to get it, or nothing.
    """

    example: str
    settings: Mapping[str, Number]
    make: Callable[..., Driver]
    missing: Callable[[], str]


def is_address(text: str) -> bool:
    """Whether an argument names a camera rather than a file: a kind and a colon, and no such file.

    A kind that nobody knows counts where "//" follows it or where it resembles a known one, so that a slip of
    the pen is answered as one.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or Path(text).exists():
        return False
    kind = match[1].lower()
    near = difflib.get_close_matches(kind, CAMERA_KINDS, n=1, cutoff=0.6)
    return kind in camera_kinds() or text[len(kind) + 1 :].startswith("//") or bool(near)


def open_camera(address: str, *, on_event: Callable[[str], None] | None = None) -> Camera:
    """The camera at an address, connected by entering it, or by its first read.

    Raises UsageError for an address that cannot be meant, with near matches; CameraError when its software
    is not installed.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError(
            f"'{address}': expected the address of a camera, such as {CAMERA_KINDS['gige'].example}. Kinds: "
            f"{', '.join(CAMERA_KINDS)}."
        )
    name = match[1].lower()
    kind = _kind(name)
    where, query = match[2], match[3]
    if name in _STREAMS:  # the query is the server's; ours comes after a "#"
        where, _, query = address.partition("#")
    reading, own = _settings(address, kind, query or "")
    if missing := kind.missing():
        raise CameraError(f"{without_password(address)}: {missing}")
    driver = kind.make(where, **own)
    return Camera(
        driver, name=without_password(address), settings=CameraSettings(**reading), on_event=on_event
    )


def camera_kinds() -> list[str]:
    """The names of all kinds of cameras, those of plugins included."""
    return [*CAMERA_KINDS, *entries(GROUP, built_in=CAMERA_KINDS)]


def _kind(name: str) -> CameraKind:
    if name in CAMERA_KINDS:
        return CAMERA_KINDS[name]
    plugins = entries(GROUP, built_in=CAMERA_KINDS)
    if name not in plugins:
        raise UnknownNameError("kind of camera", name, [*CAMERA_KINDS, *plugins])
    return load(plugins[name], CameraKind)


_USER_AND_PASSWORD = re.compile(r"(//[^/@:\s]*):\S*@")
_SECRET_SETTING = re.compile(
    r"((?<![\w-])[\w-]*(?:pass|pwd|user-pw|-pw|secret|token|api_?key)[\w-]*\s*=\s*)"
    r"(?:\"[^\"]*\"|'[^']*'|[^&;#\s]+)",
    re.IGNORECASE,
)


def without_password(address: str) -> str:
    """The address, or a message with one, as it may be shown and logged.

    A password may hold "/" and "@" as people write them: all up to the last "@" of the word is taken for it,
    rather too much than too little. So are values of settings by their names, as in user-pw= of GStreamer.
    """
    return _SECRET_SETTING.sub(r"\1***", _USER_AND_PASSWORD.sub(r"\1:***@", address))


def _settings(address: str, kind: CameraKind, query: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of reading, and the kind's own; raises for unknown names and values."""
    reading: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key in kind.settings:
            own[key] = _value(address, key, text, kind.settings[key])
        elif key in _READING:
            field, parse = _READING[key]
            reading[field] = _value(address, key, text, parse)
        else:
            raise UnknownNameError(
                f"setting in {without_password(address)}:", key, [*kind.settings, *_READING]
            )
    return reading, own


def _value(address: str, key: str, text: str, parse: Number) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{without_password(address)}: {key} is '{text}', but {error}.") from None


def _whole(least: int) -> Number:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ValueError(f"expected a whole number from {least}")
        return int(text)

    return parse


def _number(least: float, most: float = 1e9) -> Number:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise ValueError(f"expected a number from {least:g} to {most:g}")
        return value

    return parse


def _text(text: str) -> str:
    if not text:
        raise ValueError("expected a value")
    return text


def _pixel_format(text: str) -> str:
    from edgead.cameras.pixel_formats import find_format

    find_format(text)
    return text


def _nothing() -> str:
    return ""


def _no_gstreamer() -> str:
    import cv2

    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        return ""
    return (
        f"this OpenCV ({cv2.__version__}) is built without GStreamer. Use the system's (Debian, Ubuntu, "
        "JetPack: apt-get install python3-opencv, and an environment made with --system-site-packages)."
    )


def _no_aravis() -> str:
    from edgead.cameras.gige import load_aravis

    try:
        load_aravis()
    except CameraError as error:
        return str(error)
    return ""


def _no_harvesters() -> str:
    if importlib.util.find_spec("harvesters"):
        return ""
    return f"GenTL needs harvesters. Install it with: {how_to_install('gentl')}"


def _folder(where: str) -> Driver:
    from edgead.cameras.folder import FolderDriver

    return FolderDriver(where)


def _replay(where: str, **settings: Any) -> Driver:
    from edgead.cameras.folder import ReplayDriver

    return ReplayDriver(where, **settings)


def _gige(where: str, **settings: Any) -> Driver:
    from edgead.cameras.gige import GigeDriver

    return GigeDriver(where.strip("/"), **settings)


def _gentl(where: str, **settings: Any) -> Driver:
    from edgead.cameras.gentl import GenTlDriver

    return GenTlDriver(where, **settings)


def _opencv(where: str | int, *, label: str, backend: str, advice: str, **settings: Any) -> Driver:
    import cv2

    from edgead.cameras.opencv import OpenCvDriver

    return OpenCvDriver(where, backend=getattr(cv2, backend), label=label, advice=advice, **settings)


def _v4l2(where: str, **settings: Any) -> Driver:
    source: str | int = int(where) if where.isdecimal() else where
    present = ", ".join(str(path) for path in sorted(Path("/dev").glob("video*"))) or "none"
    advice = f"Devices here: {present}. May this user read it (group video)? Does another program hold it?"
    return _opencv(source, label=f"v4l2:{where}", backend="CAP_V4L2", advice=advice, **settings)


def _stream(where: str) -> Driver:
    advice = "Does the camera answer (ping), and are address, user and password right?"
    return _opencv(where, label=without_password(where), backend="CAP_FFMPEG", advice=advice)


def _video(where: str) -> Driver:
    if not Path(where).is_file():
        raise CameraError(f"video:{where}: no such file. Check the path.")
    advice = "It is no film that OpenCV can decode; convert it to MP4 (H.264) or AVI (MJPEG)."
    return _opencv(where, label=f"video:{where}", backend="CAP_FFMPEG", advice=advice, is_film=True)


def _gst(where: str) -> Driver:
    advice = "Try the pipeline with gst-launch-1.0; it must end in an appsink that takes BGR."
    return _opencv(where, label="gst", backend="CAP_GSTREAMER", advice=advice)


def _csi(where: str, *, width: int = 1920, height: int = 1080, fps: int = 30) -> Driver:
    from edgead.cameras.opencv import csi_pipeline

    if not where.isdecimal():
        raise UsageError(f"csi:{where}: expected the number of a sensor, as in csi:0.")
    pipeline = csi_pipeline(int(where), width=width, height=height, fps=fps)
    advice = "Does nvarguscamerasrc see the sensor, and in this mode (v4l2-ctl --list-formats-ext)?"
    return _opencv(pipeline, label=f"csi:{where}", backend="CAP_GSTREAMER", advice=advice)


_STREAMS = ("rtsp", "rtsps", "http", "https")
_READING: dict[str, tuple[str, Number]] = {  # the same for every kind; what each means is in CameraSettings
    "queue": ("queue", _whole(1)),
    "timeout": ("timeout_s", _number(0, 1e6)),
    "stalls": ("stalls", _whole(1)),
    "give_up": ("give_up_s", _number(0)),
}
_SIZE: dict[str, Number] = {"width": _whole(1), "height": _whole(1), "fps": _number(0.001, 1e6)}

CAMERA_KINDS = {
    "folder": CameraKind("folder:parts/new", {}, _folder, _nothing),
    "video": CameraKind("video:recording.mp4", {}, _video, _nothing),
    "replay": CameraKind(
        "replay:parts/new?fps=30",
        {
            "fps": _number(0.001, 1e6),
            "jitter_ms": _number(0),
            "drop": _number(0, 1),
            "stall": _number(0, 1),
            "stall_s": _number(0),
            "seed": _whole(0),
            "times": _whole(0),
        },
        _replay,
        _nothing,
    ),
    "v4l2": CameraKind("v4l2:0", _SIZE, _v4l2, _nothing),
    "gst": CameraKind("gst:videotestsrc ! videoconvert ! appsink", {}, _gst, _no_gstreamer),
    "csi": CameraKind("csi:0", {**_SIZE, "fps": _whole(1)}, _csi, _no_gstreamer),
    "gige": CameraKind(
        "gige://192.168.1.20",
        {
            **_SIZE,
            "exposure_us": _number(0),
            "gain": _number(0),
            "pixel_format": _pixel_format,
            "packet_size": _whole(64),
        },
        _gige,
        _no_aravis,
    ),
    "gentl": CameraKind(
        "gentl:/opt/vendor/producer.cti?device=SERIAL", {"device": _text}, _gentl, _no_harvesters
    ),
    **{name: CameraKind(f"{name}://192.168.1.20/stream", {}, _stream, _nothing) for name in _STREAMS},
}
