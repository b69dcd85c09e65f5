"""Reading, resizing and writing pictures, good input first, then every kind of bad file."""

from __future__ import annotations

import contextlib
import errno
import struct
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgead.datasets.masks import read_mask
from edgead.errors import DataError, UnknownNameError, UsageError
from edgead.images import decode_image, read_image, resize_image, write_image


def _noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def _file(path: Path, stored_bgr: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), stored_bgr)
    return path


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".TIFF"])
def test_lossless_formats_come_back_as_written(tmp_path: Path, suffix: str) -> None:
    image = _noise(13, 17)
    write_image(tmp_path / f"a{suffix}", image)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), image)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_lossy_formats_come_back_alike(tmp_path: Path, suffix: str) -> None:
    image = np.full((24, 31, 3), (200, 90, 30), np.uint8)
    write_image(tmp_path / f"a{suffix}", image)
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - image).max() < 8


@pytest.mark.parametrize("shape", [(1, 1), (20, 20_000), (20_000, 20)], ids=str)
def test_extreme_shapes_are_read_and_resized(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = read_image(_file(tmp_path / "a.png", _noise(*shape)))
    assert image.shape == (*shape, 3)
    assert resize_image(image, 64, 64).shape == (64, 64, 3)


def test_grey_is_repeated(tmp_path: Path) -> None:
    grey = _noise(5, 6, 1)
    np.testing.assert_array_equal(read_image(_file(tmp_path / "a.png", grey)), np.stack([grey] * 3, axis=-1))


def test_alpha_is_dropped_and_colours_kept(tmp_path: Path) -> None:
    stored = _noise(5, 6, 4)
    np.testing.assert_array_equal(read_image(_file(tmp_path / "a.png", stored)), stored[..., 2::-1])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_scaled_by_full_range(tmp_path: Path, suffix: str) -> None:
    stored = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    image = read_image(_file(tmp_path / f"a{suffix}", stored))
    assert image.dtype == np.uint8
    assert image[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]


def test_content_decides_the_format_not_the_name(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.png", _noise(4, 4)).rename(tmp_path / "a.jpg")
    assert read_image(path).shape == (4, 4, 3)


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    jpeg = _file(tmp_path / "a.jpg", _noise(8, 30)).read_bytes()
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert decode_image(turned).shape == (8, 30, 3)


def test_bytes_after_a_jpeg_end_marker_do_no_harm(tmp_path: Path) -> None:
    jpeg = _file(tmp_path / "a.jpg", _noise(8, 8)).read_bytes()
    assert decode_image(jpeg + b"camera notes").shape == (8, 8, 3)


def test_progressive_jpeg_is_read() -> None:
    done, encoded = cv2.imencode(".jpg", _noise(40, 50), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert done
    assert decode_image(encoded.tobytes()).shape == (40, 50, 3)


def test_the_end_marker_of_a_thumbnail_does_not_hide_a_truncation(tmp_path: Path) -> None:
    jpeg = _file(tmp_path / "a.jpg", _noise(64, 64)).read_bytes()
    thumbnail = b"Exif\0\0" + _file(tmp_path / "b.jpg", _noise(4, 4)).read_bytes()
    nested = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]
    assert decode_image(nested).shape == (64, 64, 3)
    with pytest.raises(DataError, match="truncated"):
        decode_image(nested[:-100])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9, 0.999])
def test_truncated_files_are_errors(tmp_path: Path, suffix: str, kept: float) -> None:
    path = _file(tmp_path / f"part{suffix}", _noise(60, 70))
    data = path.read_bytes()
    path.write_bytes(data[: min(int(len(data) * kept), len(data) - 1)])
    with pytest.raises(DataError, match=f"part{suffix}"):
        read_image(path)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([".png", ".jpg", ".bmp", ".tif", ".webp"]), st.data())
def test_damaged_bytes_never_escape_as_another_error(suffix: str, data: st.DataObject) -> None:
    original = bytearray(cv2.imencode(suffix, _noise(12, 9))[1].tobytes())
    at = data.draw(st.integers(0, len(original) - 1))
    original[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(original)))
    for damaged in (bytes(original), bytes(original[:cut])):
        with contextlib.suppress(DataError):
            assert decode_image(damaged).dtype == np.uint8


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0+"]),
    st.binary(max_size=80),
)
@example(b"MM\0+", b"\0\0\0\0\x80" + b"\0" * 7)  # an offset beyond what a machine can address
def test_noise_behind_a_signature_is_a_data_error(signature: bytes, noise: bytes) -> None:
    with pytest.raises(DataError):
        decode_image(signature + noise)


