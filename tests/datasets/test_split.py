"""The split depends on contents and seed alone, and equal contents stay together."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.datasets import Sample, Split, open_dataset, split_good
from edgead.errors import DataError, UsageError

CONTENTS = st.lists(st.integers(0, 40), min_size=2, max_size=40).filter(lambda found: len(set(found)) > 1)


def _write(folder: Path, names: list[str], contents: list[int]) -> list[Sample]:
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(b"picture %d" % content)
    return [Sample(folder / name) for name in names]


def _contents(split: Split) -> tuple[list[bytes], list[bytes]]:
    train = [sample.path.read_bytes() for sample in split.train]
    return train, [sample.path.read_bytes() for sample in split.validation]


@settings(max_examples=40, deadline=None)
@given(CONTENTS, st.integers(0, 5), st.floats(0.01, 0.99), st.randoms(use_true_random=False))
def test_names_and_order_do_not_matter(
    contents: list[int], seed: int, fraction: float, random: object
) -> None:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        names = [f"{index:03}.png" for index in range(len(contents))]
        samples = _write(Path(first), names, contents)
        random.shuffle(contents)  # type: ignore[attr-defined]
        renamed = _write(Path(second), [f"x{name}" for name in names], contents)
        random.shuffle(renamed)  # type: ignore[attr-defined]
        one = split_good(samples, validation_fraction=fraction, seed=seed)
        two = split_good(renamed, validation_fraction=fraction, seed=seed)
        assert one.digest == two.digest
        assert _contents(one) == _contents(two)


@settings(max_examples=60, deadline=None)
@given(CONTENTS, st.integers(0, 5), st.floats(0.01, 0.99))
def test_sides_are_whole_disjoint_and_of_the_asked_size(
    contents: list[int], seed: int, fraction: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        samples = _write(Path(folder), [f"{index}.png" for index in range(len(contents))], contents)
        split = split_good(samples, validation_fraction=fraction, seed=seed)
        train, validation = _contents(split)
    assert not set(train) & set(validation)
    assert sorted(split.train + split.validation, key=lambda s: s.path) == sorted(
        samples, key=lambda s: s.path
    )
    copies = max(contents.count(content) for content in contents)
    assert train
    assert 1 <= len(validation) <= max(round(fraction * len(contents)), copies)
    if copies == 1:
        assert len(validation) == min(max(1, round(fraction * len(contents))), len(contents) - 1)


def test_the_seed_and_the_contents_change_the_digest(tmp_path: Path) -> None:
    samples = _write(tmp_path, [f"{index}.png" for index in range(20)], list(range(20)))
    digests = {split_good(samples, seed=seed).digest for seed in range(5)}
    assert len(digests) == 5
    samples[3].path.write_bytes(b"another")
    assert split_good(samples, seed=0).digest not in digests


def test_hashes_are_listed_by_name(tmp_path: Path) -> None:
    samples = _write(tmp_path, ["b.png", "a.png"], [1, 2])
    hashes = split_good(samples).hashes
    assert list(hashes) == ["a.png", "b.png"]
    assert hashes["b.png"] == hashlib.sha256(b"picture 1").hexdigest()


@settings(max_examples=40, deadline=None)
@given(CONTENTS, st.integers(0, 5), st.integers(2, 5))
def test_over_all_folds_each_content_is_held_out_once(contents: list[int], seed: int, folds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        samples = _write(Path(folder), [f"{index:03}.png" for index in range(len(contents))], contents)
        if len(set(contents)) < folds:
            with pytest.raises(DataError, match="folds need as many groups"):
                split_good(samples, seed=seed, folds=folds)
            return
        held_out: list[bytes] = []
        for fold in range(folds):
            train, validation = _contents(split_good(samples, seed=seed, fold=fold, folds=folds))
            assert set(train).isdisjoint(validation)
            assert sorted(train + validation) == sorted(path.path.read_bytes() for path in samples)
            held_out += validation
        assert sorted(held_out) == sorted(sample.path.read_bytes() for sample in samples)


@pytest.mark.parametrize("contents", [[], [1], [1, 1, 1]], ids=["none", "one", "three copies of one"])
def test_too_few_images_say_how_many_are_needed(tmp_path: Path, contents: list[int]) -> None:
    samples = _write(tmp_path, [f"{index}.png" for index in range(len(contents))], contents)
    with pytest.raises(DataError, match="at least 2 different good images"):
        split_good(samples)


def test_wrong_use(tmp_path: Path) -> None:
    samples = _write(tmp_path, ["a.png", "b.png"], [1, 2])
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            split_good(samples, validation_fraction=fraction)
    with pytest.raises(UsageError, match=r"b\.png is of kind 'hole'"):
        split_good([samples[0], replace(samples[1], kind="hole")])
    samples[0].path.unlink()
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        split_good(samples)


def test_split_of_real_images(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "pcb")
    split = split_good(dataset.train)
    assert (len(split.train), len(split.validation)) == (69, 12)
