"""Targets as data: found by name and by path, and refused with the key at fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgead.engines import engines
from edgead.errors import DataError, EdgeadError, UnknownNameError, UsageError
from edgead.profiles import list_data, read_data
from edgead.profiles.target import Target, list_targets, read_target

GOOD = 'description = "mine"\nengine = "openvino"\nprecisions = ["int8"]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_packaged_target_is_valid():
    names = [target.name for target in list_targets()]
    assert names == sorted(names)
    assert {"intel-cpu", "cpu"} <= set(names)


def test_every_engine_may_be_named():
    assert {target.engine for target in list_targets()} <= set(engines())


def test_a_users_own_file(tmp_path: Path):
    assert read_target(write(tmp_path, GOOD)) == Target("mine", "mine", "openvino", ("int8",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "missing 'description'", id="empty"),
        pytest.param("x = =", "not valid TOML.*line 1", id="not toml"),
        pytest.param(GOOD + "precison = 1\n", "unknown key 'precison'.*'precisions'", id="unknown key"),
        pytest.param(GOOD.replace("openvino", "openvno"), "Did you mean openvino", id="unknown engine"),
        pytest.param(GOOD.replace('["int8"]', '"int8"'), "distinct names", id="not a list"),
        pytest.param(GOOD.replace('["int8"]', "[]"), "distinct names", id="no precision"),
        pytest.param(GOOD.replace('["int8"]', '["int8", "int8"]'), "distinct names", id="twice"),
        pytest.param(GOOD.replace('["int8"]', '["int9"]'), "Did you mean int8", id="unknown precision"),
        pytest.param(GOOD.replace('"mine"', "3"), "description: expected text", id="not text"),
        pytest.param(GOOD + "options = 1\n", "options: expected a table", id="options not a table"),
        pytest.param(GOOD + "[options]\nx = 1\n", "options: unknown key 'x'", id="unknown option"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str):
    with pytest.raises(UsageError, match=message):
        read_target(write(tmp_path, text))


def test_a_missing_file_names_the_packaged_ones(tmp_path: Path):
    with pytest.raises(DataError, match=r"absent\.toml: cannot be read as a target .*intel-cpu"):
        read_target(tmp_path / "absent.toml")


def test_not_utf_8(tmp_path: Path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(EdgeadError, match="not valid TOML"):
        read_data("targets", path)


def test_brackets_without_end(tmp_path: Path):
    with pytest.raises(UsageError, match="not valid TOML"):
        read_target(write(tmp_path, GOOD + "x = " + "[" * 20_000))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero on this system")
def test_a_file_without_end(tmp_path: Path):
    (tmp_path / "endless.toml").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"too large for a target: expected at most 4 MiB"):
        read_target(tmp_path / "endless.toml")


def test_unknown_kinds_and_names():
    with pytest.raises(UnknownNameError, match="Did you mean targets"):
        list_data("target")
    with pytest.raises(UnknownNameError, match=r"Unknown target 'intel'.*intel-cpu"):
        read_data("targets", "intel")


def test_an_installed_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In a wheel the files lie in edgead/profiles/targets, not beside the package."""
    import edgead.profiles

    folder = tmp_path / "targets"
    folder.mkdir()
    write(folder, GOOD)
    monkeypatch.setattr(edgead.profiles.resources, "files", lambda package: tmp_path)
    assert list_data("targets") == ("mine",)
    assert read_target("mine").engine == "openvino"
