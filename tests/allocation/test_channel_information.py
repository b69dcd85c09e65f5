"""What channels tell of a mask: more channels never less, copies nothing, constant ones nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgead.allocation.channel_information import ChannelInformation, InformationMeter
from edgead.errors import TrainingError
from edgead.models.backbones import FeatureInfo

INFOS = (FeatureInfo(1, 4, 4, "layer1"), FeatureInfo(3, 6, 16, "layer3"))
SIZES = (16, 4)


def measure(change: object = None, *, batches: int = 6) -> ChannelInformation:
    """Channel 0 sees the anomaly well, 1 is its copy, 2 sees it badly, the last of stage 1 is constant."""
    generator = torch.Generator().manual_seed(0)
    good, batches_of_pairs = [], []
    for _ in range(batches):
        masks = torch.zeros(4, 64, 64, dtype=torch.bool)
        for row in range(4):
            y, x = torch.randint(0, 40, (2,), generator=generator).tolist()
            masks[row, y : y + 20, x : x + 20] = True
        normal, anomalous = [], []
        for info, side in zip(INFOS, SIZES, strict=True):
            base = torch.randn(4, info.channels, side, side, generator=generator)
            seen = torch.nn.functional.interpolate(masks[:, None].float(), (side, side), mode="nearest")
            noise = torch.randn(4, info.channels, side, side, generator=generator)
            strength = torch.tensor([1.0, 1.0, 0.3] + [0.2] * (info.channels - 3)).view(1, -1, 1, 1)
            noise[:, 1] = noise[:, 0]
            moved = base + strength * (2 * seen + 0.3 * noise)
            base[:, 1], moved[:, 1] = base[:, 0], moved[:, 0]
            if info.stage == 1 or change == "all constant":
                moved[:, -1] = base[:, -1]
            if (change == "stage 1 constant" and info.stage == 1) or change == "all constant":
                moved = base.clone()
            normal.append(base)
            anomalous.append(moved)
        batches_of_pairs.append((normal, anomalous, masks))
        good.append(normal)
    meter = InformationMeter(INFOS, good)
    for batch in batches_of_pairs:
        meter.add(*batch)
    return meter.information(bank_components=4)


def test_more_channels_never_tell_less():
    for stage in measure().stages.values():
        assert (np.diff(stage.information) >= 0).all()
        assert stage.information[0] > 0


def test_a_copy_of_a_channel_tells_nothing_new():
    stage = measure().stages[1]
    order = np.argsort(stage.selection.scores, kind="stable")
    assert set(order[:2]) == {0, 1}
    assert stage.information[1] == pytest.approx(stage.information[0], rel=1e-3)
    assert stage.information[2] > 1.01 * stage.information[1]


def test_a_constant_channel_tells_nothing():
    stage = measure().stages[1]
    assert stage.selection.constant == (3,)
    assert stage.information[-1] == pytest.approx(stage.information[-2], rel=1e-3)


def test_components_of_copies_explain_both():
    stage = measure().stages[1]
    assert stage.explained(2, 1) == pytest.approx(1.0, abs=1e-3)
    assert stage.explained(4, 1) < 0.8
    assert stage.explained(4, 4) == pytest.approx(1.0)
    assert stage.value(4, 4) == pytest.approx(float(stage.information[3]))


def test_a_larger_bank_is_worth_no_less():
    power = measure()
    values = [power.bank_value((3,), size) for size in (0, 1, 8, 64, 512, 100_000)]
    assert values[0] == 0.0
    assert values == sorted(values)
    assert values[-1] <= power.stages[3].information_if_known
    assert power.bank_value((4,), 64) == 0.0


def test_a_stage_that_tells_nothing_is_left_out():
    power = measure("stage 1 constant")
    assert list(power.stages) == [3]
    assert "All 4 channels of stage 1 are constant" in power.useless[1]


def test_channels_that_all_are_constant_are_refused():
    with pytest.raises(TrainingError, match="constant or NaN"):
        measure("all constant")


def test_masks_without_an_anomaly_are_passed_over():
    maps = [torch.randn(2, info.channels, side, side) for info, side in zip(INFOS, SIZES, strict=True)]
    meter = InformationMeter(INFOS, [maps])
    meter.add(maps, maps, torch.zeros(2, 64, 64, dtype=torch.bool))
    with pytest.raises(TrainingError, match="every mask was empty"):
        meter.information(bank_components=4)


def pairs_of(grain: float, *, smooth: float) -> ChannelInformation:
    """Good features are grain, which nothing predicts, and brightness, which surroundings do."""
    generator = torch.Generator().manual_seed(0)
    batches, good = [], []
    for _ in range(6):
        masks = torch.zeros(8, 64, 64, dtype=torch.bool)
        masks[:, 24:40, 24:40] = True
        level = smooth * torch.randn(8, 4, 1, 1, generator=generator)
        normal = level + grain * torch.randn(8, 4, 16, 16, generator=generator)
        moved = normal + masks[:, None, ::4, ::4] * (1 + 0.2 * torch.randn(8, 4, 16, 16, generator=generator))
        batches.append(([normal], [moved], masks))
        good.append([normal])
    meter = InformationMeter(INFOS[:1], good)
    for batch in batches:
        meter.add(*batch)
    return meter.information(bank_components=4)


def test_grain_hides_an_anomaly_and_brightness_that_surroundings_tell_does_not():
    quiet, grainy = pairs_of(0.1, smooth=0.1).stages[1], pairs_of(1.0, smooth=0.1).stages[1]
    bright = pairs_of(0.1, smooth=1.0).stages[1]
    assert grainy.information_if_known == pytest.approx(quiet.information_if_known, rel=0.05)
    assert float(grainy.information[-1]) < 0.3 * float(quiet.information[-1])
    assert float(bright.information[-1]) > 0.8 * float(quiet.information[-1])
