"""The rivals of the accuracy benchmark against brute force: a weak rival would flatter edgead."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks.simple_detectors import Bank, Padim, Reached, best_rival, rivals_on
from edgead.datasets import ImageDataset, Sample
from edgead.metrics import IMAGE_AUROC


def _features(count: int, seed: int, *, side: int = 4) -> torch.Tensor:
    return torch.randn(count, 6, side, side, generator=torch.Generator().manual_seed(seed))


def test_a_bank_gives_the_distance_to_the_nearest_and_takes_off_its_density_in_other_images():
    good, new = _features(5, 1), _features(1, 2)
    bank = Bank(good, size=10_000)  # all of them
    plain, sparse = bank.distances(new)
    rows = good.movedim(1, -1).reshape(-1, 6).double()
    owner = np.repeat(np.arange(5), 16)
    cells = new[0].flatten(1).T.double()
    distances = torch.cdist(cells, rows).numpy()
    nearest = distances.argmin(axis=1)
    np.testing.assert_allclose(plain.ravel(), distances.min(axis=1), rtol=1e-4)
    between = torch.cdist(rows, rows).numpy()
    density = [np.sort(between[k][owner != owner[k]])[:9].mean() for k in nearest]
    np.testing.assert_allclose(sparse.ravel(), distances.min(axis=1) - density, rtol=1e-3, atol=1e-3)


def test_padim_is_mahalanobis_at_each_cell():
    good, new = _features(30, 3), _features(1, 4)
    padim = Padim(good)
    found = padim.distances(new)
    for row, column in ((0, 0), (3, 1)):
        cells = good[:, padim.channels, row, column].double().numpy()
        centre = new[0, padim.channels, row, column].double().numpy() - cells.mean(axis=0)
        covariance = np.cov(cells.T) + 0.01 * np.eye(cells.shape[1])
        wanted = np.sqrt(centre @ np.linalg.solve(covariance, centre))
        assert found[row, column] == pytest.approx(wanted, rel=1e-3)


def test_all_rivals_find_a_plain_defect(tmp_path: Path):
    random = np.random.default_rng(0)
    for number in range(10):
        image = random.normal(120, 6, (96, 96, 3))
        if number > 7:
            image[30:60, 30:60] = 250
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.clip(image, 0, 255).astype(np.uint8))
    samples = [Sample(tmp_path / f"{n}.png", kind="spot" if n > 7 else "good") for n in range(10)]
    dataset = ImageDataset("x", tmp_path, "folder", train=tuple(samples[:6]), test=tuple(samples[6:]))
    reached, control = rivals_on(dataset)
    assert len(reached) == 7
    assert control is not None
    for one in reached:
        if one.rival != "LDKNN, mean":  # of so few images
            assert one.figures[IMAGE_AUROC.key] == 1.0, one.rival


def test_the_best_rule_is_one_for_all_sets():
    def of(*values: float) -> list[Reached]:
        return [Reached(name, {IMAGE_AUROC.key: value}) for name, value in zip("ab", values, strict=True)]

    assert best_rival({"x": of(0.9, 0.7), "y": of(0.5, 0.8)}) == ("b", pytest.approx(0.75))
