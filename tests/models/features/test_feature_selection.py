"""Feature selection: the published formula, its bad cases, and saving."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError, TrainingError, UsageError
from edgead.models.backbones import FeatureInfo, build_backbone
from edgead.models.features.selection import (
    ChannelScorer,
    FeatureSelection,
    score_channels,
    select_channels,
)

INFO = FeatureInfo(1, 4, 4, "layer1")


def _masks(batch: int = 3, size: int = 32) -> torch.Tensor:
    masks = torch.zeros(batch, size, size, dtype=torch.bool)
    masks[:, 8:24, 4:20] = True
    return masks


def _pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Channel 0 is the mask itself, 1 the mask and noise, 2 noise, 3 constant."""
    rng = torch.Generator().manual_seed(seed)
    normal = torch.randn(3, 4, 8, 8, generator=rng)
    mask = _masks()[:, ::4, ::4].float()
    noise = torch.rand(3, 8, 8, generator=rng)
    zeros = torch.zeros_like(mask)
    return normal, normal + torch.stack([mask * 5, mask * 5 + noise, noise * 5, zeros], dim=1)


def test_scores_follow_the_formula() -> None:
    normal, anomalous = _pair()
    d = (anomalous - normal).numpy().astype(np.float64) ** 2
    mask = _masks()[:, ::4, ::4].numpy()
    expected = [
        np.mean(((d[:, c] - d[:, c].min()) / (d[:, c].max() - d[:, c].min() + 1e-4) - mask) ** 2)
        for c in range(4)
    ]
    np.testing.assert_allclose(score_channels(normal, anomalous, _masks()), expected, rtol=1e-5, atol=1e-12)


def test_better_channels_score_lower() -> None:
    scores = score_channels(*_pair(), _masks())
    assert scores[0] < 1e-6 < scores[1] < scores[2]


@pytest.mark.parametrize(
    ("scores", "count", "expected"),
    [
        ([1.0], 1, (0,)),
        ([3.0, 1.0, 2.0], 2, (1, 2)),
        ([1.0, 1.0, 1.0], 2, (0, 1)),
        ([3.0, 1.0, 2.0], 3, (0, 1, 2)),
    ],
)
def test_select_channels(scores: list[float], count: int, expected: tuple[int, ...]) -> None:
    assert select_channels(scores, count) == expected


@pytest.mark.parametrize("count", [0, -1, 4])
def test_impossible_count(count: int) -> None:
    with pytest.raises(UsageError, match="1 to 3 channels"):
        select_channels([1.0, 2.0, 3.0], count)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 9), min_size=1, max_size=40), st.data())
def test_kept_channels_are_never_worse_than_dropped(scores: list[float], data: st.DataObject) -> None:
    kept = select_channels(scores, data.draw(st.integers(1, len(scores))))
    dropped = [s for i, s in enumerate(scores) if i not in kept]
    assert list(kept) == sorted(set(kept))
    assert max(scores[i] for i in kept) <= min(dropped, default=9.0)


def test_constant_and_nan_channels_get_the_largest_valid_score() -> None:
    normal, anomalous = _pair()
    anomalous[0, 1, 0, 0] = float("nan")
    scorer = ChannelScorer([INFO])
    scorer.add([normal], [anomalous], _masks())
    (stage,) = scorer.select([2]).stages
    assert stage.constant == (1, 3)
    assert stage.scores[1] == stage.scores[3] == max(stage.scores[0], stage.scores[2])
    assert stage.indices == (0, 1)  # of the three equal last ones, the first


def test_batches_add_up() -> None:
    scorer = ChannelScorer([INFO])
    singles = []
    for seed in range(3):
        normal, anomalous = _pair(seed)
        scorer.add([normal], [anomalous], _masks())
        singles.append(score_channels(normal, anomalous, _masks()))
    scores = scorer.select([1]).stages[0].scores
    np.testing.assert_allclose(scores[:3], torch.stack(singles).mean(dim=0)[:3])
    assert scorer.pairs == 9


