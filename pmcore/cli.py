"""The command line: finds the command, runs it, and turns what went wrong into one line and an exit code.

Nothing heavier than click is imported before a command is chosen; every command lives in its own module.
"""

from __future__ import annotations

import difflib
import importlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence

import click

from pmcore import __version__
from pmcore.commands.output import forget_output, standard_output
from pmcore.errors import AuditError, ExitCode

COMMANDS = {
    "audit": "Audit a model: what does it betray about its training records?",
    "plan": "Show what an audit would run or skip, and its cost in queries.",
    "inspect": "Show what a model file holds, and which attacks can run on it.",
    "compare": "Compare audits of the same records: which leaks more?",
    "references": "Train reference models, which attacks compare the target with.",
    "dp-audit": "Bound epsilon from one training run with canaries, or make some.",
    "plugins": "List plugins, show or check one, or start one of your own.",
    "demo": "Train a small overfitted network, audit it, say what was found.",
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
        module = importlib.import_module(f"pmcore.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; Ctrl-C is told apart here, since click would print an empty line for it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None

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


EPILOG = """\b
First steps:
  pmcore demo                  a whole audit, with nothing to prepare
  pmcore inspect model.onnx    does pmcore understand this model?
  pmcore audit model.onnx --members train.npz --non-members test.npz
  pmcore COMMAND --help        all the rest
""".rstrip()


@click.group(cls=CommandGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pmcore", message="%(prog)s %(version)s")
def pmcore() -> None:
    """Audit a trained model, as it is shipped, with membership-inference attacks."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of the codes of `ExitCode`."""
    _settle_streams()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    debug = "--debug" in arguments
    logging.basicConfig(format="pmcore: warning: %(message)s", level=logging.WARNING)
    try:
        code = pmcore.main(list(arguments), prog_name="pmcore", standalone_mode=False)
        with standard_output():
            pass
        return int(code) if isinstance(code, int) else int(ExitCode.DONE)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return int(ExitCode.BAD_INPUT)
    except click.ClickException as error:
        return _complain(_usage(error), ExitCode.BAD_INPUT)
    except AuditError as error:
        if debug:
            traceback.print_exc()
        return _complain(error, error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        if sys.stderr.isatty():
            print(file=sys.stderr)  # below the ^C of the terminal
        return _complain("interrupted - no report was written", ExitCode.INTERRUPTED)
    except (BrokenPipeError, SystemExit):  # click exits when the reader of its output has left
        forget_output()
        return int(ExitCode.DONE)
    except OSError as error:
        if debug:
            traceback.print_exc()
        text = error.strerror or str(error)
        where = error.filename or "standard output"
        if error.filename is None:
            forget_output()
        return _complain(f"{where}: {text[:1].lower()}{text[1:]} - choose another place", ExitCode.BAD_INPUT)
    except MemoryError:
        return _complain("out of memory - try a smaller --batch-size", ExitCode.MODEL_FAILED)
    except Exception:  # whatever is left is ours to mend, and is shown whole
        traceback.print_exc()
        return _complain("this is a bug in pmcore; please report the lines above", ExitCode.BUG)


def _settle_streams() -> None:
    """Have both streams, even where the caller closed them, and one that writes what its encoding lacks."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the end
        elif isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(complaint: str | AuditError, code: ExitCode) -> int:
    """Print one line for each complaint; what names from files hold can neither end a line nor steer a terminal."""
    from pmcore.quoting import printable

    for line in getattr(complaint, "complaints", (str(complaint),)):
        print(f"pmcore: error: {printable(line)}", file=sys.stderr)
    return int(code)


def _usage(error: click.ClickException) -> str:
    """Say in one line what is wrong with the command line, and what to do."""
    context = getattr(error, "ctx", None)
    see = f"see {context.command_path} --help" if context is not None else "see pmcore --help"
    if isinstance(error, click.NoSuchOption):
        close = difflib.get_close_matches(error.option_name, error.possibilities or (), n=1)
        return f"{error.option_name}: no such option - {f'did you mean {close[0]}?' if close else see}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{error.param.make_metavar(context) if context else error.param.name}: missing - {see}"
    if isinstance(error, click.BadOptionUsage):
        return f"{error.option_name}: no value follows - give one"
    message = " ".join(error.format_message().split()).rstrip(".")
    return message if " - " in message else f"{message} - {see}"
