"""The operations of the compact RealNet's parts by arithmetic: what `layers_of` notes, in microseconds.

An allocation weighs thousands of configurations. Each is a sum of parts that depend on a few numbers each, so
that the parts are listed here by hand; a test holds them to what `layers_of` notes of the network itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from edgead.cost.layers import Layer, layers_of
from edgead.models.backbones import feature_info
from edgead.models.backbones.base import STAGES
from edgead.models.features.memory_bank import PROTOTYPES_AT_ONCE
from edgead.models.realnet.config import RealNetConfig
from edgead.models.scoring.rule import ScoreRule

Grid = tuple[int, int]  # height, width


def network_layers(config: RealNetConfig) -> tuple[Layer, ...]:
    """The whole network: what `layers_of` notes, for compact parts."""
    channels = sum(config.channels)
    passed = 2 * (config.residual_count // 2) or channels
    stages = zip(config.stages, config.channels, config.reconstruction_widths, strict=True)
    return (
        *backbone_layers(config.backbone, config.stages[-1], config.input_size),
        *(layer for stage, m, w in stages for layer in stage_layers(config, stage, m, w)),
        *selection_layers(config, channels, config.residual_count),
        *discriminator_layers(config, passed, config.discriminator_width),
        *bank_layers(config, config.bank_stages, config.bank_size),
        *detail_layers(config),
        *score_layers(config),
    )


def backbone_layers(backbone: str, deepest: int, size: Grid) -> tuple[Layer, ...]:
    """The backbone cut behind its stage `deepest`, for images of height x width."""
    whole = _whole_backbone(backbone, size)
    cut = f"backbone.layer{deepest}."
    last = max(number for number, layer in enumerate(whole) if layer.name.startswith(cut))
    return whole[: last + 1]


@functools.lru_cache(maxsize=32)
def _whole_backbone(backbone: str, size: Grid) -> tuple[Layer, ...]:
    deepest = STAGES[-1]
    config = RealNetConfig(
        backbone=backbone,
        stages=(deepest,),
        channels=(1,),
        reconstruction_widths=(1,),
        grid_stage=deepest,
        discriminator_width=1,
        residual_count=0,
        residual_map_stages=(),
        bank_stages=(),
        detail_stages=(),
        input_height=size[0],
        input_width=size[1],
    )
    return tuple(layer for layer in layers_of(config) if layer.part == "backbone")


def stage_layers(config: RealNetConfig, stage: int, channels: int, width: int) -> tuple[Layer, ...]:
    """What a stage adds: its reconstruction, its residuals on the grid, and their share of the map."""
    (info,) = feature_info(config.backbone, (stage,))
    own, grid = _grid(config, stage), _grid(config, config.grid_stage)
    half, values = (own[0] // 2, own[1] // 2), channels * _cells(own)
    part = f"reconstruction {stage}"
    layers = [
        _conv(part, info.channels, channels, own, kernel=1),
        _conv(part, channels, width, own),
        _conv(part, width, 2 * width, half, inputs=own),
        _conv(part, 2 * width, 2 * width, half),
        _conv(part, 2 * width, width, half),
        _move(part, "resize", width * _cells(half), width * _cells(own)),
        _move(part, "copy", 2 * width * _cells(own)),
        _conv(part, 2 * width, channels, own),
        _move("selection", "elementwise", 2 * values, values),  # the difference
        _move("selection", "elementwise", values),  # its size
    ]
    if stage < config.grid_stage:
        layers.append(_move("selection", "pool", values, channels * _cells(grid)))
    elif stage > config.grid_stage:
        layers.append(_move("selection", "resize", values, channels * _cells(grid)))
    if stage in config.residual_map_stages:
        layers.append(_move("score", "elementwise", values))  # squared for the map
        layers.append(_move("score", "reduce", values, _cells(own)))
    return tuple(layers)


def selection_layers(config: RealNetConfig, channels: int, residuals: int) -> tuple[Layer, ...]:
    """Joining `channels` residuals on the grid and passing `residuals` of them on; 0: all, unranked."""
    cells, half = _cells(_grid(config, config.grid_stage)), residuals // 2
    layers = [_move("selection", "copy", channels * cells)]
    if residuals:
        layers += [_move("selection", "reduce", channels * cells, channels)] * 2
        layers += [_move("selection", "elementwise", 2 * channels, channels)] * 4  # standardised
        layers += [_move("selection", "topk", channels, half)] * 2
        layers += [
            _move("selection", "copy", 2 * half),
            _move("selection", "copy", channels * cells + 2 * half, 2 * half * cells),
        ]
    return tuple(layers)


def discriminator_layers(config: RealNetConfig, inputs: int, width: int) -> tuple[Layer, ...]:
    """The discriminator on `inputs` residuals on the grid."""
    part, grid = "discriminator", _grid(config, config.grid_stage)
    half = (grid[0] // 2, grid[1] // 2)
    return (
        _conv(part, inputs, width, grid),
        _conv(part, width, width, grid),
        _conv(part, width, 2 * width, half, inputs=grid),
        _conv(part, 2 * width, 2 * width, half),
        _conv(part, 2 * width, width, half),
        _move(part, "resize", width * _cells(half), width * _cells(grid)),
        _move(part, "copy", 2 * width * _cells(grid)),
        _conv(part, 2 * width, width, grid),
        _conv(part, width, 4, grid, kernel=1),
        _move(part, "resize", 4 * _cells(grid)),
    )


def bank_layers(config: RealNetConfig, stages: Sequence[int], size: int) -> tuple[Layer, ...]:
    """The distances of the deepest stage's cells to a bank of `size` features of `stages`."""
    if not stages:
        return ()
    part, components = "bank", config.bank_components
    channels = [info.channels for info in feature_info(config.backbone, tuple(stages))]
    grid = _grid(config, stages[-1])
    cells = _cells(grid)
    layers = [
        _move(part, "pool", count * _cells(_grid(config, stage)), count * cells)
        for count, stage in zip(channels[:-1], stages[:-1], strict=True)
    ]
    layers.append(_move(part, "copy", sum(channels) * cells))
    return (*layers, *_distances(sum(channels), components, size, grid, density=config.bank_density))


