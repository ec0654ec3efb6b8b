"""The report as text for a terminal: the verdict on the audit, the table, then the same in words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import TextIO

from pmcore.numerals import count
from pmcore.quoting import printable
from pmcore.reports.meaning import LOWER_BOUND, in_words
from pmcore.reports.references import game, references, title
from pmcore.reports.results import NO_FIGURES, Results, invalid_reasons, results
from pmcore.reports.words import gradients, level, rate_with_interval
from pmcore.reports.wrapping import LABEL, entry, paragraph, wrapped
from pmcore.schema import AuditReport, InputPart, ModelPart, RolePart, Validity

WIDTH = 84
_OUTPUTS = {"pre-softmax": "logits (read before the last activation)"}
_PERSONAL = {"scores.csv", "scores.npz", "signals.npz"}
_LIMITED = "resolution limited"
_MARKS = {"warning": "WARNING: ", "invalid": "INVALID: ", "not checked": "not checked: ", "ok": ""}
# With what a check compared the accuracy: the brackets at the end of its text.
_COMPARED = re.compile(r"\([^()]*\)$")
_STYLES = (
    (re.compile(r"^Validity +VALID$", re.MULTILINE), "bold green"),
    (re.compile(r"^Validity +INVALID$", re.MULTILINE), "bold red"),
    (re.compile(r"WARNING|(?<=  )not run(?=: )"), "yellow"),
    (
        re.compile(r"^[A-Z][a-z]+(?: words)?(?=  )|^Can members be told from non-members\?", re.MULTILINE),
        "bold",
    ),
)


def render_terminal(report: AuditReport, width: int = WIDTH, wrote: Sequence[str] = ()) -> str:
    """Return the report as plain text, no line longer than `width`.

    Parameters
    ----------
    report : the report; if it is invalid no figure is shown
    width : at least 60
    wrote : paths to list as written; those of a folder are named in full once
    """
    blocks = [_header(report, width), _validity(report, width)]
    if report.valid:
        blocks += [_table(report, width), _game(report, width), _meaning(report, width)]
        blocks += [paragraph(LOWER_BOUND, width)]
    said = {check.text for check in report.validity}
    warnings = _merged([text for text in report.warnings if text not in said])
    if warnings:
        blocks.insert(2, [line for text in warnings for line in entry("warning", text, width)])
    if wrote:
        blocks.append(entry("wrote", "   ".join(_written(wrote)), width, label_width=7))
    return "\n".join("\n".join(block) + "\n" for block in blocks if block)


def print_report(report: AuditReport, stream: TextIO, colour: bool, wrote: Sequence[str] = ()) -> None:
    """Write the report to a stream; colour is laid over the same text (see `wants_colour`)."""
    text = render_terminal(report, wrote=wrote)
    if colour:
        from rich.console import Console
        from rich.text import Text

        styled = Text(text)
        for pattern, style in _STYLES:
            styled.highlight_regex(pattern, style)
        console = Console(file=stream, width=WIDTH + 1, force_terminal=True, highlight=False, markup=False)
        console.print(styled, end="", soft_wrap=True)
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def wants_colour(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal and nobody has set NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _header(report: AuditReport, width: int) -> list[str]:
    model = report.model
    version = report.run.versions.get("pmcore", "")
    running = ", ".join(filter(None, (model.runtime, model.device, model.precision)))
    title = [f"pmcore {version}".strip(), _file_name(model.path), _identity(model), running]
    lines = wrapped("   ".join(printable(part) for part in title), width, "", " " * LABEL)
    lines += entry("inputs", f"{', '.join(map(_input, model.inputs))}; {_head(model)}", width)
    steps = ", ".join(model.preprocessing.steps) or "none"
    lines += entry("preprocessing", f"{steps}   ({model.preprocessing.source})", width)
    for part in model.gradients:
        lines += entry("gradients", gradients(part), width)
    lines += entry("data", _data(report), width)
    if report.data.population is not None and report.data.population_from:
        lines += entry("population", report.data.population_from, width)
    compared = references(report)
    if compared is not None:
        lines += entry("references", compared, width)
    # What the line of the inputs says is not said again.
    notes = [note for note in model.notes if not (model.resolution_limited and _LIMITED in note)]
    for note in [*notes, *_role_notes(report)]:
        lines += entry("note", note, width)
    return lines


def _identity(model: ModelPart) -> str:
    return "no sha256" if model.sha256 is None else f"sha256 {model.sha256[:8]}…"


def _input(part: InputPart) -> str:
    if not part.shape:  # programs and functions may state none: they take what the records have
        return f"{part.name} {part.dtype} [n,…]"
    sizes = ["?" if size is None else str(size) for size in part.shape[1:]]
    return f"{part.name} {part.dtype} [{','.join(['n', *sizes])}]"


def _head(model: ModelPart) -> str:
    if model.task == "regression":
        return f"{count(model.classes)} value{'' if model.classes == 1 else 's'}"
    kind = "labels" if model.task == "multilabel" else "classes"
    limited = f" ({_LIMITED})" if model.resolution_limited else ""
    return f"{count(model.classes)} {kind}; {_OUTPUTS.get(model.output, model.output)}{limited}"


def _data(report: AuditReport) -> str:
    data = report.data
    parts = [f"{count(data.members.n)} members, {count(data.nonmembers.n)} non-members"]
    if data.population is not None:
        parts[0] += f", {count(data.population.n)} population"
    shared = sum(data.overlap.values())
    parts.append(f"{count(shared)} rows shared" if shared else "no rows shared")
    parts += [f"{count(n)} dropped from {role}" for role, n in data.dropped.items() if n]
    parts += [f"{count(part.duplicates)} duplicates in {role}" for role, part in _roles(report) if part.duplicates]
    return "; ".join(parts)


def _roles(report: AuditReport) -> list[tuple[str, RolePart]]:
    data = report.data
    found = [("members", data.members), ("non-members", data.nonmembers)]
    return found if data.population is None else [*found, ("population", data.population)]


def _role_notes(report: AuditReport) -> list[str]:
    return [f"{role}: {note}" for role, part in _roles(report) for note in part.notes]


def _validity(report: AuditReport, width: int) -> list[str]:
    lines = [f"{'Validity':<{LABEL}}{'VALID' if report.valid else 'INVALID'}"]
    if not report.valid:
        for reason in invalid_reasons(report):
            lines += entry("", reason, width)
        return [*lines, *entry("", NO_FIGURES, width)]
    for check in report.validity:
        text = _accuracy(report, check) if check.name == "accuracy" else check.text
        lines += entry(f"  {check.name}", _MARKS[check.verdict] + text, width)
    return lines


def _accuracy(report: AuditReport, check: Validity) -> str:
    """Return both sides' accuracies and, in brackets, what the check compared them with."""
    measured = ", ".join(
        f"{role} {rate_with_interval(part.accuracy)}"
        for role, part in _roles(report)
        if part.accuracy is not None and role != "population"
    )
    compared = _COMPARED.search(check.text)
    if not measured:
        return check.text
    return f"{measured}; {check.text}" if compared is None else f"{measured} {compared.group()}"


