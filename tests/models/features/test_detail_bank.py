"""The bank of a single stage: distances by place, and where there is little to fill it with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgead.errors import TrainingError
from edgead.models.features.detail_bank import DetailBank

GRID = (6, 8)


def maps_of(seed: int, *, count: int = 40) -> Tensor:
    """Good maps, B 5 6 8, that vary twice as much in the left half as in the right."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, 5, *GRID, generator=generator)
    maps[..., :4] *= 2
    return maps


def fitted(*, size: int = 64) -> DetailBank:
    bank = DetailBank(5, GRID, components=8, size=size)
    bank.fit([maps_of(1), maps_of(2)], torch.Generator().manual_seed(0))
    return bank


def test_good_images_have_mean_0_and_deviation_1_at_every_place():
    bank, maps = fitted(), maps_of(3, count=400)
    plain, found = bank.bank([maps]), bank(maps)
    assert found.shape == (400, *GRID)
    assert float(plain[..., :3].std()) > 2 * float(plain[..., 5:].std())
    for half in (found[..., :3], found[..., 5:]):
        assert abs(float(half.mean())) < 0.5
        assert 0.6 < float(half.std()) < 1.6


def test_a_place_of_few_images_is_drawn_towards_all_places():
    few, many = (
        DetailBank(5, GRID, components=8, size=64),
        DetailBank(5, GRID, components=8, size=64),
    )
    few.fit([maps_of(1, count=2)], torch.Generator().manual_seed(0))
    many.fit([maps_of(1, count=400)], torch.Generator().manual_seed(0))
    ratios = [float(bank.scale[:, 5:].mean() / bank.scale[:, :3].mean()) for bank in (few, many)]
    assert 1 < ratios[0] < ratios[1]


def test_folded_it_says_the_same():
    bank, maps = fitted(size=20000), maps_of(5)
    before = bank(maps)
    bank.fold()
    assert bank.bank.size < 20000
    torch.testing.assert_close(bank(maps), before)


def test_one_image_is_enough():
    bank = DetailBank(5, GRID, components=8, size=64)
    bank.fit([maps_of(1, count=1)], torch.Generator().manual_seed(0))
    assert bool(bank(maps_of(2)).isfinite().all())


def test_features_that_do_not_vary_are_refused():
    with pytest.raises(TrainingError, match="do not vary"):
        DetailBank(5, GRID, components=8, size=64).fit(
            [torch.ones(3, 5, *GRID)], torch.Generator().manual_seed(0)
        )
