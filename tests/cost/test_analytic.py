"""The analytic cost model: what it makes of layers, what moves a prediction, and the bar it has to meet."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.published_latencies import observations, predict_left_out, read_published_points, same_device
from edgead.cost.analytic import PUBLISHED, AnalyticModel, fuse, memory_mb
from edgead.cost.layers import Layer, layers_of
from edgead.cost.prediction import PUBLISHED_POINTS
from edgead.errors import UnknownNameError, UsageError
from edgead.models.realnet.config import RealNetConfig
from edgead.profiles.figures import Figure
from edgead.profiles.target import Mode, Target, read_target


def layer(
    kind: str = "conv",
    *,
    macs: int = 0,
    read: int = 100,
    written: int = 100,
    part: str = "p",
    weights: int = 0,
) -> Layer:
    return Layer(part, "name", kind, macs, weights, read, written)


def mode(**changed: float) -> Mode:
    values = {
        "clock_mhz": 1000.0,
        "int8_tops": 4.0,
        "f16_tflops": 2.0,
        "f32_tflops": 0.5,
        "bandwidth_gb_per_s": 10.0,
        **changed,
    }
    return Mode("m", "made up", {name: Figure(value, "derived", "s") for name, value in values.items()})


def target(**changed: float) -> Target:
    return Target("t", "made up", "tensorrt", ("int8", "f16"), default_mode="m", modes={"m": mode(**changed)})


MODEL = AnalyticModel(launch_cycles=1000, compute_share=0.5, memory_share=0.5)  # 1 us a launch at 1 GHz


class TestKernels:
    @pytest.mark.parametrize(
        ("kinds", "expected"),
        [
            pytest.param([], [], id="none"),
            pytest.param(["conv", "elementwise"], ["conv"], id="a sum joins its convolution"),
            pytest.param(["elementwise"] * 3, ["elementwise"], id="a chain is one kernel"),
            pytest.param(["pool", "elementwise"], ["pool", "elementwise"], id="not with a pool"),
            pytest.param(["conv", "activation"], ["conv", "activation"], id="SiLU has its own"),
            pytest.param(["conv", "conv"], ["conv", "conv"], id="two convolutions"),
        ],
    )
    def test_what_is_launched(self, kinds: list[str], expected: list[str]):
        assert [kernel.kind for kernel in fuse([layer(kind) for kind in kinds])] == expected

    def test_the_shortcut_is_read_as_well(self):
        (kernel,) = fuse([layer(read=300), layer("elementwise", read=200)])
        assert (kernel.input_bytes, kernel.output_bytes) == (400, 100)

    def test_other_parts_and_sizes_do_not_join(self):
        assert len(fuse([layer(), layer("elementwise", part="q")])) == 2
        assert len(fuse([layer(), layer("elementwise", written=50)])) == 2


class TestPrediction:
    def test_a_launch_alone(self):
        found = MODEL.predict([layer(read=0, written=0)], target(), precision="int8")
        assert found.total_ms == pytest.approx(1e-3)

    def test_arithmetic(self):
        """10^9 MACs are 2 x 10^9 operations: 1 ms at half of 4 x 10^12 a second."""
        found = MODEL.predict([layer(macs=10**9)], target(), precision="int8")
        assert found.total_ms == pytest.approx(1.001)

    def test_memory_traffic(self):
        """5 MB of FP16 at half of 10 GB/s."""
        found = MODEL.predict([layer(weights=500_000, read=10**6, written=10**6)], target(), precision="f16")
        assert found.total_ms == pytest.approx(1.001)

    def test_depthwise_convolutions_use_no_matrix_units(self):
        found = MODEL.predict([layer("depthwise", macs=10**8)], target(), precision="int8")
        assert found.total_ms == pytest.approx(0.801)

    def test_without_int8_units_the_rate_is_that_of_half_precision(self):
        figures = {name: figure for name, figure in mode().figures.items() if name != "int8_tops"}
        assert Mode("m", "d", figures).peak_tops("int8") == 2.0

    def test_what_it_rests_on(self):
        found = PUBLISHED.predict([layer(), layer(part="q")], read_target("jetson-orin"), precision="int8")
        assert (found.basis, found.relative_error) == (PUBLISHED_POINTS, PUBLISHED.relative_error)
        assert list(found.parts_ms) == ["p", "q"]
        assert sum(found.parts_ms.values()) == pytest.approx(found.total_ms)

    def test_memory_holds_weights_the_largest_layer_and_what_is_handed_on(self):
        layers = [
            layer(weights=1000, read=10, written=20),
            layer(read=20, written=500),
            layer(part="q", read=7),
        ]
        assert memory_mb(layers, "f32") == pytest.approx(4 * (1000 + 520 + 10 + 7) / 1e6)

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**7)), min_size=1, max_size=8),
        st.sampled_from(["clock_mhz", "int8_tops", "bandwidth_gb_per_s"]),
        st.floats(1.0, 100.0),
    )
    def test_a_better_device_is_never_slower(self, work: list[tuple[int, int]], figure: str, factor: float):
        layers = [layer(macs=macs, read=size) for macs, size in work]
        better = target(**{figure: mode().value(figure) * factor})
        before = MODEL.predict(layers, target(), precision="int8").total_ms
        assert MODEL.predict(layers, better, precision="int8").total_ms <= before * (1 + 1e-9)
        assert MODEL.predict([*layers, layer("pool")], target(), precision="int8").total_ms > before

    def test_a_lower_power_mode_is_slower(self):
        layers = layers_of(RealNetConfig())
        times = [
            PUBLISHED.predict(layers, read_target("jetson-orin"), mode=name, precision="int8").total_ms
            for name in ("MAXN", "50W", "30W", "15W")
        ]
        assert times == sorted(times)


class TestRefusals:
    def test_an_engine_without_published_points(self):
        with pytest.raises(UsageError, match="targets measure"):
            PUBLISHED.predict([layer()], read_target("cpu"), precision="int8")

    def test_a_precision_that_the_device_has_not(self):
        with pytest.raises(UnknownNameError, match="precision of target jetson-nano"):
            PUBLISHED.predict([layer()], read_target("jetson-nano"), precision="int8")

    def test_an_unknown_mode_gets_near_matches(self):
        with pytest.raises(UnknownNameError, match="Did you mean MAXN"):
            PUBLISHED.predict([layer()], read_target("jetson-orin"), mode="MAX", precision="int8")

    def test_no_layers(self):
        with pytest.raises(UsageError, match="no layers"):
            PUBLISHED.predict([], read_target("jetson-orin"), precision="int8")


class TestPublishedPoints:
    POINTS = read_published_points()

    def test_every_point_is_of_a_known_device_and_has_a_source(self):
        assert len(observations(self.POINTS)) == len(self.POINTS) > 60
        assert all(point.source and point.ms > 0 for point in self.POINTS)

    def test_the_numbers_in_the_code_are_those_of_the_fit(self):
        fitted = AnalyticModel.fit(observations(self.POINTS))
        for name in ("launch_cycles", "compute_share", "memory_share"):
            assert getattr(PUBLISHED, name) == pytest.approx(getattr(fitted, name), rel=0.002)

    def test_the_bar_on_devices_left_out(self):
        """AGX Orin, Orin NX and Orin Nano Super, each without a point of its own: 25 % at the median."""
        orins = [point for point in self.POINTS if point.target.startswith("jetson-orin")]
        answers = predict_left_out(orins, same_device)
        assert statistics.median(abs(answer.relative_error) for answer in answers) < 0.25

    def test_a_point_has_no_part_in_its_own_prediction(self):
        """A latency changed tenfold changes what is said of other devices, and not of its own."""
        orins = [point for point in self.POINTS if point.target.startswith("jetson-orin")]
        changed = [replace(p, ms=10 * p.ms) if p.target == "jetson-orin-nx" else p for p in orins]
        before = predict_left_out(orins, same_device)
        after = predict_left_out(changed, same_device)
        for old, new in zip(before, after, strict=True):
            is_same = new.predicted_ms == pytest.approx(old.predicted_ms, rel=1e-6)
            assert is_same == (old.point.target == "jetson-orin-nx")
