"""ARCHITECTURE.md is true: what it names exists, its paths run downward, its extension points are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_layers import LAYERS, PACKAGE, part_of

ROOT = PACKAGE.parent
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`((?:edgead|tests|targets|benchmarks|docs)/[\w/.]*)(?::([\w.]+))?`", PAGE)))
PATHS = {
    title: re.findall(r"^\d+\. `(edgead/[\w/]+\.py):([\w.]+)`", text, flags=re.MULTILINE)
    for title, text in re.findall(r"^### (.+?)\n(.*?)(?=^##)", PAGE, flags=re.MULTILINE | re.DOTALL)
}
(TASKS,) = re.findall(r"^## Eight tasks\n(.*?)(?=^## )", PAGE, flags=re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| (an? .+?) \| (.+) \| (.+) \|$", TASKS, flags=re.MULTILINE)


def names_in(path: Path) -> set[str]:
    """Classes, functions, methods and constants of a file, methods as Class.method."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)
            }
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize(("place", "name"), PLACES, ids=[":".join(filter(None, p)) for p in PLACES])
def test_what_it_names_exists(place: str, name: str):
    path = ROOT / place
    assert path.exists()
    if name:
        assert name in names_in(path)


def test_every_package_is_on_the_map():
    table = PAGE.partition("## The map")[2].partition("## Four paths")[0]
    named = {match.removesuffix(".py") for match in re.findall(r"`edgead/(\w+(?:\.py)?)`", table)}
    assert set(LAYERS) - {"__main__", "image_headers"} <= named


@pytest.mark.parametrize("title", PATHS)
def test_a_path_has_no_way_back_up(title: str):
    """Each step may be called by an earlier one: it stands in a package that one of theirs may import."""
    steps = PATHS[title]
    assert len(steps) >= 5
    parts = [part_of(place.removesuffix(".py").replace("/", ".")) for place, _ in steps]
    for number, part in enumerate(parts[1:], start=1):
        above = parts[:number]
        assert any(part == other or part in LAYERS[other] for other in above), steps[number]
        order = list(LAYERS)
        assert order.index(part) <= max(order.index(other) for other in above), steps[number]


def test_there_are_four_paths_and_eight_tasks():
    assert len(PATHS) == 4
    assert len(ROWS) == 8


@pytest.mark.parametrize(("task", "recipe", "holds"), ROWS, ids=[row[0] for row in ROWS])
def test_a_task_names_its_place_and_its_test(task: str, recipe: str, holds: str):
    assert re.search(r"`(edgead|targets)/[\w/.]*", recipe), task
    assert re.search(r"`tests/[\w/.]+\.py`", holds), task


def test_engine_names_stand_in_one_place():
    """An engine's name in a comparison or a table elsewhere would be a second list to keep."""
    from edgead.engines import BUILT_IN

    allowed = {"edgead/engines.py", "edgead/compiler/preparation.py"}
    own = re.compile(r"edgead/(runtime/engines|device|bench/doctor|compiler/(quantize|answers|pipeline))")
    compared = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(ROOT).as_posix()
        if place in allowed or own.match(place):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            values = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            if any(isinstance(value, ast.Constant) and value.value in BUILT_IN for value in values):
                compared.append(f"{place}:{node.lineno}")
    assert compared == []
