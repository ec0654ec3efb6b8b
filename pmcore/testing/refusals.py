"""What a refusal must be like: an error of ours, of the right kind, in one line."""

from __future__ import annotations

from collections.abc import Callable

from pmcore.errors import AuditError
from pmcore.testing.checking import CheckFailed


def require(kept: bool, complaint: str) -> None:
    """Raise `CheckFailed` with the complaint unless a promise was kept."""
    if not kept:
        raise CheckFailed(complaint)


def require_refusal(
    action: Callable[[], object], case: str, *kinds: type[AuditError], naming: str | None = None
) -> None:
    """Require that an action is refused in one line.

    Parameters
    ----------
    case : what is asked for, such as "a file that is not there"
    kinds : the errors that may be raised; any `AuditError` if none is given
    naming : what the message must hold
    """
    wanted = kinds or (AuditError,)
    names = " or ".join(kind.__name__ for kind in wanted)
    try:
        action()
    except wanted as error:
        require_one_line(str(error), case)
        if naming is not None and naming not in str(error):
            raise CheckFailed(f"{case}: the message does not name {naming!r}: {error}") from error
    except Exception as error:  # a plugin is called: whatever else it raises is told
        raise CheckFailed(f"{case}: raised {type(error).__name__} ({error}); raise {names}") from error
    else:
        raise CheckFailed(f"{case}: was accepted; raise {names}")


def require_one_line(message: str, case: str) -> None:
    """Require that a message says something, in one line."""
    require(bool(message.strip()), f"{case}: the message is empty; say what is wrong and what to do")
    require("\n" not in message.strip(), f"{case}: the message has several lines; say it in one: {message!r}")


def require_documented(cls: type[object]) -> None:
    """Require a docstring of the class's own that opens with a whole sentence."""
    text = cls.__dict__.get("__doc__") or ""
    first = text.strip().partition("\n")[0]
    generated = text.startswith(f"{cls.__name__}(")  # what `dataclass` writes where there is no docstring
    require(
        bool(first) and not generated,
        f"{cls.__name__} has no docstring; its first line is what `pmcore plugins list` shows",
    )
    require(
        len(first.split()) >= 3 and first.endswith((".", "?")),
        f"the docstring of {cls.__name__} opens with {first!r}; write one whole sentence on its first line",
    )
