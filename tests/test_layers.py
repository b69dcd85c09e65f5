"""The rule of layers, read from the source: who may import whom."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "edgead"
FREE = {"errors"}
TRAINING_SIDE = {
    "torch",
    "torchvision",
    "onnx",
    "nncf",
    "sklearn",
    "scipy",
    "safetensors",
    "matplotlib",
    "jinja2",
}

# part of edgead -> the parts that it may import, beside itself and errors; the rest is not restricted.
ALLOWED = {
    "errors": set(),
    "image_headers": set(),
    "files": set(),
    "images": {"image_headers", "files"},
    "data": set(),
    "bundle": {"files"},
    "runtime": {"", "bundle", "files", "images", "data"},
}
FORBIDDEN = {part: {"compile", "runtime", "cli"} for part in ("datasets", "synthesis", "models", "training")}
FORBIDDEN["metrics"] = {"compile", "runtime", "cli", "models", "training"}
FORBIDDEN["compile"] = FORBIDDEN["report"] = {"cli"}
LEAN = ["errors", "files", "image_headers", "images", "data", "bundle", "runtime"]


def sources(part: str) -> list[Path]:
    module = PACKAGE / f"{part}.py"
    return [module] if module.is_file() else sorted((PACKAGE / part).rglob("*.py"))


def imports(part: str) -> Iterator[tuple[str, str]]:
    """(module imported, where) for each import of a part, those inside functions included."""
    for path in sources(part):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from ((alias.name, where) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{where}: relative import"
                yield from _imported_from(node, where)


def _imported_from(node: ast.ImportFrom, where: str) -> Iterator[tuple[str, str]]:
    if node.module == "edgead":  # from edgead import images: the part is in the names
        yield from (
            (f"edgead.{alias.name}" if (PACKAGE / alias.name).is_dir() else "edgead", where)
            for alias in node.names
        )
    else:
        yield node.module or "", where


def parts_imported(part: str) -> Iterator[tuple[str, str]]:
    for module, where in imports(part):
        if module.partition(".")[0] == "edgead":
            yield module.partition(".")[2].partition(".")[0], where


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_the_lean_parts_import_only_what_lies_below(part: str):
    allowed = ALLOWED[part] | FREE | {part}
    assert [where for imported, where in parts_imported(part) if imported not in allowed] == []


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_training_never_imports_what_lies_above(part: str):
    assert [where for imported, where in parts_imported(part) if imported in FORBIDDEN[part]] == []


@pytest.mark.parametrize("part", LEAN)
def test_the_lean_parts_need_no_training_library(part: str):
    assert [where for module, where in imports(part) if module.partition(".")[0] in TRAINING_SIDE] == []


def test_the_bundle_needs_only_numpy():
    roots = {module.partition(".")[0] for module, _ in imports("bundle")}
    assert roots - set(sys.stdlib_module_names) <= {"numpy", "edgead", "__future__"}


@pytest.mark.parametrize(
    "modules",
    [
        pytest.param({"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}, id="unpickles"),
        # Copying a process that holds an engine and its threads has ended in a crash of that process.
        pytest.param({"subprocess", "multiprocessing", "pty"}, id="starts programs"),
    ],
)
def test_nothing(modules: set[str]):
    parts = sorted({path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")})
    found = [(module, where) for part in parts for module, where in imports(part) if module in modules]
    assert found == []
