"""Entry points of other packages: found by group, loaded when used, never in place of edgead's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgead.errors import UsageError
from edgead.plugins import entries, load

GROUP = "edgead.test_group"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a package with one module and entry points of GROUP on the path."""

    def install(package: str, points: str, source: str = "THING = 'a thing'\n") -> None:
        folder = tmp_path / package
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{package}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n")
        monkeypatch.syspath_prepend(str(folder))

    yield install
    for name in ("plugin_a", "plugin_b"):
        sys.modules.pop(name, None)


def test_without_plugins_there_are_none():
    assert entries(GROUP) == {}


def test_a_plugin_is_found_and_loaded_when_used(install):
    install("plugin_a", "thing = plugin_a:THING")
    found = entries(GROUP, built_in=("other",))
    assert list(found) == ["thing"]
    assert "plugin_a" not in sys.modules
    assert load(found["thing"], str) == "a thing"


def test_a_name_of_edgead_is_not_replaced(install):
    install("plugin_a", "thing = plugin_a:THING")
    with pytest.raises(UsageError, match=r"plugin_a adds 'thing' to edgead.test_group, a name that edgead"):
        entries(GROUP, built_in=("thing",))


def test_two_packages_with_one_name_are_refused(install):
    install("plugin_a", "thing = plugin_a:THING")
    install("plugin_b", "thing = plugin_b:THING")
    with pytest.raises(UsageError, match=r"plugin_\w and the package plugin_\w both add 'thing'"):
        entries(GROUP)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("raise OSError('no library')\n", r"loaded \(OSError: no library\)", id="fails"),
        pytest.param("OTHER = 1\n", r"loaded \(AttributeError", id="not there"),
        pytest.param("THING = 1\n", "must be a str for edgead.test_group, found a int", id="other kind"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named(install, source: str, message: str):
    install("plugin_a", "thing = plugin_a:THING", source)
    with pytest.raises(UsageError, match=rf"'thing' \(plugin_a:THING\) of the package plugin_a.*{message}"):
        load(entries(GROUP)["thing"], str)
