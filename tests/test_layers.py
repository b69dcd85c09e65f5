"""The rule of layers, read from the source: every package is listed and imports what lies below it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "edgead"

# From the ground up: package or module -> the others that it may import.
GROUND = {
    "engines",
    "errors",
    "files",
    "installation",
    "map_and_score",
    "plugins",
    "records",
    "usage_statistics",
    "version",
}
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "map_and_score": set(),
    "version": set(),
    "usage_statistics": set(),
    "installation": set(),
    "plugins": {"errors"},
    "engines": {"errors", "installation", "plugins"},
    "image_headers": set(),
    "files": {"errors"},
    "records": {"errors", "files"},
    "images": GROUND | {"image_headers"},
    "picture_files": {"images"},
    "metrics": GROUND,
    "profiles": GROUND,
    "device": GROUND | {"profiles"},
    "bundle": GROUND,
    # training
    "datasets": GROUND | {"images", "picture_files", "profiles"},
    "models": GROUND,
    "learning": GROUND,
    "evaluation": GROUND | {"datasets", "images", "metrics"},
    "synthesis": GROUND | {"datasets", "images", "picture_files", "learning", "models"},
    "training": GROUND
    | {"bundle", "datasets", "evaluation", "images", "learning", "metrics", "models", "synthesis"},
    # the line
    "runtime": GROUND | {"bundle", "device", "images", "profiles"},
    "web": GROUND | {"bundle", "images", "runtime"},
    "cameras": GROUND | {"images", "picture_files"},
    "verdicts": GROUND | {"cameras", "runtime", "web"},
    "inspection": GROUND | {"cameras", "images", "picture_files", "runtime", "verdicts", "web"},
    "bench": GROUND | {"bundle", "device", "images", "runtime", "web"},
    # both
    "compiler": GROUND
    | {
        "bundle",
        "datasets",
        "device",
        "evaluation",
        "images",
        "metrics",
        "models",
        "profiles",
        "runtime",
        "synthesis",
    }
    | {"training"},
    "cost": GROUND | {"bundle", "compiler", "device", "models", "profiles", "runtime"},
    "allocation": GROUND | {"cost", "datasets", "learning", "models", "profiles", "synthesis", "training"},
    "report": GROUND | {"bench", "bundle", "datasets", "evaluation", "images", "metrics", "runtime"},
}
EVERYTHING = set(LAYERS)
LAYERS["api"] = EVERYTHING
LAYERS["demo"] = EVERYTHING | {"api"}
LAYERS["cli"] = EVERYTHING | {"api", "demo"}
LAYERS["__main__"] = {"cli"}

# What a line's PC has: nothing here may need a training library.
LEAN = (
    *(
        "errors",
        "map_and_score",
        "image_headers",
        "files",
        "records",
        "images",
        "profiles",
        "device",
        "bundle",
    ),
    *("runtime", "web", "cameras", "verdicts", "inspection", "bench"),
)
TRAINING_LIBRARIES = {
    *("torch", "torchvision", "onnx", "nncf", "sklearn", "scipy", "safetensors", "matplotlib", "jinja2"),
}


def sources(part: str) -> list[Path]:
    module = PACKAGE / f"{part}.py"
    return [module] if module.is_file() else sorted((PACKAGE / part).rglob("*.py"))


def modules() -> dict[str, Path]:
    """Every module of edgead by its dotted name."""
    named = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


MODULES = modules()


def _nodes(path: Path) -> Iterator[ast.AST]:
    """All of a file; of edgead/__init__.py, which loads its names on first use, not what types alone need."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    is_face = path == PACKAGE / "__init__.py"
    tree.body = [n for n in tree.body if not (is_face and ast.unparse(n).startswith("if TYPE_CHECKING"))]
    return ast.walk(tree)


def imports_of(path: Path) -> Iterator[tuple[str, str, str]]:
    """(module, name imported from it or "", where) of each import, those inside functions included."""
    for node in _nodes(path):
        where = f"{path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner, "", where) if inner in MODULES else (node.module or "", alias.name, where)


IMPORTS = {name: list(imports_of(path)) for name, path in MODULES.items()}


def part_of(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def imports(part: str) -> Iterator[tuple[str, str, str]]:
    for name, found in IMPORTS.items():
        if part_of(name) == part:
            yield from found


def test_every_package_is_listed():
    assert {part_of(name) for name in MODULES} - {""} == set(LAYERS)


def test_no_arrow_points_up():
    order = list(LAYERS)
    for part, allowed in LAYERS.items():
        assert {other for other in allowed if order.index(other) >= order.index(part)} == set()


@pytest.mark.parametrize("part", LAYERS)
def test_a_package_imports_only_what_it_may(part: str):
    face = {""} if part in ("cli", "demo", "__main__") else set()  # edgead itself, which stands on the others
    allowed = LAYERS[part] | {part} | face
    inside = [(module, where) for module, _, where in imports(part) if module.partition(".")[0] == "edgead"]
    assert [where for module, where in inside if part_of(module) not in allowed] == []


def test_edgead_itself_imports_next_to_nothing():
    inside = [module for module, _, _ in IMPORTS["edgead"] if module.startswith("edgead")]
    assert set(inside) == {"edgead.usage_statistics", "edgead.version"}


def test_no_file_imports_itself_by_way_of_others():
    graph = {
        name: {module for module, _, _ in found if module in MODULES and module != name}
        for name, found in IMPORTS.items()
    }
    while True:  # take away, again and again, the files that import no file that is left
        leaves = {name for name, targets in graph.items() if not targets & set(graph)}
        if not leaves:
            break
        graph = {name: targets for name, targets in graph.items() if name not in leaves}
    assert sorted(graph) == []


def test_no_private_name_crosses_a_package():
    crossing = [
        where
        for name, found in IMPORTS.items()
        for module, imported, where in found
        if module.partition(".")[0] == "edgead" and part_of(module) != part_of(name)
        for word in (imported, module.rpartition(".")[2])
        if word.startswith("_") and not word.startswith("__")
    ]
    assert crossing == []


@pytest.mark.parametrize("part", LEAN)
def test_the_lean_parts_need_no_training_library(part: str):
    found = [where for module, _, where in imports(part) if module.partition(".")[0] in TRAINING_LIBRARIES]
    assert found == []


def test_the_bundle_needs_no_engine_and_no_picture_library():
    roots = {module.partition(".")[0] for module, _, _ in imports("bundle")}
    signing = {"cryptography"}  # imported where keys are trusted, and to sign
    assert roots - set(sys.stdlib_module_names) - signing <= {"numpy", "msgspec", "edgead", "__future__"}


@pytest.mark.parametrize(
    "forbidden",
    [
        pytest.param({"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}, id="unpickles"),
        # Copying a process that holds an engine and its threads has ended in a crash of that process.
        pytest.param({"subprocess", "multiprocessing", "pty"}, id="starts programs"),
    ],
)
def test_nothing(forbidden: set[str]):
    found = [
        (module, where) for found in IMPORTS.values() for module, _, where in found if module in forbidden
    ]
    assert found == []
