"""From what the channels show and what parts cost to the best network within limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgead.allocation.allocation import Allocation, FrontierPoint, Limits
from edgead.allocation.channel_information import ChannelInformation
from edgead.allocation.search import (
    Candidate,
    HeadChoice,
    StageChoice,
    StageSet,
    best_within,
    undominated,
)
from edgead.cost import compact_layers as parts
from edgead.cost.design_space import Space, configuration, discriminator_width
from edgead.cost.predict import CostModel, Costs
from edgead.errors import UsageError
from edgead.models.realnet.config import RealNetConfig
from edgead.profiles.target import Target

_RESIDUAL_SHARE = 1 / 3  # of the kept channels that are passed on: RealNet's 512 of 1536
_WRONG_UNIT = 1000.0
_FAR_BEYOND = 20.0  # times the largest network: more time than any use for it


@dataclass(frozen=True)
class _Found:
    candidate: Candidate
    config: RealNetConfig
    size: tuple[int, int]
    kept: float


def choose(
    information: Mapping[tuple[int, int], ChannelInformation],
    costs: CostModel,
    space: Space,
    *,
    limits: Limits,
    target: Target,
    precision: str,
    mode: str | None = None,
    threads: int | None = None,
) -> Allocation:
    """The network that keeps most information within the limits, among all input sizes of `information`.

    A latency counts with the cost model's margin. Where nothing with all detail banks of the base is within
    the limits, they are left out, the finest first. Raises UsageError, which says what the least is and what
    holds it there, where nothing is within the limits.
    """
    columns = _columns(limits, costs)
    upper_bounds = tuple(columns.values())
    wanted = space.base.detail_stages
    for dropped in range(len(wanted) + 1):  # the finest first, which costs most
        base = replace(space.base, detail_stages=wanted[dropped:])
        found = list(_undominated(information, costs, replace(space, base=base), columns))
        chosen = best_within([one.candidate for one in found], upper_bounds)
        if chosen is not None:
            break
    else:
        raise UsageError(_unreachable(found, costs, limits, upper_bounds))
    left_out = tuple(
        f"no detail bank of stage {stage}: the limits leave no room for it" for stage in wanted[:dropped]
    )
    one = next(one for one in found if one.candidate is chosen)
    here = costs.costs(one.config)
    prediction = costs.predict(one.config)
    at_size = information[one.size]
    return Allocation(
        target=target.name,
        mode=mode or (target.default_mode if costs.basis != "measured table" else None),
        precision=precision,
        threads=threads,
        limits=limits,
        config=one.config,
        prediction=prediction,
        promised_ms=prediction.total_ms * (1.0 + costs.margin),
        file_mb=here.file_mb,
        kept=one.kept,
        stage_information={
            stage: (float(s.information[channels - 1]), float(s.information[-1]))
            for stage, channels in zip(one.config.stages, one.config.channels, strict=True)
            for s in (at_size.stages[stage],)
        },
        next_ms=_next(found, one, upper_bounds, costs),
        frontier=tuple(
            FrontierPoint(f.candidate.costs[0] * (1.0 + costs.margin), f.kept) for f in _rising(found)
        ),
        notes=(*costs.notes, *left_out, *_notes(at_size, found, limits, costs)),
    )


def _undominated(
    information: Mapping[tuple[int, int], ChannelInformation],
    costs: CostModel,
    space: Space,
    columns: Mapping[str, float],
) -> Iterator[_Found]:
    """Every network that none beats, whatever its latency; within the other limits."""
    open_latency = (math.inf, *list(columns.values())[1:])
    for size, own_information in information.items():
        base = replace(space.base, input_height=size[0], input_width=size[1])
        own = replace(space, base=base)
        every = list(_families(own, own_information, costs, tuple(columns)))
        deep = tuple(stage for stage in base.bank_stages if stage in own_information.stages)
        whole = max(s.whole(deep, own.bank_sizes(deep)[-1]) for s in information.values())
        for candidate in undominated([family for _, family in every], limits=open_latency):
            config = _config(own, candidate)
            yield _Found(candidate, config, size, candidate.value / max(whole, 1e-12))


def _families(
    space: Space, information: ChannelInformation, costs: CostModel, columns: Sequence[str]
) -> Iterator[tuple[tuple[int, ...], StageSet]]:
    usable = tuple(information.stages)
    for count in range(1, len(usable) + 1):
        for stages in itertools.combinations(usable, count):
            yield stages, _family(space, information, costs, stages, columns)


def _family(
    space: Space,
    information: ChannelInformation,
    costs: CostModel,
    stages: tuple[int, ...],
    columns: Sequence[str],
) -> StageSet:
    least = tuple(space.channel_counts(stage)[0] for stage in stages)
    config = configuration(
        space.base, stages, least, (8,) * len(stages), residuals=2 * sum(least), bank_size=1
    )

    def cut(cost: Costs) -> tuple[float, ...]:
        return tuple(getattr(cost, name) for name in columns)

    def stage_choices(stage: int) -> tuple[StageChoice, ...]:
        return tuple(
            StageChoice(
                stage,
                channels,
                width,
                information.stages[stage].value(channels, width),
                cut(costs.of(parts.stage_layers(config, stage, channels, width))),
            )
            for channels in space.channel_counts(stage)
            for width in space.widths(channels)
        )

    banks = []
    for size in space.bank_sizes(stages):
        own = config if size else replace(config, bank_stages=())
        layers = (*parts.bank_layers(own, own.bank_stages, size), *parts.score_layers(own))
        banks.append((size, information.bank_value(own.bank_stages, size), costs.of(layers)))

    def heads(channels: int) -> list[HeadChoice]:
        residuals = residuals_for(channels)
        joined = costs.of(parts.selection_layers(config, channels, residuals))
        drawn = costs.of(parts.discriminator_layers(config, residuals, discriminator_width(residuals)))
        return [HeadChoice(residuals, size, value, cut(joined + drawn + bank)) for size, value, bank in banks]

    details = parts.detail_layers(config)
    backbone = parts.backbone_layers(config.backbone, stages[-1], config.input_size)
    fixed = costs.of((*backbone, *details))
    return StageSet(
        tuple(stage_choices(stage) for stage in stages),
        heads,
        cut(fixed + costs.fixed),
    )


def residuals_for(channels: int) -> int:
    """Residuals that the selection passes on of so many: RealNet's share, in multiples of 16."""
    wanted = 16 * max(1, round(_RESIDUAL_SHARE * channels / 16))
    return min(wanted, 2 * channels)


