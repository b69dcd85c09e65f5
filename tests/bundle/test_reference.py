"""The reference answers: read without unpickling, and only as what they must be."""

from __future__ import annotations

import dataclasses
import io
import pickle
from typing import Any

import numpy as np
import pytest

from edgead.bundle.archive import decode_archive, encode_archive
from edgead.bundle.reference import Reference, map_difference, npz_from_reference, reference_from_npz
from edgead.errors import BundleError
from tests.runtime.tiny_bundle import tiny_reference


def altered(**members: bytes) -> bytes:
    files: dict[str, Any] = dict(decode_archive(npz_from_reference(tiny_reference()), origin="r"))
    files |= {f"{name}.npy": content for name, content in members.items()}
    return b"".join(encode_archive(files, origin="r"))


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


class Bomb:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return pytest.fail, ("unpickled",)


def test_numpy_reads_it():
    reference = tiny_reference()
    with np.load(io.BytesIO(npz_from_reference(reference)), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["inputs"], reference.inputs)
        assert float(arrays["map_tolerance"]) == reference.map_tolerance


def test_round_trip():
    reference = tiny_reference()
    again = reference_from_npz(npz_from_reference(reference), origin="r")
    for field in dataclasses.fields(Reference):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(reference, field.name))


HEADER = npy(np.zeros((2, 2), np.uint8))[:-4]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(altered(extra=b""), "expected .*found .*extra.npy", id="a member too many"),
        pytest.param(altered(inputs=b"junk"), "not an .npy array", id="not npy"),
        pytest.param(altered(inputs=b""), "not an .npy array", id="empty member"),
        pytest.param(
            altered(inputs=npy(np.array([Bomb()], object), allow_pickle=True)),
            "not an .npy array",
            id="objects",
        ),
        pytest.param(altered(inputs=pickle.dumps(Bomb())), "not an .npy array", id="pickle"),
        pytest.param(
            altered(inputs=HEADER.replace(b"(2, 2)", b"(9**9,)")), "not an .npy", id="formula as shape"
        ),
        pytest.param(
            altered(inputs=HEADER.replace(b"(2, 2), ", b"(9999,),")),
            "does not fit its 0 bytes|not an .npy",
            id="huge shape",
        ),
        pytest.param(
            altered(inputs=HEADER.replace(b"(2, 2), ", b"(-1,-1),")),
            "does not fit|not an",
            id="negative shape",
        ),
        pytest.param(altered(map_tolerance=npy(np.zeros(2))), "expected one float64", id="two tolerances"),
        pytest.param(altered(scores=npy(np.zeros(2))), "scores: expected float32", id="float64 scores"),
    ],
)
def test_what_is_refused(data: bytes, message: str):
    with pytest.raises(BundleError, match=message):
        reference_from_npz(data, origin="r")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.array([np.nan, 0], np.float32)}, "NaN"),
        ({"scores": np.zeros(3, np.float32)}, "3 scores"),
        ({"inputs": np.zeros((2, 32, 32, 4), np.uint8)}, "4 channels"),
        ({"inputs": np.zeros((0, 32, 32, 3), np.uint8)}, "inputs: expected"),
        ({"map_tolerance": float("nan")}, "map_tolerance"),
        ({"score_tolerance": -1.0}, "score_tolerance"),
    ],
)
def test_unusable_answers_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(BundleError, match=message):
        dataclasses.replace(tiny_reference(), **changes)


def test_the_difference_of_maps_is_that_of_the_worst_as_a_whole():
    expected = np.zeros((2, 10, 10), np.float32)
    one_cell, everywhere = expected.copy(), expected.copy()
    one_cell[1, 3, 4] = 1.0
    everywhere[0] += 0.5
    assert map_difference(one_cell, expected) == pytest.approx(0.1)
    assert map_difference(everywhere, expected) == pytest.approx(0.5)
    one_cell[1, 3, 4] = np.nan
    assert not map_difference(one_cell, expected) <= 1e9
