"""RealNet's losses: of cells, of reconstructions, of whole images by what the score makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from edgead.models.network import FeatureBatch
from edgead.models.realnet.network import RealNetOutput
from tests.models.networks import build_realnet
from tests.training.small_training import CONFIG


def _output_and_batch(logits: torch.Tensor, *, top_share: float) -> tuple[RealNetOutput, FeatureBatch]:
    masks = torch.zeros(len(logits), 64, 64, dtype=torch.bool)
    masks[0, :8, :8] = True
    maps = [torch.rand(len(logits), c, s, s) for c, s in ((40, 8), (112, 4))]
    rebuilt = [torch.zeros(len(logits), 8, s, s) for s in (8, 4)]
    return RealNetOutput(logits, rebuilt, rebuilt), FeatureBatch(maps, maps, masks, top_share)


@pytest.mark.parametrize(("top_share", "cells"), [(1 / 256, 1), (0.02, 5)])
def test_an_image_counts_by_the_mean_of_its_highest_logits(top_share: float, cells: int):
    network = build_realnet(CONFIG)
    logits = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    output, batch = _output_and_batch(logits, top_share=top_share)
    pooled = logits.flatten(1).sort(descending=True).values[:, :cells].mean(dim=1)
    wanted = F.binary_cross_entropy_with_logits(pooled, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(network.losses(output, batch)["image"], wanted)


def test_one_high_cell_of_a_good_image_costs_more_than_it_weighs_among_all_cells():
    network = build_realnet(CONFIG)
    quiet = torch.full((2, 16, 16), -6.0)
    quiet[0, :4, :4] = 6.0
    loud = quiet.clone()
    loud[1, 8, 8] = 30.0  # on the good image
    before, after = (network.losses(*_output_and_batch(x, top_share=0.02)) for x in (quiet, loud))
    assert after["image"] - before["image"] > 10 * (after["segmentation"] - before["segmentation"])


def test_the_papers_loss_has_no_images():
    network = build_realnet(replace(CONFIG, image_weight=0.0))
    output, batch = _output_and_batch(torch.zeros(2, 16, 16), top_share=0.02)
    assert set(network.losses(output, batch)) == {"segmentation", "reconstruction"}