def _config(space: Space, candidate: Candidate) -> RealNetConfig:
    return configuration(
        space.base,
        [choice.stage for choice in candidate.stages],
        [choice.channels for choice in candidate.stages],
        [choice.width for choice in candidate.stages],
        residuals=candidate.head.residuals,
        bank_size=candidate.head.bank_size,
    )


def _columns(limits: Limits, costs: CostModel) -> dict[str, float]:
    """The costs that an allocation has to watch, and their limits: latency, and what else has one."""
    if not math.isinf(limits.memory_mb) and math.isnan(costs.fixed.memory_mb):
        raise UsageError(
            "--memory-mb: the target's table holds no memory, because the system that it was measured on "
            "does not tell. Leave the option out."
        )
    columns = {"ms": limits.latency_ms / (1.0 + costs.margin)}
    others = {"file_mb": limits.file_mb, "memory_mb": limits.memory_mb}
    return columns | {name: limit for name, limit in others.items() if not math.isinf(limit)}


def _rising(found: Sequence[_Found]) -> list[_Found]:
    """The networks that keep more than every quicker one, by rising latency."""
    best, rising = -1.0, []
    for one in sorted(found, key=lambda one: (one.candidate.costs[0], -one.kept)):
        if one.kept > best:
            best = one.kept
            rising.append(one)
    return rising


