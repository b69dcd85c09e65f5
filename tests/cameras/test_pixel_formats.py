"""Pixel formats: packing undone against a bit-by-bit reader, and Aravis' own numbers of the formats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.cameras.pixel_formats import PIXEL_FORMATS, find_format, image_from_bytes
from edgead.errors import CameraError, UnknownNameError

_NAMES = {"Mono10Packed": "MONO_10_PACKED", "Mono12Packed": "MONO_12_PACKED", "RGB8": "RGB_8_PACKED",
          "BGR8": "BGR_8_PACKED", "Mono10p": None, "Mono12p": None}  # fmt: skip


def pack_p(values: list[int], bits: int) -> bytes:
    """One pixel after the other, the lowest bit first, as PFNC draws it."""
    stream = sum(value << (bits * number) for number, value in enumerate(values))
    return stream.to_bytes(-(-len(values) * bits // 8), "little")


def pack_gige(values: list[int], bits: int) -> bytes:
    """Two pixels in three bytes: high bits, both rests, high bits, as GigE Vision draws it."""
    rest = bits - 8
    low = (1 << rest) - 1
    packed = bytearray()
    for first, second in zip(values[::2], [*values[1::2], 0], strict=False):
        packed += bytes([first >> rest, (first & low) | (second & low) << 4, second >> rest])
    return bytes(packed)


def expected(values: list[int], bits: int) -> list[int]:
    return [int(value * 255 / ((1 << bits) - 1) + 0.5) for value in values]


@pytest.mark.parametrize(
    "name", ["Mono10p", "Mono12p", "Mono10Packed", "Mono12Packed", "Mono10", "Mono12", "Mono16"]
)
@given(data=st.data())
def test_more_than_eight_bits(name: str, data: st.DataObject):
    bits = int(name.removeprefix("Mono").rstrip("packedP"))
    height, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    values = data.draw(
        st.lists(st.integers(0, 2**bits - 1), min_size=height * width, max_size=height * width)
    )
    if name.endswith("p"):
        packed = pack_p(values, bits)
    elif name.endswith("Packed"):
        packed = pack_gige(values, bits)
    else:
        packed = np.array(values, "<u2").tobytes()
    image = image_from_bytes(packed, height, width, name)
    assert (image.dtype, image.shape) == (np.uint8, (height, width))
    assert image.ravel().tolist() == expected(values, bits)


@pytest.mark.parametrize(
    ("name", "at"), [("BayerRG8", (0, 0)), ("BayerGR8", (0, 1)), ("BayerGB8", (1, 0)), ("BayerBG8", (1, 1))]
)
def test_bayer_patterns_name_the_place_of_red(name: str, at: tuple[int, int]):
    """A camera with only its red pixels lit shows red."""
    mosaic = np.zeros((16, 16), np.uint8)
    mosaic[at[0] :: 2, at[1] :: 2] = 200
    red, green, blue = image_from_bytes(mosaic.tobytes(), 16, 16, name)[4:12, 4:12].mean(axis=(0, 1))
    assert red > 150
    assert (green, blue) == (0, 0)


def test_colours():
    pixel = bytes([1, 2, 3])
    assert image_from_bytes(pixel, 1, 1, "RGB8").tolist() == [[[1, 2, 3]]]
    assert image_from_bytes(pixel, 1, 1, "BGR8").tolist() == [[[3, 2, 1]]]


def test_what_is_returned_is_the_callers_own():
    data = bytearray(4)
    image = image_from_bytes(memoryview(data), 2, 2, "Mono8")
    data[0] = 9
    assert image[0, 0] == 0


def test_unknown_formats_are_refused_by_name():
    with pytest.raises(CameraError, match=r"0x02100032.* Set it to one of .*Mono12Packed"):
        find_format(0x02100032)  # YUV422
    with pytest.raises(UnknownNameError, match="Did you mean Mono12"):
        find_format("Mono12Paked")


@pytest.mark.parametrize(
    ("height", "width", "length"), [(4, 4, 23), (0, 4, 24), (4, -1, 24), (10**6, 10**6, 24)]
)
def test_bytes_that_do_not_fit(height: int, width: int, length: int):
    with pytest.raises(CameraError, match="Set width, height and pixel format"):
        image_from_bytes(bytes(length), height, width, "Mono12p")


def test_the_numbers_are_those_of_aravis():
    gi = pytest.importorskip("gi", reason="PyGObject is not installed")
    try:
        gi.require_version("Aravis", "0.8")
    except ValueError:
        pytest.skip("gir1.2-aravis-0.8 is not installed")
    from gi.repository import Aravis

    for layout in PIXEL_FORMATS.values():
        head = layout.name.rstrip("0123456789p")
        name = _NAMES.get(layout.name, layout.name)
        if name == layout.name:
            digits = layout.name.removeprefix(head)
            name = (
                f"{head[:5].upper()}_{head[5:]}_{digits}"
                if head.startswith("Bayer")
                else f"{head.upper()}_{digits}"
            )
        if name and hasattr(Aravis, f"PIXEL_FORMAT_{name}"):
            number = getattr(Aravis, f"PIXEL_FORMAT_{name}") & 0xFFFFFFFF
            assert number == layout.number, layout.name
