"""Sets: what is written is read, what was changed is refused, and anomalies are made of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError, UsageError
from edgead.images import write_image
from edgead.synthesis import Synthesizer, parse_mix
from edgead.synthesis.diffusion.sets import SetFacts, SetWriter, open_set

FACTS = SetFacts("ab" * 32, "tile", 32, 32, (0.1, 0.2), "ancestral", 20, 2, 0, "ours")


def png(number: int) -> bytes:
    picture = np.random.default_rng(number).integers(0, 256, (32, 32), np.uint8)
    return cv2.imencode(".png", picture)[1].tobytes()


def write(
    folder: Path, numbers: list[int], *, facts: SetFacts = FACTS, part: int = 1, parts: int = 1
) -> Path:
    writer = SetWriter(folder, facts, part=part, parts=parts)
    seeds, strengths = [n + 100 for n in numbers], [0.1 + n / 100 for n in numbers]
    writer.add(numbers, map(png, numbers), seeds=seeds, strengths=strengths)
    return folder


def test_a_set_keeps_images_strengths_seeds_model_and_licence(tmp_path: Path):
    found = open_set(write(tmp_path / "set", [0, 1, 2]))
    assert (len(found), found.licence, found.facts) == (3, "ours", FACTS)
    index = json.loads((tmp_path / "set" / "index.json").read_text())
    assert [(i["number"], i["seed"]) for i in index["images"]] == [(0, 100), (1, 101), (2, 102)]
    assert [i["strength"] for i in index["images"]] == pytest.approx([0.1, 0.11, 0.12])
    image = found.image(1, height=32, width=32)
    assert (image[..., 0] == cv2.imdecode(np.frombuffer(png(1), np.uint8), 0)).all()


def test_parts_make_one_set(tmp_path: Path):
    whole = open_set(write(tmp_path / "whole", [0, 1, 2, 3]))
    for part, numbers in ((1, [0, 1]), (2, [2, 3])):
        write(tmp_path / "split", numbers, part=part, parts=2)
    assert open_set(tmp_path / "split").digest == whole.digest


def test_a_killed_writer_goes_on(tmp_path: Path):
    write(tmp_path / "set", [0, 1])
    (tmp_path / "set" / "tile" / "000001.png").write_bytes(b"half")
    assert SetWriter(tmp_path / "set", FACTS).done == {0}


@pytest.mark.parametrize("harm", ["change", "remove", "swap", "add"])
def test_images_that_do_not_match_the_index_are_refused(tmp_path: Path, harm: str):
    folder = write(tmp_path / "set", [0, 1]) / "tile"
    first, second = folder / "000000.png", folder / "000001.png"
    if harm == "change":
        first.write_bytes(png(7))
    elif harm == "remove":
        first.unlink()
    elif harm == "swap":
        first.rename(folder / "x"), second.rename(first), (folder / "x").rename(second)
    else:
        shutil.copy(first, folder / "000009.png")
    for named in (folder.parent, folder):  # the set, or its product's folder
        with pytest.raises(DataError, match=r"SHA-256|does not name"):
            open_set(named)


def test_other_facts_do_not_go_into_the_same_set(tmp_path: Path):
    folder = write(tmp_path / "set", [0])
    other = SetFacts(**{**FACTS.__dict__, "seed": 1})
    with pytest.raises(DataError, match="another model, product or settings"):
        SetWriter(folder, other)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="other things"):
        SetWriter(tmp_path / "mine", FACTS)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["../x.png", "/etc/x.png", "tile/../../x.png", "x.png", "a/b/c.png", "tile\\x.png"]))
def test_an_index_cannot_point_out_of_the_set(name: str):
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        index = write(Path(place) / "set", [0]) / "index.json"
        content = json.loads(index.read_text())
        content["images"][0]["file"] = name
        index.write_text(json.dumps(content))
        with pytest.raises(DataError, match="no file"):
            open_set(index.parent)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 9}', '{"schema_version": 1, "images": 3}']
)
def test_a_damaged_index_is_refused(tmp_path: Path, text: str):
    write(tmp_path / "set", [0])
    (tmp_path / "set" / "index.json").write_text(text)
    with pytest.raises(DataError, match=r"not valid JSON|the index of a set|schema version"):
        open_set(tmp_path / "set")


def test_images_by_class_without_an_index_are_a_set(tmp_path: Path):
    for name in ("bottle", "cable"):
        (tmp_path / "SIA" / name).mkdir(parents=True)
        write_image(tmp_path / "SIA" / name / "1.png", np.full((8, 8), 9, np.uint8))
    found = open_set(tmp_path / "SIA" / "cable")
    assert (len(found), found.facts, found.licence) == (1, None, "not stated")
    with pytest.raises(DataError, match="bottle, cable"):
        open_set(tmp_path / "SIA")
    with pytest.raises(DataError, match="not a folder"):
        open_set(tmp_path / "nowhere")


def test_anomalies_of_the_source_come_from_the_set(tmp_path: Path):
    good = [np.full((32, 32, 3), 120, np.uint8) for _ in range(3)]
    found = open_set(write(tmp_path / "set", [0, 1, 2]))
    make = Synthesizer(good, sources={"sdas": 1}, anomaly_set=found, strength_range=(1, 1))
    drawn = [found.image(k, height=32, width=32) for k in range(3)]
    for seed in range(20):
        sample = make(0, np.random.default_rng(seed))
        assert sample.source == "sdas"
        assert np.abs(sample.image[~sample.mask].astype(int) - 120).max() < 10  # what nobody sees
        assert any((sample.image[sample.mask] == image[sample.mask]).all() for image in drawn)
    again = make(0, np.random.default_rng(19))
    assert (again.image == sample.image).all()


def test_the_source_asks_for_a_set():
    assert parse_mix("sdas=0.5,seamless=0.3,subtle=0.2") == {"sdas": 0.5, "seamless": 0.3, "subtle": 0.2}
    with pytest.raises(UsageError, match="--anomaly-set SET"):
        Synthesizer([np.zeros((16, 16, 3), np.uint8)], sources={"sdas": 1})
