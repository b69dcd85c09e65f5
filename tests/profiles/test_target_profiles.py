"""Figures of device profiles: each with its source, none missing, none impossible."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgead.errors import UnknownNameError, UsageError
from edgead.profiles.figures import BASES
from edgead.profiles.target import MODE_FIGURES, Target, list_targets, read_target

GOOD = """
description = "mine"
engine = "tensorrt"
precisions = ["int8", "f16"]
default_mode = "fast"
[sources]
sheet = "my datasheet"
[device]
memory_mb = { value = 8000, basis = "published", source = "sheet" }
[channel_multiple]
int8 = { value = 32, basis = "published", source = "sheet" }
[modes.fast]
description = "no cap"
clock_mhz = { value = 1000, basis = "published", source = "sheet" }
int8_tops = { value = 30, basis = "derived", source = "sheet" }
f32_tflops = { value = 2, basis = "derived", source = "sheet" }
bandwidth_gb_per_s = { value = 100, basis = "published", source = "sheet" }
[table]
anything = [1, 2, 3]
"""
CLOCK = 'clock_mhz = { value = 1000, basis = "published", source = "sheet" }\n'
PACKAGED = list_targets()


def read(folder: Path, text: str) -> Target:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return read_target(path)


def test_a_whole_profile(tmp_path: Path):
    target = read(tmp_path, GOOD)
    assert target.mode().value("clock_mhz") == 1000
    assert target.mode("fast").figures["int8_tops"].basis == "derived"
    assert target.multiple_of_channels("int8") == 32
    assert target.multiple_of_channels("f16") == 1
    assert target.table == {"anything": [1, 2, 3]}
    assert not target.run_on_device


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("value = 30", "value = -30", "int8_tops: expected a number above zero", id="negative"),
        pytest.param("value = 30", "value = 0", "above zero, found 0", id="zero"),
        pytest.param("value = 30", "value = nan", "above zero, found nan", id="not a number"),
        pytest.param("value = 30", "value = inf", "above zero, found inf", id="infinite"),
        pytest.param("value = 30", "value = true", "above zero, found True", id="boolean"),
        pytest.param("value = 30", 'value = "30"', "above zero, found '30'", id="text"),
        pytest.param("value = 30, ", "", "int8_tops: missing 'value'", id="no value"),
        pytest.param('value = 30, basis = "derived", source', "source", "missing 'basis'", id="no basis"),
        pytest.param('basis = "derived"', 'basis = "derive"', "Did you mean derived", id="unknown basis"),
        pytest.param('"derived", source = "sheet"', '"derived"', "missing 'source'", id="no source"),
        pytest.param(
            'sheet = "my', 'sheets = "my', "Unknown source.*Did you mean sheets", id="no such source"
        ),
        pytest.param(CLOCK, "", "fast: missing 'clock_mhz'", id="figure missing"),
        pytest.param(CLOCK, "clock_mhz = 1000\n", "clock_mhz: expected { value", id="bare number"),
        pytest.param("int8_tops", "int8_top", "unknown key 'int8_top'.*'int8_tops'", id="unknown figure"),
        pytest.param('= "fast"', '= "fst"', "Unknown mode.*Did you mean fast", id="unknown default"),
        pytest.param('default_mode = "fast"', "", "expected one of the modes fast", id="no default"),
        pytest.param("value = 32", "value = 32.5", "expected a whole number", id="half a channel"),
        pytest.param("int8 = {", "int9 = {", "unknown key 'int9'", id="multiple of no precision"),
        pytest.param("[table]\nanything =", "table =", "table", id="table of another type"),
        pytest.param(
            "[modes.fast]", "[modes]\nx = 1\n[modes.fast]", "x: expected a table", id="mode no table"
        ),
        pytest.param("[sources]", "run_on_device = 1\n[sources]", "true or false", id="not a boolean"),
    ],
)
def test_what_a_profile_is_refused_for(tmp_path: Path, old: str, new: str, message: str):
    assert old in GOOD
    with pytest.raises(UsageError, match=message):
        read(tmp_path, GOOD.replace(old, new))


def test_modes_asked_for(tmp_path: Path):
    with pytest.raises(UnknownNameError, match=r"mode of target mine 'fas'.*Did you mean fast"):
        read(tmp_path, GOOD).mode("fas")
    with pytest.raises(UsageError, match=r"no power modes.*targets measure"):
        read_target("cpu").mode()


@pytest.mark.parametrize("target", PACKAGED, ids=lambda target: target.name)
def test_every_packaged_figure_has_a_source_that_is_listed(target: Target):
    figures = [*target.device.values(), *target.channel_multiple.values()]
    figures += [figure for mode in target.modes.values() for figure in mode.figures.values()]
    assert {figure.source for figure in figures} <= set(target.sources)
    assert {figure.basis for figure in figures} <= set(BASES)


@pytest.mark.parametrize("target", [t for t in PACKAGED if t.modes], ids=lambda target: target.name)
def test_peaks_are_plausible(target: Target):
    """Narrower numbers are never slower, and matrix units never slower than plain arithmetic."""
    for mode in target.modes.values():
        assert set(mode.figures) <= set(MODE_FIGURES)
        peaks = [mode.peak_tops(precision) for precision in ("int8", "f16", "f32")]
        assert peaks == sorted(peaks, reverse=True)
        assert mode.peak_tops("f32") >= mode.peak_tops("f32", matrix_units=False)


@pytest.mark.parametrize(
    "name", ["jetson-orin", "jetson-orin-nx", "jetson-orin-nano", "jetson-orin-nano-super"]
)
def test_the_peaks_of_orins_follow_from_clock_and_units(name: str):
    """4 tensor cores of 1024 INT8 operations and 128 CUDA cores of 2 in each unit, per clock."""
    for mode in read_target(name).modes.values():
        cycles = mode.value("clock_mhz") * mode.figures["units"].value / 1e6
        assert mode.peak_tops("int8") == pytest.approx(4 * 1024 * cycles, rel=1e-3)
        assert mode.peak_tops("f32", matrix_units=False) == pytest.approx(2 * 128 * cycles, rel=1e-3)


def test_the_devices_that_are_promised():
    jetsons = ("nano", "xavier-nx", "agx-xavier", "orin-nano", "orin-nano-super", "orin-nx", "orin", "thor")
    promised = {f"jetson-{name}" for name in jetsons} | {f"nvidia-cc{number}" for number in (75, 80, 86, 89)}
    assert promised | {"intel-cpu", "intel-igpu", "arm-cpu", "cpu"} <= {target.name for target in PACKAGED}
