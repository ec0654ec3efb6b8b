"""The command line: finds the command, runs it, and turns what went wrong into one line and an exit code.

Nothing heavier than click is imported before a command is chosen; every command lives in its own module.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from pmcore import __version__
from pmcore.errors import AuditError, ExitCode

COMMANDS = {
    "audit": "Audit a model: how much does it betray about who was in its training data?",
    "plan": "Show what an audit would run, what it would skip and why, and how many queries it costs.",
    "inspect": "Show what a model file holds: inputs, outputs, layers, and the attacks that can run on it.",
    "plugins": "List backends, signals, attacks, readers and reports, or show one of them.",
    "demo": "Train a small overfitted network, export it to ONNX, audit it, and say what was found.",
}


class CommandGroup(click.Group):
    """The commands by name; a command's module is imported when the command is run or asked for help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pmcore.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; an unknown one is answered with the nearest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"{args[0]}: no such command - {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pmcore", message="%(prog)s %(version)s")
def pmcore() -> None:
    """Audit a trained model, as it is shipped, with membership-inference attacks."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of the codes of `ExitCode`."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    debug = "--debug" in arguments
    try:
        code = pmcore.main(list(arguments), prog_name="pmcore", standalone_mode=False)
        sys.stdout.flush()
        return int(code) if isinstance(code, int) else int(ExitCode.DONE)
    except click.exceptions.NoArgsIsHelpError as error:
        return _complain(str(error.format_message()), ExitCode.BAD_INPUT, prefix="")
    except click.ClickException as error:
        return _complain(error.format_message(), ExitCode.BAD_INPUT)
    except AuditError as error:
        if debug:
            traceback.print_exc()
        return _complain(str(error), error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        return _complain("interrupted - no report was written", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _silence(sys.stdout)
        return int(ExitCode.DONE)
    except MemoryError:
        return _complain("out of memory - try a smaller --batch-size", ExitCode.MODEL_FAILED)
    except Exception:
        traceback.print_exc()
        return _complain("this is a bug in pmcore; please report the lines above", ExitCode.BUG)


def _complain(message: str, code: ExitCode, prefix: str = "pmcore: error: ") -> int:
    for line in message.splitlines():
        print(f"{prefix}{line}", file=sys.stderr)
    return int(code)


def _silence(stream: Any) -> None:
    """Point a stream whose reader is gone to nowhere, so that closing it at exit raises nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
