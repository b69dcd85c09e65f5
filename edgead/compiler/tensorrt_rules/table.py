"""The rules as data: versions of TensorRT, their operators, and what each rule forbids."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead.errors import UnknownNameError
from edgead.profiles import read_toml

REFUSE, SLOW = "refuse", "slow"
_FILE = Path(__file__).with_name("rules.toml")
_FIELDS = ("check", "level", "reason", "remedy", "source", "since", "before")


@dataclass(frozen=True)
class Version:
    """A version of TensorRT; `jetsons`: compute capabilities; `read`: whose table it is, if not its own."""

    name: str
    opset: tuple[int, int]
    jetsons: tuple[float, ...]
    operators: frozenset[str]
    source: str
    read: str = ""

    @property
    def number(self) -> tuple[int, ...]:
        return number(self.name)


@dataclass(frozen=True)
class Rule:
    """What is forbidden from version `since` on and before `before`; `settings` are those of its check."""

    name: str
    check: str
    level: str
    reason: str
    remedy: str
    source: str
    since: str
    before: str
    settings: Mapping[str, Any]

    def holds_for(self, version: Version) -> bool:
        """Whether this version has the rule."""
        after = not self.since or version.number >= number(self.since)
        return after and (not self.before or version.number < number(self.before))


def number(name: str) -> tuple[int, ...]:
    """ "10.13" -> (10, 13): versions compare as numbers, not as text."""
    return tuple(int(part) for part in name.split("."))


@functools.cache
def versions() -> dict[str, Version]:
    """The versions that the table knows, oldest first."""
    tables = read_toml(_FILE)
    return {
        name: Version(
            name,
            opset=(entry["opset"][0], entry["opset"][1]),
            jetsons=tuple(float(value) for value in entry["jetsons"]),
            operators=frozenset(op for column in entry["operators"] for op in tables["operators"][column]),
            source=tables["sources"][entry["source"]],
            read=entry.get("read", ""),
        )
        for name, entry in tables["versions"].items()
    }


@functools.cache
def rules() -> tuple[Rule, ...]:
    """Every rule, in the order of the file."""
    tables = read_toml(_FILE)
    return tuple(
        Rule(
            name,
            **{field: entry.get(field, "") for field in _FIELDS if field != "source"},
            source=tables["sources"][entry["source"]],
            settings={key: value for key, value in entry.items() if key not in _FIELDS},
        )
        for name, entry in tables["rules"].items()
    )


def find_version(name: str) -> Version:
    """A version by name; patch numbers are left out, so that "10.3.0" is "10.3". Raises UnknownNameError."""
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})(\.\d{1,9}){0,3}", name.strip())
    short = f"{found[1]}.{found[2]}" if found else name
    if short not in versions():
        raise UnknownNameError("TensorRT version", name, versions())
    return versions()[short]


def versions_of(compute_capability: float | None) -> tuple[Version, ...]:
    """The versions that a device may have: those of its JetPacks for a Jetson, all for another GPU."""
    known = tuple(versions().values())
    jetsons = {value for version in known for value in version.jetsons} | OLD_JETSONS.keys()
    if compute_capability is None or compute_capability not in jetsons:
        return known
    return tuple(version for version in known if compute_capability in version.jetsons)


# Jetsons whose last JetPack has a TensorRT before the first one of the table.
OLD_JETSONS = {5.3: "JetPack 4 with TensorRT 8.2 and Python 3.6"}
