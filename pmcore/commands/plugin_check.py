"""`pmcore plugins check`: holds an installed plugin to every promise of its kind."""

from __future__ import annotations

import json
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import rich_click as click

from pmcore.commands.plugin_lookup import plugins_named, width
from pmcore.errors import ExitCode, InputError

if TYPE_CHECKING:
    from pmcore.installed import GroupName, Plugin, PluginPolicy
    from pmcore.interfaces import Model, Trainer
    from pmcore.testing.checking import Outcome
    from pmcore.testing.trainer_case import TrainerCase

NARROWEST = 30
"""Columns that text beside a column must have left."""
_GROUPS = ("backends", "signals", "attacks", "reports", "readers", "trainers")
_VERBS = {"backends": "reads", "trainers": "retrains"}
"""What is done with the file of ``--model``, by the groups that take one."""


@click.command(name="check")
@click.argument("spec", metavar="NAME[:option=value,…]")
@click.option("--group", type=click.Choice(_GROUPS), help="Kind of plugin, where several bear the name.")
@click.option(
    "--model",
    metavar="FILE",
    help="Model file, for a backend that cannot write its own, or to be retrained by a trainer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
@click.pass_context
def command(
    context: click.Context, *, spec: str, group: str | None, model: str | None, as_json: bool, debug: bool
) -> int:
    """Hold a plugin to every promise of its kind, and show how each check went.

    Options are those of the signal, attack, report, reader or trainer to be checked. Exit code 1 if a check failed.
    """
    from pmcore.installed import surveyed_once
    from pmcore.options import parse_spec

    name, options = parse_spec(spec)
    with surveyed_once():
        found = plugins_named(name, context.obj, cast("GroupName | None", group))
        subjects = [_subject(plugin, options, model, context.obj) for plugin in found]
    if model is not None and all(plugin.group not in _VERBS for plugin in found):
        raise InputError(f"{name!r} is no backend or trainer - leave out --model")
    checked = [_Checked(subject.plugin, tuple(_run(subject))) for subject in subjects]
    if as_json:
        click.echo(json.dumps([each.as_data() for each in checked], indent=2, ensure_ascii=False))
    else:
        for number, each in enumerate(checked):
            for line in (*([""] if number else []), *each.lines()):
                click.echo(line)
    failed = any(each.counts["FAILED"] for each in checked)
    return ExitCode.GATE_FAILED if failed else ExitCode.DONE


@dataclass(frozen=True)
class _Subject:
    """An installed plugin, and what its checks run on: an instance with its options, or the class of a backend."""

    plugin: Plugin
    checked: object


def _subject(plugin: Plugin, options: dict[str, str], model: str | None, policy: PluginPolicy) -> _Subject:
    """Return what a plugin is checked on.

    Raises
    ------
    InputError
        The options do not fit, or the model file is not there.
    PluginError
        The plugin does not load, or its framework is not installed.
    """
    from pmcore import registry
    from pmcore.options import build

    cls = registry.load(plugin.group, plugin.name, policy)
    if model is not None and plugin.group in _VERBS and not Path(model).exists():
        raise InputError(f"{model}: no such file - give a model that {plugin.name} {_VERBS[plugin.group]}")
    if plugin.group == "trainers":
        from pmcore.testing.trainer_case import TrainerCase

        trainer = cast("Trainer", build(cls, options, plugin.title))
        case = TrainerCase(trainer, target=None if model is None else Path(model))
        with registry.framework_needed("trainers", plugin.name, plugin.distribution):
            _ask_once(case)
        return _Subject(plugin, case)
    if plugin.group != "backends":
        return _Subject(plugin, build(cls, options, plugin.title))
    if options:
        raise InputError(f"{plugin.title} is checked with its default options - leave out {', '.join(options)}")
    from pmcore.testing.backend_case import BackendExample

    backend = cast("type[Model]", cls)
    if model is None:
        with registry.framework_needed("backends", plugin.name, plugin.distribution):
            _try_out(backend)
        return _Subject(plugin, backend)
    return _Subject(plugin, BackendExample(backend, Path(model)))


def _try_out(backend: type[Model]) -> None:
    """Write and load a model, so that a framework that is not installed is told once and not by every check."""
    from pmcore.testing.backend_case import open_case

    try:
        with open_case(backend) as case:
            case.load()
    except ImportError:
        raise
    except Exception:  # a plugin is called: its checks tell of whatever else is wrong
        return


def _ask_once(case: TrainerCase) -> None:
    """Ask a trainer whether it can, so that a framework that is not installed is told once and not by every check.

    Raises
    ------
    AuditError
        The model file does not load.
    """
    from pmcore.testing.checking import NotApplicable
    from pmcore.testing.trainer_case import open_bench

    with suppress(NotApplicable), open_bench(case) as bench:
        try:
            bench.given.obstacle(bench.task)
        except ImportError:
            raise
        except Exception:  # a plugin is called: its checks tell of whatever else is wrong
            return


def _run(subject: _Subject) -> Iterator[Outcome]:
    """Yield the outcome of every check, with a bar on long runs; what a plugin prints goes to stderr meanwhile."""
    from pmcore.commands.progress import ProgressBar
    from pmcore.testing.checking import run_checks
    from pmcore.testing.parametrize import checks_for

    checks = checks_for(subject.checked)
    with ProgressBar() as bar, redirect_stdout(sys.stderr):
        for done, outcome in enumerate(run_checks(checks, subject.checked), start=1):
            bar(subject.plugin.name, done, len(checks))
            yield outcome


@dataclass(frozen=True)
class _Checked:
    """A plugin with the outcomes of its checks."""

    plugin: Plugin
    outcomes: Sequence[Outcome]

    @property
    def counts(self) -> Counter[str]:
        """Return the number of checks by verdict."""
        return Counter(outcome.verdict.value for outcome in self.outcomes)

    def as_data(self) -> dict[str, Any]:
        """Return what `--json` prints of this plugin."""
        return {
            "group": self.plugin.group,
            "name": self.plugin.name,
            "distribution": self.plugin.distribution,
            "version": self.plugin.version,
            "counts": dict(self.counts),
            "checks": [asdict(outcome) for outcome in self.outcomes],
        }

    def lines(self) -> Iterator[str]:
        """Yield the table, fitted to the terminal: what each check asks for, or why it failed or was left out."""
        from pmcore.installed import GROUPS

        noun = GROUPS[self.plugin.group].noun
        title = f"{self.plugin.name}   {noun} of {self.plugin.distribution} {self.plugin.version}"
        yield click.style(title, bold=True)
        names = [outcome.check.removeprefix("check_") for outcome in self.outcomes]
        widest, verdicts = (max(map(len, column), default=0) for column in (names, self.counts))
        for name, outcome in zip(names, self.outcomes, strict=True):
            yield from _row(f"  {name:<{widest}}  {outcome.verdict.value:<{verdicts}}  ", outcome)
        yield _summary(self.counts)


def _row(start: str, outcome: Outcome) -> Iterator[str]:
    """Yield the lines of one check; on a narrow terminal what it is about begins on a line of its own."""
    from pmcore.quoting import printable
    from pmcore.testing.checking import Verdict

    texts = {
        Verdict.PASSED: [outcome.promise],
        Verdict.FAILED: [outcome.promise, outcome.detail],
        Verdict.NOT_APPLICABLE: [outcome.detail],
    }[outcome.verdict]
    narrow = width() - len(start) < NARROWEST
    indent = " " * (6 if narrow else len(start))
    lines = [line for text in texts for line in textwrap.wrap(printable(text), max(width() - len(indent), 20))]
    rows = [start.rstrip(), *(indent + line for line in lines)]
    if not narrow and lines:
        rows[:2] = [start + lines[0]]
    for row in rows:
        yield click.style(row, fg="red") if outcome.verdict is Verdict.FAILED else row


def _summary(counts: Counter[str]) -> str:
    """Return the last line: "26 checks: 24 passed, 2 not applicable"."""
    ordered = [(counts[verdict], verdict) for verdict in ("passed", "FAILED", "not applicable") if counts[verdict]]
    return f"{counts.total()} checks: {', '.join(f'{count} {verdict}' for count, verdict in ordered)}"
