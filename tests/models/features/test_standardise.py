"""Selected channels at mean 0 and deviation 1, fitted on whatever device the features are."""

from __future__ import annotations

import torch

from edgead.models.features.selection import StageSelection
from edgead.models.features.standardise import SelectedFeatures

SELECTION = StageSelection(2, (0, 2), (0.1, 0.2, 0.3))


def test_good_features_have_mean_0_and_deviation_1():
    batches = [torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(n)) * 3 + 5 for n in (1, 2)]
    part = SelectedFeatures(SELECTION)
    part.fit(batches)
    found = torch.cat([part(batch) for batch in batches])
    assert found.shape == (8, 2, 8, 8)
    torch.testing.assert_close(found.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_fitting_stays_on_the_device_of_the_features():
    """On the meta device, which like a GPU refuses a tensor of the processor beside its own."""
    part = SelectedFeatures(SELECTION).to("meta")
    part.fit([torch.empty(4, 3, 8, 8, device="meta")])
    assert part.mean.device.type == "meta"