def _next(found: Sequence[_Found], now: _Found, upper_bounds: Sequence[float], costs: CostModel) -> str:
    later = now.candidate.costs[0] + 1.0 / (1.0 + costs.margin)
    if not math.isinf(upper_bounds[0]):
        later = upper_bounds[0] + 1.0 / (1.0 + costs.margin)
    better = best_within([one.candidate for one in found], (later, *upper_bounds[1:]))
    then = next(one for one in found if one.candidate is better)
    if then.kept <= now.kept:
        return "nothing: more channels would add no information"
    return (
        f"{now.kept:.1%} -> {then.kept:.1%} of the channel information: {_changes(now.config, then.config)}"
    )


def _changes(before: RealNetConfig, after: RealNetConfig) -> str:
    changes = []
    if before.input_size != after.input_size:
        changes.append(f"input {after.input_height} x {after.input_width}")
    old, new = (dict(zip(config.stages, config.channels, strict=True)) for config in (before, after))
    for stage in sorted({*old, *new}):
        if old.get(stage) != new.get(stage):
            changes.append(f"stage {stage}: {old.get(stage, 0)} -> {new.get(stage, 0)} channels")
    for stage, width in zip(after.stages, after.reconstruction_widths, strict=True):
        if old.get(stage) == new.get(stage):
            was = before.reconstruction_widths[before.stages.index(stage)]
            if was != width:
                changes.append(f"width of stage {stage}: {was} -> {width}")
    banks = [config.bank_size if config.bank_stages else 0 for config in (before, after)]
    if banks[0] != banks[1]:
        changes.append(f"bank: {banks[0]} -> {banks[1]} features")
    return "; ".join(changes)


def _notes(
    information: ChannelInformation, found: Sequence[_Found], limits: Limits, costs: CostModel
) -> Iterator[str]:
    for stage, reason in information.useless.items():
        yield f"stage {stage} is not used: {reason}"
    slowest = max(one.candidate.costs[0] for one in found) * (1.0 + costs.margin)
    if math.isinf(limits.latency_ms) or limits.latency_ms < slowest:
        return
    if limits.latency_ms >= _FAR_BEYOND * slowest:
        yield (
            f"{limits.latency_ms:g} ms is {limits.latency_ms / slowest:.0f} times what the largest network "
            f"takes. If {limits.latency_ms:g} was meant in microseconds, ask for "
            f"--latency-ms {limits.latency_ms / _WRONG_UNIT:g}"
        )
    else:
        yield f"the best network takes {slowest:.2f} ms: the budget is not used up"


def _unreachable(
    found: Sequence[_Found], costs: CostModel, limits: Limits, upper_bounds: Sequence[float]
) -> str:
    """What the least is within the other limits, and the part that holds it there."""
    if not found:
        return (
            "No network is within --model-mb and --memory-mb, whatever its latency. Ask for more of them, or "
            "for another backbone."
        )
    least = min(found, key=lambda one: one.candidate.costs[0])
    promised = least.candidate.costs[0] * (1.0 + costs.margin)
    prediction = costs.predict(least.config)
    part = max(prediction.parts_ms, key=lambda name: prediction.parts_ms[name])
    share = prediction.parts_ms[part] / prediction.total_ms
    hint = ""
    slowest = max(one.candidate.costs[0] for one in found)
    if promised <= _WRONG_UNIT * limits.latency_ms <= _FAR_BEYOND * slowest:
        hint = (
            f" {limits.latency_ms:g} looks like seconds: ask for --latency-ms "
            f"{_WRONG_UNIT * limits.latency_ms:g}."
        )
    stages, channels = (", ".join(map(str, n)) for n in (least.config.stages, least.config.channels))
    return (
        f"No network takes {limits.latency_ms:g} ms or less there. The least is {promised:.2f} ms (predicted "
        f"{prediction.total_ms:.2f} ms, and the prediction's margin): stages {stages}, channels {channels}. "
        f"{prediction.parts_ms[part]:.2f} ms of it, {share:.0%}, is the {part}.{hint} Ask for more time, "
        "allow a smaller input with --input-sizes, or take a quicker backbone or mode."
    )