def detail_layers(config: RealNetConfig) -> tuple[Layer, ...]:
    """The banks of single stages on their own grids."""
    layers: list[Layer] = []
    for stage in config.detail_stages:
        (info,) = feature_info(config.backbone, (stage,))
        grid = _detail_grid(config, stage)
        cells, components = _cells(grid), min(config.bank_components, info.channels)
        values = info.channels * cells
        layers.append(_move("bank", "pool", info.channels * _cells(_grid(config, stage)), values))
        layers.append(_move("bank", "copy", values))
        layers += _distances(info.channels, components, config.detail_size, grid, density=True)
        layers += [_move("bank", "elementwise", 2 * cells, cells)] * 2  # with what is known of each place
    return tuple(layers)


def _distances(channels: int, components: int, size: int, grid: Grid, *, density: bool) -> Iterator[Layer]:
    part, cells = "bank", _cells(grid)
    yield _conv(part, channels, components, grid, kernel=1)
    for block in _blocks(size):
        yield _conv(part, components, block, grid, kernel=1)
        if density:
            yield _move(part, "elementwise", block * cells + block, block * cells)
        yield _move(part, "reduce", block * cells, cells)
    count = len(list(_blocks(size)))
    yield _move(part, "elementwise", components * cells)
    yield _move(part, "reduce", components * cells, cells)
    yield _move(part, "copy", count * cells)
    yield _move(part, "reduce", count * cells, cells)
    yield _move(part, "elementwise", 2 * cells, cells)
    if not density:
        yield _move(part, "elementwise", cells)  # the root


def score_layers(config: RealNetConfig) -> tuple[Layer, ...]:
    """The map and the score, but for the mean residuals of the stages in the map (`stage_layers`)."""
    part, cells = "score", 4 * _cells(_grid(config, config.grid_stage))
    highest = max(1, round(ScoreRule().top_share * cells))
    pooled = [_move(part, "topk", cells, highest), _move(part, "reduce", highest, 1)]
    single = [_move(part, "elementwise", 1)] * 2  # a pooled view, scaled
    layers = [_move(part, "elementwise", cells)] * 4 + pooled + single
    for number, stage in enumerate(config.residual_map_stages):
        own = _cells(_grid(config, stage))
        layers += [_move(part, "elementwise", own)] * 4  # the logarithm, and the scale
        layers += [_move(part, "resize", own, cells)] if own != cells else []
        layers += [_move(part, "elementwise", 2 * cells, cells)] if number else []
    if config.residual_map_stages:
        layers += [_move(part, "elementwise", cells), *pooled, *single]
    banks = [_grid(config, stage) for stage in config.bank_stages[-1:]]
    banks += [_detail_grid(config, stage) for stage in config.detail_stages]
    for grid in banks:
        own = _cells(grid)
        layers += [_move(part, "elementwise", own)] * 2
        layers += [_move(part, "resize", own, cells)] if own != cells else []
        highest = max(1, round(ScoreRule().top_share * own))
        layers += [_move(part, "topk", own, highest), _move(part, "reduce", highest, 1), *single]
    if banks:
        layers.append(_move(part, "elementwise", cells))
    if len(banks) > 1:  # their mean, in the map and in the score
        for values in (cells, 1):
            layers += [_move(part, "elementwise", 2 * values, values)] * (len(banks) - 1)
            layers.append(_move(part, "elementwise", values))
    views = 1 + bool(config.residual_map_stages) + bool(banks)
    layers += [_move(part, "elementwise", 2 * cells, cells), _move(part, "elementwise", 2, 1)] * (views - 1)
    return tuple(layers)


def _grid(config: RealNetConfig, stage: int) -> Grid:
    stride = 2 ** (stage + 1)
    return config.input_height // stride, config.input_width // stride


def _detail_grid(config: RealNetConfig, stage: int) -> Grid:
    """The places of a stage that its own bank compares."""
    height, width = (-(-length // config.detail_stride) for length in _grid(config, stage))
    return height, width


def _cells(grid: Grid) -> int:
    return grid[0] * grid[1]


def _blocks(size: int) -> Iterator[int]:
    for start in range(0, size, PROTOTYPES_AT_ONCE):
        yield min(PROTOTYPES_AT_ONCE, size - start)


def _conv(
    part: str, channels: int, outputs: int, grid: Grid, *, kernel: int = 3, inputs: Grid | None = None
) -> Layer:
    """A convolution to `grid`, from `inputs` where it strides; those with 3 x 3 have no bias but the last."""
    weights = channels * outputs * kernel * kernel
    return Layer(
        part=part,
        name="",
        kind="conv",
        macs=weights * _cells(grid),
        parameters=weights,
        input_bytes=channels * _cells(inputs or grid),
        output_bytes=outputs * _cells(grid),
    )


def _move(part: str, kind: str, inputs: int, outputs: int | None = None) -> Layer:
    return Layer(part, "", kind, 0, 0, inputs, inputs if outputs is None else outputs)
