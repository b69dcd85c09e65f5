"""The parts listed by arithmetic are those of the network itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.cost import compact_layers as parts
from edgead.cost.layers import Layer, layers_of
from edgead.models.realnet.config import RealNetConfig

CHANNELS = {1: 24, 2: 40, 3: 112, 4: 320}


@st.composite
def configs(draw: st.DrawFn) -> RealNetConfig:
    stages = tuple(sorted(draw(st.sets(st.sampled_from((1, 2, 3, 4)), min_size=1))))
    budgets = tuple(draw(st.integers(2, CHANNELS[stage])) for stage in stages)
    base = RealNetConfig().with_choices(
        stages=stages, channels=budgets, input_size=draw(st.sampled_from([(128, 128), (128, 192)]))
    )
    most = sum(budgets)
    return replace(
        base,
        reconstruction_widths=tuple(draw(st.integers(1, 64)) for _ in stages),
        residual_count=draw(st.sampled_from([0, *range(4, 2 * most + 1, 2)])),
        discriminator_width=draw(st.integers(1, 64)),
        bank_stages=draw(st.sampled_from([(), base.bank_stages])),
        bank_size=draw(st.integers(1, 5000)),
        bank_density=draw(st.booleans()),
        detail_stages=tuple(sorted(draw(st.sets(st.sampled_from(stages))))),
        detail_size=draw(st.integers(1, 3000)),
        grid_stage=draw(st.sampled_from(stages)),
    )  # fmt: skip


def counted(layers: tuple[Layer, ...]) -> Counter[tuple[str, str, int, int, int]]:
    return Counter((x.part, x.kind, x.macs, x.input_bytes, x.output_bytes) for x in layers)


@settings(max_examples=10, deadline=None)
@given(configs())
def test_parts_by_arithmetic_are_those_of_the_network(config: RealNetConfig):
    wanted = counted(layers_of(config))
    found = counted(parts.network_layers(config))
    assert found - wanted == Counter()
    assert wanted - found == Counter()
