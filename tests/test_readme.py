"""What the README and the pages of docs tell people to type exists: commands, options, files, Python."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from edgead.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES = tuple(page for page in PAGES if page.is_file())
MEASUREMENTS = ROOT / "docs" / "measurements.md"
WITHDRAWN_ON = ("measurements.md", "budget.md", "jetson.md", "many_products.md", "synthesis.md")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the text of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), flags=re.MULTILINE | re.DOTALL)


def commands(first: str) -> list[str]:
    """The lines of all pages that call a program, each once."""
    lines = []
    for page in PAGES:
        for language, block in blocks(page):
            if language == "sh":
                lines += block.replace("\\\n", " ").splitlines()
        lines += re.findall(rf"`({first} [^`\n]+)`", text_of(page))
    lines = [line.split("  #")[0].split(" # ")[0].strip() for line in lines]
    return list(dict.fromkeys(line for line in lines if line.split()[:1] == [first]))


@pytest.mark.parametrize("line", commands("edgead"))
def test_every_edgead_command_parses(line: str):
    name, *arguments = shlex.split(line)[1:]
    if name.startswith("--"):
        assert name in {option for parameter in main.params for option in parameter.opts}
        return
    assert name in COMMANDS
    context = click.Context(main)
    command = main.get_command(context, name)
    assert command is not None
    if arguments == ["--help"] or "..." in arguments:
        return
    if "NAME" in arguments and isinstance(command, click.Group):
        return
    if all(argument.startswith("--") for argument in arguments):  # options alone are a mention, no call
        assert set(arguments) <= {option for parameter in command.params for option in parameter.opts}
    else:
        command.make_context(name, list(arguments), parent=context)


@pytest.mark.parametrize("line", commands("make"))
def test_every_make_target_exists(line: str):
    makefile = text_of(ROOT / "Makefile")
    for target in (word for word in shlex.split(line)[1:] if "=" not in word):
        assert re.search(rf"^{re.escape(target)}:.*## ", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("line", [line for line in commands("python") if not line.startswith("python -m")])
def test_every_script_exists_and_knows_its_options(line: str):
    script, *arguments = shlex.split(line)[1:]
    text = text_of(ROOT / script)
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert f'"{option}' in text, option


@pytest.mark.parametrize("page", [README, MEASUREMENTS], ids=lambda page: page.name)
def test_options_named_in_the_text_exist(page: Path):
    options = set(re.findall(r"(?<=`)--[a-z-]+", text_of(page)))
    folders = [ROOT / "edgead" / "cli", ROOT / "benchmarks"]
    known = {
        option
        for folder in folders
        for path in folder.glob("*.py")
        for option in re.findall(r'"(--[a-z-]+)', text_of(path))
    }
    assert options <= known


@pytest.mark.parametrize(
    "block",
    [
        block
        for page in PAGES
        for language, block in blocks(page)
        if language == "python" and "setuptools" not in block
    ],
)
def test_python_parses_and_its_imports_exist(block: str):
    tree = ast.parse(block)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert imports
    names: dict[str, object] = {}
    exec(compile(ast.Module(imports, []), "page", "exec"), names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "edgead":
            assert hasattr(names["edgead"], node.attr), node.attr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_and_named_files_exist(page: Path):
    text = text_of(page)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`((?:edgead|tests|docs|benchmarks|examples|targets|calibration)/[\w/.*-]+)`", text)
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


@pytest.mark.parametrize("name", WITHDRAWN_ON)
def test_figures_of_the_leaking_split_are_withdrawn(name: str):
    words = " ".join(text_of(ROOT / "docs" / name).replace(">", " ").split())
    assert re.search(r"magnetic tiles.{0,250}withdrawn|[Ww]ithdrawn.{0,250}magnetic tiles", words)


def test_the_readme_is_short():
    assert len(text_of(README).splitlines()) <= 150


def test_the_folders_of_the_layout_exist():
    (layout,) = [block for language, block in blocks(README) if not language]
    assert [line.split()[0] for line in layout.splitlines() if not (ROOT / line.split()[0]).is_dir()] == []


def test_old_names_are_only_in_the_table_of_old_names():
    old = r"edgead/(?:data|budget|compile)/|edgead\.(?:data|budget)\b|near=|--budgets"
    pages = [page for page in PAGES if page.name != "glossary.md"]
    assert [(page.name, found) for page in pages for found in re.findall(old, text_of(page))] == []


def test_the_pages_are_all_in_the_site():
    navigation = text_of(ROOT / "mkdocs.yml")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f": {page.name}" not in navigation] == []