def _merged(warnings: Sequence[str]) -> list[str]:
    """Return warnings; those that differ in the file before the first colon alone are made one."""
    files: dict[str, list[str]] = {}
    for warning in warnings:
        colon = max(warning.find(": "), 0)
        files.setdefault(warning[colon:], []).append(warning[:colon])
    return [", ".join(dict.fromkeys(named)) + text for text, named in files.items()]


def _table(report: AuditReport, width: int) -> list[str]:
    sides = sorted({(a.auc.n_members, a.auc.n_nonmembers) for a in report.attacks.values()})
    sizes = ", ".join([f"{level(report.confidence)} intervals", *(f"{count(n1)} + {count(n0)}" for n1, n0 in sides)])
    question = "Can members be told from non-members?"
    beside = width - len(question) - 2
    lines = [f"{question}  {sizes:>{beside}}"] if len(sizes) <= beside else [question, *paragraph(sizes, width)]
    found, rows = _widest_table(report, width)
    lines += rows
    for part in report.skipped:
        lines += entry(f"  {printable(part.attack)}", f"not run: {part.reason}", width)
    for note in found.notes:
        lines += wrapped(note, width, "  ", "    ")
    return lines


def _game(report: AuditReport, width: int) -> list[str]:
    found = [line for text in game(report) for line in wrapped(text, width, "  ", "    ")]
    return [title(report.game), *found] if found else []


def _widest_table(report: AuditReport, width: int) -> tuple[Results, list[str]]:
    for most in (2, 1, 0):
        found = results(report, most)
        rows = list(_rows(found, width))
        if max(map(len, rows), default=0) <= width:
            break
    return found, rows


def _rows(found: Results, width: int) -> Iterator[str]:
    """Yield the table; columns as wide as their content, a name that is too long on a line of its own."""
    if not found.rows:
        return
    cells = [[row.access, *(text.replace(", ", ",") for text in (row.auc, *row.rates))] for row in found.rows]
    columns = [
        (heading, *_aligned(column))
        for heading, column in zip(("access", "AUC", *found.columns), zip(*cells, strict=True), strict=True)
    ]
    widths = [max(map(len, column)) for column in columns]
    room = max(width - 2 - sum(size + 2 for size in widths), 8)
    names = ("attack", *(row.attack for row in found.rows))
    first = min(max(map(len, names)), room)
    gap = " " * min(2 + (room - first) // len(widths), 4)
    for name, line in zip(names, zip(*columns, strict=True), strict=True):
        if len(name) > first:
            yield from wrapped(name, width, "  ", "    ")
        shown = "" if len(name) > first else name
        padded = (text.ljust(size) for text, size in zip(line, widths, strict=True))
        yield f"  {shown:<{first}}{gap}{gap.join(padded)}".rstrip()


def _aligned(column: Sequence[str]) -> list[str]:
    """Return figures with their points below each other: as much space before as the widest value needs."""
    values = [text.partition(" ")[0] if text[:1] in ".0123456789" else "" for text in column]
    widest = max(map(len, values))
    return [" " * (widest - len(value)) + text if value else text for value, text in zip(values, column, strict=True)]


def _written(paths: Sequence[str]) -> Iterator[str]:
    """Yield names: the folder once, both formats of a picture together, and what is personal data marked."""
    folder: str | None = None
    listed = {PurePath(path) for path in paths}
    for path in map(PurePath, paths):
        if path.suffix == ".svg" and path.with_suffix(".png") in listed:
            continue
        name = path.name if str(path.parent) == folder else str(path)
        folder = str(path.parent)
        both = " .svg" if path.suffix == ".png" and path.with_suffix(".svg") in listed else ""
        personal = " (personal data, mode 0600)" if path.name in _PERSONAL else ""
        yield f"{name}{both}{personal}".replace(" ", "\xa0")


def _meaning(report: AuditReport, width: int) -> list[str]:
    return entry("In words", in_words(report), width)


def _file_name(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path
