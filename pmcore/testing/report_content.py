"""Checks of what a form of the report shows: figures with intervals, none if invalid, names that stay text."""

from __future__ import annotations

import json
import re
import xml.parsers.expat
from collections.abc import Callable, Mapping
from typing import NoReturn

from pmcore.interfaces import Report
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.refusals import require
from pmcore.testing.report_case import (
    MARKUP,
    Markup,
    example,
    files_of,
    is_data,
    render,
    shows,
    texts,
    visible,
)

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_STARTS = {
    ".png": b"\x89PNG\r\n\x1a\n",
    ".pdf": b"%PDF-",
    ".jpg": b"\xff\xd8\xff",
    ".gif": b"GIF8",
    ".zip": b"PK",
}


def check_no_figure_if_invalid(form: Report) -> None:
    """Show no figure of an invalid report: it looks the same whatever its figures are."""
    report = example("invalid")
    files = files_of(form, "invalid")
    if is_data(files, report):
        raise NotApplicable("the form is the report itself, as data, and says with it that it is invalid")
    other = render(form, example("invalid, other figures")).files
    differing = sorted(name for name in {*files, *other} if files.get(name) != other.get(name))
    require(not differing, f"{', '.join(differing)} of an invalid report change with its figures; leave them out")


def check_figures_with_intervals(form: Report) -> None:
    """Show the interval wherever the AUC of an attack is shown."""
    report, shown = example("complete"), 0
    for name, text in texts(files_of(form, "complete")).items():
        seen = visible(name, text)
        for attack, part in report.attacks.items():
            figure = part.auc
            if figure.value is None or figure.low is None or figure.high is None or not shows(seen, figure.value):
                continue
            shown += 1
            require(
                shows(seen, figure.low) and shows(seen, figure.high),
                f"{name} shows the AUC of {attack} without its interval [{figure.low:.3f}, {figure.high:.3f}]",
            )
    if not shown:
        raise NotApplicable("no file of text shows an AUC")


def check_unresolved_figures(form: Report) -> None:
    """Render figures that could not be resolved, and never as nan or None."""
    for name, text in texts(files_of(form, "no figures")).items():
        seen = visible(name, text)
        found = re.search(r"\bNone\b|\b[Nn]a[Nn]\b", seen)
        around = " ".join(seen[max(found.start() - 30, 0) : found.end() + 30].split()) if found else ""
        require(found is None, f"{name} shows a figure that is null as {found[0] if found else ''!r}: …{around}…")


def check_nothing_ran(form: Report) -> None:
    """Render a report in which every attack was skipped."""
    files_of(form, "nothing ran")


def check_many_classes(form: Report) -> None:
    """Render a report of a hundred classes."""
    files_of(form, "many classes")


def check_long_names(form: Report) -> None:
    """Render names of two hundred letters, under file names that a disk can hold."""
    files = files_of(form, "long names")
    require(len(files) == len(set(files)), "two attacks share a file")
    long = [name for name in files if len(name.encode("utf-8", "surrogateescape")) > 200]
    require(not long, f"a file name has {len(long[0]) if long else 0} letters; shorten it")


def check_markup(form: Report) -> None:
    """Escape names in markup: they add no element, handler, link or script."""
    hostile, harmless = (_active(form, name) for name in ("hostile", "harmless"))
    if not hostile:
        raise NotApplicable("the form has no pages or pictures of markup")
    for name, active in hostile.items():
        added = sorted(active - frozenset().union(*harmless.values()))
        require(not added, f"{name}: hostile names add {', '.join(added[:3])}; escape them")


def _active(form: Report, name: str) -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for file, text in texts(files_of(form, name)).items():
        if file.lower().endswith(MARKUP):
            reader = Markup()
            reader.feed(text)
            found[file] = frozenset(reader.active)
    return found


def check_control_characters(form: Report) -> None:
    """Let no control character of a name through: it could steer a terminal."""
    for name, text in texts(files_of(form, "hostile")).items():
        found = _CONTROL.search(text)
        require(found is None, f"{name} holds the control character {found[0] if found else ''!r} of a name; escape it")


def check_utf8(form: Report) -> None:
    """Write text as UTF-8, whatever names hold."""
    for name, text in texts(files_of(form, "hostile")).items():
        if not name.lower().endswith(tuple(_STARTS)):
            require(re.search(r"[\ud800-\udfff]", text) is None, f"{name} is not UTF-8; escape lone surrogates")


def check_content(form: Report) -> None:
    """Write into a file what its suffix says: pictures, XML that a strict parser reads, JSON without NaN."""
    for example_name in ("complete", "hostile"):
        for name, content in files_of(form, example_name).items():
            suffix = "." + name.lower().rpartition(".")[2]
            require(bool(content), f"{name} is empty")
            require(content.startswith(_STARTS.get(suffix, b"")), f"{name} does not begin as {suffix} files do")
            strict: Mapping[str, Callable[[bytes], object]] = {
                ".svg": _read_xml,
                ".xml": _read_xml,
                ".xhtml": _read_xml,
                ".json": _read_json,
            }
            try:
                strict.get(suffix, bytes)(content)
            except (ValueError, xml.parsers.expat.ExpatError) as error:
                raise CheckFailed(f"{name} of the {example_name} report is not sound {suffix}: {error}") from error


def check_null_in_json(form: Report) -> None:
    """Write figures that could not be resolved as null in JSON, never as NaN."""
    files = {n: c for n, c in files_of(form, "no figures").items() if n.lower().endswith(".json")}
    if not files:
        raise NotApplicable("the form has no JSON")
    for name, content in files.items():
        try:
            _read_json(content)
        except ValueError as error:
            raise CheckFailed(f"{name} of a report without figures is not sound JSON: {error}") from error


def check_skipped_attacks(form: Report) -> None:
    """Name every attack that was skipped in some file of text, where the form tells of attacks in words."""
    report = example("complete")
    words = " ".join(visible(name, text) for name, text in texts(files_of(form, "complete")).items())
    told = [name for name in report.attacks if name in words]
    if not told or not any(name.lower().endswith((".md", ".txt", ".html", ".htm", ".json")) for name in _names(form)):
        raise NotApplicable("the form does not tell of attacks in words")
    missing = [part.attack for part in report.skipped if part.attack not in words]
    require(not missing, f"skipped attacks are not named: {', '.join(missing)}; say what did not run, and why")


def _names(form: Report) -> list[str]:
    return list(files_of(form, "complete"))


def _read_xml(content: bytes) -> None:
    xml.parsers.expat.ParserCreate().Parse(content, True)


def _read_json(content: bytes) -> None:
    json.loads(content.decode("utf-8"), parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")