def _png_claiming(width: int, height: int) -> bytes:
    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", pixels) + block(b"IEND", b"")


BAD_FILES = {
    "empty": (b"", "is empty"),
    "text": (b"this is not an image at all", "not PNG, JPEG"),
    "decompression bomb": (_png_claiming(60_000, 60_000), "200 million"),
    "zero width": (_png_claiming(0, 10), "0 x 10"),
    "wrong checksum": (_png_claiming(5, 5)[:-1] + b"\0", "checksum"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named_with_the_reason(tmp_path: Path, case: str) -> None:
    data, reason = BAD_FILES[case]
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_missing_file_folder_and_float_pixels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(DataError, match="float32"):
        read_image(_file(tmp_path / "a.tif", np.zeros((4, 4), np.float32)))


MASKS = {
    "0 and 255": (np.uint8([[0, 255, 127, 128]]), [False, True, False, True]),
    "0 and 1": (np.uint8([[0, 1, 0, 1]]), [False, True, False, True]),
    "empty": (np.uint8([[0, 0, 0, 0]]), [False] * 4),
    "16 bits": (np.uint16([[0, 65535, 32767, 32768]]), [False, True, False, True]),
    "16 bits of 0 and 1": (np.uint16([[0, 1, 0, 1]]), [False, True, False, True]),
    "one colour": (np.uint8([[[0, 0, 0], [0, 0, 255], [255, 0, 0], [9, 9, 9]]]), [False, True, True, False]),
    "opaque alpha": (
        np.uint8([[[0, 0, 0, 255], [255, 255, 255, 255], [0, 0, 0, 255], [0, 0, 0, 0]]]),
        [0, 1, 0, 0],
    ),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks(tmp_path: Path, case: str) -> None:
    stored, expected = MASKS[case]
    mask = read_mask(_file(tmp_path / "m.png", stored), (1, 4))
    assert mask.dtype == np.bool_
    assert mask[0].tolist() == expected


def test_mask_of_another_size_and_of_class_numbers(tmp_path: Path) -> None:
    path = _file(tmp_path / "m.png", np.uint8([[0, 3, 2, 1]]))
    with pytest.raises(DataError, match="7 x 5"):
        read_mask(path, (5, 7))
    with pytest.raises(DataError, match="highest value is 3"):
        read_mask(path, (1, 4))


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 40) for _ in range(4)], st.integers(0, 255))
def test_resize_keeps_flat_pictures_flat(h: int, w: int, height: int, width: int, level: int) -> None:
    resized = resize_image(np.full((h, w, 3), level, np.uint8), height, width)
    assert resized.shape == (height, width, 3)
    assert np.abs(resized.astype(int) - level).max() <= 1


def test_resize_at_the_right_size_returns_the_input_itself() -> None:
    image = _noise(8, 9)
    assert resize_image(image, 8, 9) is image
    assert resize_image(image[:, ::-1], 8, 9).flags.c_contiguous


def test_thin_lines_survive_shrinking_along_one_side() -> None:
    image = np.zeros((4000, 10, 3), np.uint8)
    image[2001] = 255  # one row of 4000: sampling every 40th row bilinearly would miss it
    assert resize_image(image, 100, 40).max() > 0


def test_resize_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(UnknownNameError, match="stretch-area"):
        resize_image(_noise(4, 4), 2, 2, rule="stretch-aera")
    for bad in (
        _noise(4, 4, 1),
        _noise(4, 4, 4),
        _noise(4, 4).astype(np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ):
        with pytest.raises(UsageError, match="uint8"):
            resize_image(bad, 2, 2)
    with pytest.raises(UsageError, match="1 x 1"):
        resize_image(_noise(4, 4), 0, 2)


def test_write_refuses_unknown_suffix_and_array(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"\.png"):
        write_image(tmp_path / "a.pgn", _noise(4, 4))
    with pytest.raises(UsageError, match="float64"):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 3)))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_picture_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, path = _noise(4, 4), tmp_path / "a.png"
    write_image(path, old)
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        write_image(path, _noise(6, 6))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_write_into_a_missing_folder_says_so() -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(DataError, match="cannot be written"):
        write_image(Path(folder) / "none" / "a.png", _noise(4, 4))
