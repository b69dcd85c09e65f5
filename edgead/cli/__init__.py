"""The command line: one file per command, imported when it is called."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import logging
import os
import sys
from typing import Any

import click

from edgead.errors import EdgeadError
from edgead.installation import how_to_install
from edgead.version import __version__

# name -> "module: help". A command's file defines `command`; its libraries are imported inside the function,
# so that --help of each works in any installation.
COMMANDS = {
    "train": "edgead.cli.train: Train a model from a folder of good images.",
    "synthesize": "edgead.cli.synthesize: Draw realistic anomalies with a diffusion model of good parts.",
    "train-all": "edgead.cli.train_all: Train every product of a plan, on one machine or many.",
    "demo": "edgead.cli.demo: Draw a data set, train, compile and benchmark on it.",
    "evaluate": "edgead.cli.evaluate: Measure a run or a bundle on labelled images.",
    "compile": "edgead.cli.compile: Compile a run to one verified .edgead file.",
    "run": "edgead.cli.run: Inspect images with a bundle.",
    "bench": "edgead.cli.bench: Measure a bundle's latency on this machine.",
    "verify": "edgead.cli.verify: Prove that this machine gives a bundle's reference answers.",
    "key": "edgead.cli.key: Make a key that signs bundles.",
    "sign": "edgead.cli.sign: Sign a bundle, so that lines can tell who made it.",
    "inspect": "edgead.cli.inspect: Say what a bundle is.",
    "datasets": "edgead.cli.datasets: List, download and check published data sets.",
    "targets": "edgead.cli.targets: List the devices that can be compiled for.",
    "doctor": "edgead.cli.doctor: Say what this installation can do and what it lacks.",
}

# Which extra brings a package that a command may miss.
_EXTRAS = {"openvino": "openvino", "onnxruntime": "onnxruntime", "pycocotools": "coco", "ray": "ray"}
_OTHER_EXTRA = "train"


class CommandFailure(click.ClickException):
    """An error raised on purpose, shown without a traceback, with its own exit status."""

    exit_code: int  # type: ignore[misc]  # click declares it for the class; here each error has its own

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class LazyGroup(click.Group):
    """A group whose commands come from `COMMANDS`, each imported on its first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table: that of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; raises CommandFailure when its module or what that needs is missing."""
        if cmd_name not in COMMANDS:
            return None
        module = COMMANDS[cmd_name].partition(":")[0]
        try:
            command: click.Command = importlib.import_module(module).command
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with near matches for an unknown name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"No such command '{args[0]}'.{hint} Known: {', '.join(COMMANDS)}.", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help of the table, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.partition(": ")[2]) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors raised on purpose end it with their message and exit status."""
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()  # at the exit of the process, an error would be a traceback
            return answer
        except OSError as error:
            if error.filename is not None or error.errno == errno.EPIPE:
                raise
            _discard_output()
            raise CommandFailure(f"The output cannot be written ({error.strerror}).") from error
        except EdgeadError as error:
            raise CommandFailure(str(error), exit_code=error.exit_code) from error
        except ModuleNotFoundError as error:
            raise _missing(error) from error


def _missing(error: ModuleNotFoundError) -> Exception:
    package = (error.name or "").partition(".")[0]
    if package == "edgead":
        return CommandFailure(
            f"This installation of edgead lacks {error.name}: it is the runtime alone, or incomplete. "
            f"Install the whole with: {how_to_install('train')}"
        )
    extra = _EXTRAS.get(package, _OTHER_EXTRA)
    return CommandFailure(
        f"This command needs the package '{package}', which is not installed. "
        f"Install it with: {how_to_install(extra)}"
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgead", message="%(prog)s %(version)s")
def main() -> None:
    """Visual anomaly detection for production lines: train, compile, verify and run on the edge.

    \b
    Example:
      edgead train parts/good --out runs/part
      edgead compile runs/part --target intel-cpu --out part.edgead
      edgead run part.edgead new/*.png --out inspected

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 a gate refused (accuracy, verification, deadline).
    """
    _write_any_character()
    _show_log()


def _write_any_character() -> None:
    """A name that the console's encoding lacks is written with escapes, in place of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """What is left in the buffer of stdout would raise the error again when the process ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class _Echo(logging.Handler):
    """Shows a message as it is, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=True)


def _show_log() -> None:
    """Messages of edgead's own log on stderr: that an engine is being built, which takes minutes."""
    log = logging.getLogger("edgead")
    if not any(isinstance(handler, _Echo) for handler in log.handlers):
        log.addHandler(_Echo())
        log.setLevel(logging.INFO)
        log.propagate = False
