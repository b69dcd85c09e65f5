"""What the README tells people to type exists: commands, options, make targets, files, Python."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from edgead.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
INLINE = re.findall(r"`((?:edgead|make|python) [^`]+)`", README)
LINES = [line.split("#")[0].strip() for line in (*SHELL, *INLINE)]


def commands(first: str) -> list[str]:
    """The lines that call a program, each once."""
    return list(dict.fromkeys(line for line in LINES if line.split()[:1] == [first]))


@pytest.mark.parametrize("line", commands("edgead"))
def test_every_edgead_command_parses(line: str):
    name, *arguments = shlex.split(line)[1:]
    assert name in COMMANDS
    if not (ROOT / "edgead" / "cli" / f"{name.replace('-', '_')}.py").is_file():
        pytest.skip(f"edgead {name} is not written yet")
    context = click.Context(main)
    command = main.get_command(context, name)
    assert command is not None
    if arguments:  # a name alone mentions the command, it does not call it
        command.make_context(name, list(arguments), parent=context)


@pytest.mark.parametrize("line", commands("make"))
def test_every_make_target_exists(line: str):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in shlex.split(line)[1:]:
        assert re.search(rf"^{re.escape(target)}:.*## ", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("line", commands("python"))
def test_every_script_exists_and_knows_its_options(line: str):
    script, *arguments = shlex.split(line)[1:]
    text = (ROOT / script).read_text(encoding="utf-8")
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert f'"{option}' in text, option


def test_options_named_in_the_text_exist():
    options = set(re.findall(r"(?<=`)--[a-z-]+", README))
    sources = [path.read_text(encoding="utf-8") for folder in ("edgead/cli", "benchmarks")
               for path in (ROOT / folder).glob("*.py")]  # fmt: skip
    known = {option for text in sources for option in re.findall(r'"(--[a-z-]+)', text)}
    assert options <= known


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_python_parses_and_its_imports_exist(block: str):
    tree = ast.parse(block)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert imports
    exec(compile(ast.Module(imports, []), "README.md", "exec"), {})


def test_linked_files_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_folders_of_the_layout_exist():
    (layout,) = [block for language, block in BLOCKS if not language]
    assert [line.split()[0] for line in layout.splitlines() if not (ROOT / line.split()[0]).is_dir()] == []
