"""Checks of the files that a form of the report makes: their names, and that rendering is a pure function."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pmcore.interfaces import Report
from pmcore.option_docs import describe_options
from pmcore.testing.refusals import require, require_documented
from pmcore.testing.report_case import example, files_of, render, rendering_of

EXAMPLES = ("complete", "invalid", "hostile")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def check_docstring(form: Report) -> None:
    """Open the docstring of the class with one whole sentence."""
    require_documented(type(form))


def check_options(form: Report) -> None:
    """Document every option, where the form has some; a form with options is a frozen dataclass."""
    cls = type(form)
    if dataclasses.is_dataclass(cls):
        frozen = getattr(getattr(cls, "__dataclass_params__", None), "frozen", False)
        require(frozen, f"{cls.__name__} is a dataclass, but not frozen")
    for option in describe_options(cls):
        require(bool(option.description), f"option {option.name} is not documented in the Parameters of {cls.__name__}")


def check_returns_bytes(form: Report) -> None:
    """Return the contents of files as bytes, by file name."""
    made = rendering_of(form, "complete").made
    require(isinstance(made, Mapping) and bool(made), "render made no file of a complete report")
    items = made.items() if isinstance(made, Mapping) else ()
    wrong = [str(name) for name, content in items if not isinstance(content, bytes)]
    require(not wrong, f"the content of {', '.join(wrong)} is not bytes; encode text as UTF-8")


def check_file_names(form: Report) -> None:
    """Give plain file names, whatever attacks are called: no folders, nothing that a file system refuses."""
    for name in EXAMPLES:
        files = list(files_of(form, name))
        for file in files:
            plain = file.isprintable() and not set(file) & set('/\\:*?"<>|') and not file.startswith((".", " "))
            sound = plain and bool(file) and not file.endswith((".", " "))
            require(sound and file.partition(".")[0].lower() not in _RESERVED, f"{file!r} is no plain file name")
        lower = [file.lower() for file in files]
        require(len(set(lower)) == len(lower), f"file names {files} differ only in upper and lower case")


def check_promised_names(form: Report) -> None:
    """Promise in `file_names` exactly the files that `render` makes, in this order."""
    for name in EXAMPLES:
        promised, made = list(form.file_names(example(name))), list(files_of(form, name))
        require(promised == made, f"file_names says {promised}, render makes {made} of the {name} report")


def check_determinism(form: Report) -> None:
    """Give the same bytes for the same report each time."""
    again = render(form, example("complete")).files
    differing = sorted(name for name, content in files_of(form, "complete").items() if again.get(name) != content)
    require(not differing, f"{', '.join(differing)} differ from one rendering to the next")


def check_report_unchanged(form: Report) -> None:
    """Leave the report as it was."""
    changed = rendering_of(form, "complete").changed
    require(not changed, f"rendering changed {', '.join(changed)} of the report; work on a copy")
    report = example("complete")
    before = report.model_dump()
    form.file_names(report)
    require(report.model_dump() == before, "file_names changed the report; work on a copy")
