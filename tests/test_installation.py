"""How edgead is installed is said in one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edgead
from edgead import installation
from edgead.installation import how_to_install

PACKAGE = Path(edgead.__file__).parent


def test_no_other_file_spells_the_command():
    spelt = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"pip install '?\"?(edgead|\.)\[", path.read_text(encoding="utf-8"))
    ]
    assert spelt == []


@pytest.mark.parametrize(
    ("is_there", "expected"),
    [(False, "pip install '.[train]' (in a clone of edgead)"), (True, "pip install 'edgead[train]'")],
)
def test_the_command_is_of_what_exists(is_there: bool, expected: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installation, "ON_THE_INDEX", is_there)
    assert how_to_install("train") == expected
