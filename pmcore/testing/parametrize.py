"""The checks of a plugin by its kind, and as a pytest parametrisation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pmcore.interfaces import Attack, Model, Reader, Report, Signal, Trainer
from pmcore.option_docs import describe_options, resolved_options
from pmcore.testing.attack_checks import ATTACK_CHECKS
from pmcore.testing.backend_case import BackendExample
from pmcore.testing.backend_checks import BACKEND_CHECKS
from pmcore.testing.checking import Check, NotApplicable
from pmcore.testing.reader_checks import READER_CHECKS
from pmcore.testing.report_checks import REPORT_CHECKS
from pmcore.testing.signal_checks import SIGNAL_CHECKS
from pmcore.testing.trainer_case import TrainerCase, trainer_of
from pmcore.testing.trainer_checks import TRAINER_CHECKS

if TYPE_CHECKING:
    import pytest

KINDS: tuple[tuple[type[object], tuple[Check[Any], ...]], ...] = (
    (Model, BACKEND_CHECKS),
    (BackendExample, BACKEND_CHECKS),
    (Signal, SIGNAL_CHECKS),
    (Attack, ATTACK_CHECKS),
    (Report, REPORT_CHECKS),
    (Reader, READER_CHECKS),
    (Trainer, TRAINER_CHECKS),
    (TrainerCase, TRAINER_CHECKS),
)


def checks_for(plugin: object) -> tuple[Check[Any], ...]:
    """Return the checks of a plugin's kind; `plugin` is a class, an instance, a `BackendExample` or a `TrainerCase`.

    Raises
    ------
    TypeError
        It is of no kind that has checks.
    """
    cls = plugin if isinstance(plugin, type) else type(plugin)
    for kind, checks in KINDS:
        if issubclass(cls, kind):
            return checks
    kinds = ", ".join(kind.__name__ for kind, _ in KINDS if kind not in (BackendExample, TrainerCase))
    raise TypeError(f"{cls.__name__} derives from none of {kinds} of pmcore.interfaces")


def parametrize_with_checks(plugins: Iterable[object]) -> pytest.MarkDecorator:
    """Return a pytest decorator that runs a test once for every plugin and every check of its kind.

    The test takes ``plugin`` and ``check`` and calls ``check(plugin)``. A check that does not concern a plugin is
    skipped, with the reason.

    Parameters
    ----------
    plugins : instances; classes, which are made with their default options; a `BackendExample` or a `TrainerCase`

    Examples
    --------
    >>> from pmcore.signals import Loss
    >>> from pmcore.testing import parametrize_with_checks
    >>> @parametrize_with_checks([Loss()])
    ... def test_conforms(plugin, check):
    ...     check(plugin)
    """
    import pytest  # here because an installation of pmcore has no pytest

    def skipping(check: Check[Any]) -> Callable[[object], None]:
        def run(plugin: object) -> None:
            try:
                check(plugin)
            except NotApplicable as reason:
                pytest.skip(f"{check.name}: {reason}")

        return run

    parameters = [
        pytest.param(plugin, skipping(check), id=f"{_title(plugin)}-{check.name}")
        for plugin in plugins
        for check in checks_for(plugin)
    ]
    return pytest.mark.parametrize(("plugin", "check"), parameters)


def _title(plugin: object) -> str:
    """Return the name of a plugin's class, and of its options those that are not the default."""
    if isinstance(plugin, TrainerCase):
        plugin = trainer_of(plugin)
    if isinstance(plugin, type):
        return plugin.__name__
    defaults = {option.name: option.default for option in describe_options(type(plugin))}
    changed = [f"{name}={value}" for name, value in resolved_options(plugin).items() if value != defaults[name]]
    return f"{type(plugin).__name__}({', '.join(changed)})" if changed else type(plugin).__name__