def test_one_batch_of_nan_does_not_spoil_the_others() -> None:
    scorer = ChannelScorer([INFO])
    normal, anomalous = _pair()
    scorer.add([normal], [anomalous], _masks())
    expected = scorer.select([1]).stages[0].scores
    scorer.add([normal], [anomalous * float("nan")], _masks())
    assert scorer.select([1]).stages[0].scores == expected


def test_empty_masks_are_left_out() -> None:
    normal, anomalous = _pair()
    masks = _masks()
    masks[1] = False
    scorer = ChannelScorer([INFO])
    scorer.add([normal], [anomalous], masks)
    expected = score_channels(normal[[0, 2]], anomalous[[0, 2]], masks[[0, 2]])
    assert scorer.pairs == 2
    assert scorer.select([1]).stages[0].scores[0] == float(expected[0])


def test_nothing_but_empty_masks() -> None:
    scorer = ChannelScorer([INFO])
    scorer.add([_pair()[0]], [_pair()[1]], torch.zeros(3, 32, 32, dtype=torch.bool))
    with pytest.raises(TrainingError, match="every mask was empty"):
        scorer.select([1])


def test_all_channels_constant() -> None:
    scorer = ChannelScorer([INFO])
    normal, _ = _pair()
    scorer.add([normal], [normal.clone()], _masks())
    with pytest.raises(TrainingError, match="All 4 channels of stage 1 are constant"):
        scorer.select([1])


@pytest.mark.parametrize(
    ("normal", "anomalous", "masks", "message"),
    [
        (torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 4), torch.zeros(2, 8, 8), "one shape"),
        (torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8), torch.zeros(3, 8, 8), "B = 2"),
        (torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8), torch.zeros(2, 3, 8, 8), "Masks"),
    ],
    ids=["shapes", "batch", "mask planes"],
)
def test_wrong_shapes(normal, anomalous, masks, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        score_channels(normal, anomalous, masks)


def test_json_round_trip_and_other_channels() -> None:
    scorer = ChannelScorer([INFO])
    scorer.add(*([t] for t in _pair()), _masks())
    selection = scorer.select([2])
    assert FeatureSelection.from_json(json.loads(json.dumps(selection.to_json()))) == selection
    assert selection.with_channels([3]) == scorer.select([3])
    assert selection.channels == (2,)


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {"pairs": 1, "stages": [{"stage": 1}]},
        {"pairs": 1, "stages": [{"stage": 1, "indices": [2, 1], "scores": [0, 0, 0], "constant": []}]},
        {"pairs": 1, "stages": [{"stage": 1, "indices": [3], "scores": [0, 0, 0], "constant": []}]},
        {"pairs": 1, "stages": [{"stage": 1, "indices": [0], "scores": [float("nan")], "constant": []}]},
    ],
    ids=["null", "empty", "missing", "order", "range", "nan"],
)
def test_bad_json(content: object) -> None:
    with pytest.raises(DataError, match="selection"):
        FeatureSelection.from_json(content)


def test_selection_with_a_backbone_is_deterministic() -> None:
    backbone = build_backbone("efficientnet_lite0", stages=(1, 2))
    rng = torch.Generator().manual_seed(1)
    normal = torch.rand(4, 3, 64, 64, generator=rng) * 255
    masks = torch.zeros(4, 64, 64, dtype=torch.bool)
    masks[:, 16:40, 20:52] = True
    anomalous = torch.where(masks[:, None], 255 - normal, normal)
    selections = []
    for _ in range(2):
        scorer = ChannelScorer(backbone.feature_info)
        with torch.no_grad():
            scorer.add(backbone(normal), backbone(anomalous), masks)
        selections.append(scorer.select((16, 12)))
    assert selections[0] == selections[1]
    assert selections[0].channels == (16, 12)
    assert selections[0].pairs == 4
