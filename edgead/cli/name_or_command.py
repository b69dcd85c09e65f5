"""A command whose first word is either one of its own commands or the name of what to show."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class NameOrCommand(click.Group):
    """`show` is the command for names, set once defined; `modules` has the others, imported when called."""

    show: click.Command

    def __init__(self, *args: Any, modules: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return None
        command: click.Command = importlib.import_module(self.modules[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.modules:
            return super().resolve_command(ctx, args)
        return self.show.name, self.show, args

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: the examples name the commands, and importing one may need an engine."""
