"""The bank of good features against brute force, and where there is little to fill it with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgead.errors import TrainingError
from edgead.models.features.memory_bank import MemoryBank


def maps_of(seed: int, *, count: int = 3, side: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shallow = torch.randn(count, 5, 2 * side, 2 * side, generator=generator) * 3 + 1
    deep = torch.randn(count, 7, side, side, generator=generator) * 0.1
    return [shallow, deep]


def fitted(
    *, components: int = 6, size: int = 32, side: int = 4, count: int = 3, density: bool = False
) -> MemoryBank:
    bank = MemoryBank((5, 7), components=components, size=size, density=density)
    batches = [maps_of(seed, side=side, count=count) for seed in (1, 2)]
    bank.fit(batches, torch.Generator().manual_seed(0))
    return bank


def brute_force(bank: MemoryBank, maps: list[Tensor]) -> Tensor:
    rows = bank.join(maps).movedim(1, -1).double()
    projected = rows @ bank.projection.double().T + bank.offset.double()
    return torch.cdist(projected.flatten(0, 2), bank.prototypes.double()).amin(dim=1).view(rows.shape[:3])


@pytest.mark.parametrize("size", [1, 32, 1500], ids=["one", "few", "more than a block"])
def test_distances_are_those_to_the_nearest(size: int):
    bank, maps = fitted(size=size, side=16 if size > 1000 else 4), maps_of(9)
    found = bank(maps)
    assert found.shape == (3, 4, 4)
    torch.testing.assert_close(found.double(), brute_force(bank, maps), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("size", [1, 5, 32, 1500], ids=["one", "fewer than neighbours", "few", "blocks"])
def test_with_density_a_value_is_a_power_distance(size: int):
    bank, maps = fitted(size=size, side=16 if size > 1000 else 4, density=True), maps_of(9)
    points = bank.prototypes.double()
    others = torch.cdist(points, points).fill_diagonal_(torch.inf).sort(dim=1).values[:, :9]
    density = others[:, : size - 1].square().mean(dim=1) if size > 1 else torch.zeros(1)
    rows = bank.join(maps).movedim(1, -1).double() @ bank.projection.double().T + bank.offset.double()
    squared = torch.cdist(rows.flatten(0, 2), points).square()
    wanted = (squared - density).amin(dim=1).view(rows.shape[:3])
    torch.testing.assert_close(bank(maps).double(), wanted, atol=2e-3, rtol=1e-3)


def test_where_good_features_are_sparse_a_far_one_is_no_surprise():
    bank = MemoryBank((1,), components=1, size=40, density=True)
    dense, sparse = torch.linspace(0, 1, 20), torch.linspace(10, 40, 20)
    good = torch.cat((dense, sparse)).view(1, 1, 8, 5)
    bank.fit([[good]], torch.Generator().manual_seed(0))
    between = (good.flatten()[-1] + good.flatten()[-2]) / 2
    found = bank([torch.stack((between, torch.tensor(2.0))).view(1, 1, 1, 2)]).flatten()
    assert found[0] < found[1]  # nearer to a good feature than the first, but those near it lie closer


def test_good_features_themselves_are_at_distance_0():
    bank = fitted(size=2 * 3 * 16)  # as many as there are
    assert float(bank(maps_of(1)).max()) < 5e-3


def test_fewer_features_than_prototypes_repeat_the_last():
    bank = fitted(size=500)
    assert bank.prototypes[96:].unique(dim=0).shape[0] == 1
    assert torch.equal(bank.prototypes[95], bank.prototypes[499])
    assert bank(maps_of(9)).isfinite().all()


@pytest.mark.parametrize("density", [False, True])
def test_the_copies_that_fill_a_bank_can_be_dropped(density: bool):
    bank, maps = fitted(size=500, density=density), maps_of(9)
    trimmed = bank.without_repeated()
    assert (bank.size, trimmed.size) == (500, 96)
    assert torch.equal(trimmed(maps), bank(maps))
    assert fitted(size=32).without_repeated().size == 32


def test_an_unfitted_bank_keeps_its_size():
    assert MemoryBank((5, 7), components=6, size=500).without_repeated().size == 500


def test_cluster_centres_stand_for_all_features_better_than_a_draw_of_them():
    maps = maps_of(9, side=16)
    full = fitted(size=2 * 3 * 256, side=16)
    clustered, drawn = fitted(size=64, side=16), fitted(size=64, side=16)
    order = torch.randperm(full.size, generator=torch.Generator().manual_seed(5))
    drawn.prototypes.copy_(full.prototypes[order[:64]])
    wanted = full(maps).flatten()

    def fidelity(bank: MemoryBank) -> float:
        return float(torch.corrcoef(torch.stack((bank(maps).flatten(), wanted)))[0, 1])

    assert fidelity(clustered) > fidelity(drawn) + 0.05


def test_more_components_than_channels_change_nothing():
    maps = maps_of(9)
    torch.testing.assert_close(fitted(components=12)(maps), fitted(components=40)(maps), atol=1e-3, rtol=1e-3)


def test_the_scale_of_a_channel_does_not_count():
    one, two = MemoryBank((2,), components=2, size=8), MemoryBank((2,), components=2, size=8)
    maps = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    scaled = maps * torch.tensor([100.0, 0.5])[:, None, None]
    one.fit([[maps]], torch.Generator().manual_seed(0))
    two.fit([[scaled]], torch.Generator().manual_seed(0))
    torch.testing.assert_close(one([maps]), two([scaled]), atol=2e-2, rtol=1e-2)


def test_the_same_generator_draws_the_same_prototypes():
    assert torch.equal(fitted().prototypes, fitted().prototypes)


def test_features_that_do_not_vary_are_refused():
    bank = MemoryBank((5,), components=2, size=4)
    with pytest.raises(TrainingError, match="do not vary"):
        bank.fit([[torch.ones(2, 5, 4, 4)]], torch.Generator())
