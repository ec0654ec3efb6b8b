"""A form of the report that keeps every promise, and for each promise one that breaks it and no other."""

from __future__ import annotations

import html
import itertools
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from pmcore.interfaces import Report
from pmcore.quoting import printable
from pmcore.reports.words import area_with_interval
from pmcore.schema import AuditReport, Figure


class GoodReport(Report):
    """A note in Markdown, a page, and the areas under the curves as JSON."""

    def render(self, report: AuditReport) -> Mapping[str, bytes]:
        files = {"note.md": self.note(report), "page.html": self.page(report), "areas.json": self.areas(report)}
        if report.valid and report.attacks:
            files |= {f"{stem}.svg": self.picture(name) for stem, name in self.stems(report).items()}
        return {name: text.encode() for name, text in files.items()}

    def stems(self, report: AuditReport) -> dict[str, str]:
        return {f"attack-{number}": name for number, name in enumerate(report.attacks)}

    def note(self, report: AuditReport) -> str:
        if not report.valid:
            return f"# INVALID\n{self.clean(report.validity[0].text)}\n"
        lines = [f"{self.clean(name)}: {self.figure(part.auc)}" for name, part in report.attacks.items()]
        lines += self.skipped(report)
        return "# Audit\n" + "\n".join(lines) + "\n"

    def skipped(self, report: AuditReport) -> list[str]:
        return [f"{self.clean(part.attack)} did not run: {self.clean(part.reason)}" for part in report.skipped]

    def page(self, report: AuditReport) -> str:
        rows = "".join(f"<p>{self.escaped(line)}</p>\n" for line in self.note(report).splitlines())
        return f"<!DOCTYPE html>\n<html><head><title>Audit</title></head><body>\n{rows}</body></html>\n"

    def picture(self, name: str) -> str:
        return f'<svg xmlns="http://www.w3.org/2000/svg"><text>{html.escape(self.clean(name))}</text></svg>\n'

    def areas(self, report: AuditReport) -> str:
        attacks = report.attacks if report.valid else {}
        return json.dumps({self.clean(name): self.number(part.auc) for name, part in attacks.items()}) + "\n"

    def number(self, figure: Figure) -> object:
        return [figure.value, figure.low, figure.high]

    def figure(self, figure: Figure) -> str:
        return area_with_interval(figure)

    def clean(self, text: str) -> str:
        return printable(text)

    def escaped(self, text: str) -> str:
        return html.escape(text)


class PicturesOnly(GoodReport):
    """A form without words: nothing but a picture of each attack."""

    def render(self, report: AuditReport) -> Mapping[str, bytes]:
        return {name: content for name, content in super().render(report).items() if name.endswith(".svg")}


class _Undocumented(GoodReport): ...


@dataclass(frozen=True)
class _UndocumentedOption(GoodReport):
    """A planted fault: an option is not documented."""

    dark: bool = False


class _Text(GoodReport):
    """A planted fault: text is returned, not bytes."""

    def render(self, report: AuditReport) -> Mapping[str, bytes]:
        files: Mapping[str, bytes] = {k: v.decode() for k, v in super().render(report).items()}  # type: ignore[misc]
        return files


class _NamesFilesAfterAttacks(GoodReport):
    """A planted fault: files are called as attacks are."""

    def stems(self, report: AuditReport) -> dict[str, str]:
        return {name[:60]: name for name in report.attacks}


class _PromisesLess(GoodReport):
    """A planted fault: the pictures are not among the names of files."""

    def file_names(self, report: AuditReport) -> tuple[str, ...]:
        return ("note.md", "page.html", "areas.json")


class _Counts(GoodReport):
    """A planted fault: each picture has a number, which runs on from rendering to rendering."""

    def __init__(self) -> None:
        self.numbers = itertools.count()

    def picture(self, name: str) -> str:
        return super().picture(name).replace("<text>", f'<text id="t{next(self.numbers)}">')


class _WarnsTheReport(GoodReport):
    """A planted fault: a warning is added to the report itself."""

    def render(self, report: AuditReport) -> Mapping[str, bytes]:
        files = super().render(report)
        report.warnings.append("rendered")
        return files


class _BreaksXml(GoodReport):
    """A planted fault: an ampersand is not escaped in pictures."""

    def picture(self, name: str) -> str:
        return super().picture(name).replace("<text>", "<text>members & others ")


class _ShowsInvalidFigures(GoodReport):
    """A planted fault: figures of an invalid report are shown."""

    def areas(self, report: AuditReport) -> str:
        return json.dumps([self.number(part.auc) for part in report.attacks.values()]) + "\n"


class _LeavesOutIntervals(GoodReport):
    """A planted fault: the interval is not shown."""

    def figure(self, figure: Figure) -> str:
        return super().figure(figure).partition(" [")[0]


class _ShowsNone(GoodReport):
    """A planted fault: a figure that is null is shown as Python has it."""

    def figure(self, figure: Figure) -> str:
        return super().figure(figure) if figure.value is not None else str(figure.value)


class _WritesNaN(GoodReport):
    """A planted fault: a figure that is null is NaN in JSON, which other readers of JSON refuse."""

    def areas(self, report: AuditReport) -> str:
        return super().areas(report).replace("null", "-Infinity")


class _NeedsAnAttack(GoodReport):
    """A planted fault: at least one attack must have run."""

    def note(self, report: AuditReport) -> str:
        next(iter(report.attacks))
        return super().note(report)


class _NeedsFewClasses(GoodReport):
    """A planted fault: there are colours for ten classes."""

    def note(self, report: AuditReport) -> str:
        for part in report.attacks.values():
            for place, _ in enumerate(part.per_class):
                range(10)[place]
        return super().note(report)


class _LongFileNames(GoodReport):
    """A planted fault: file names are as long as those of attacks."""

    def stems(self, report: AuditReport) -> dict[str, str]:
        stems = super().stems(report)
        return {f"{stem}-{name}" if name.isascii() and "-" in name else stem: name for stem, name in stems.items()}


class _TrustsNames(GoodReport):
    """A planted fault: names are put into the page as they are."""

    def escaped(self, text: str) -> str:
        return text


class _PassesControlCharacters(GoodReport):
    """A planted fault: control characters are passed on."""

    def note(self, report: AuditReport) -> str:
        raw = "".join(name.encode("ascii", "ignore").decode() for name in report.attacks if "\x1b" in name)
        return super().note(report) + raw.replace("\r", "")

    def page(self, report: AuditReport) -> str:
        return GoodReport().page(report)


class _PassesSurrogates(GoodReport):
    """A planted fault: what is no text is passed on as the bytes it came from."""

    def render(self, report: AuditReport) -> Mapping[str, bytes]:
        files = dict(super().render(report))
        files["note.md"] += "".join(c for name in report.attacks for c in name if "\ud800" <= c <= "\udfff").encode(
            "utf-8", "surrogateescape"
        )
        return files


class _HidesSkipped(GoodReport):
    """A planted fault: attacks that did not run are not told of."""

    def skipped(self, report: AuditReport) -> list[str]:
        return []


class _SilencesWarnings(GoodReport):
    """A planted fault: all warnings are silenced for good."""

    def note(self, report: AuditReport) -> str:
        warnings.simplefilter("ignore")
        return super().note(report)


class _TellsTheProcess(GoodReport):
    """A planted fault: the number of the process is in it."""

    def picture(self, name: str) -> str:
        return super().picture(name).replace("<text>", f'<text id="t{os.getpid()}">')


PLANTED: dict[str, type[Report]] = {
    "check_docstring": _Undocumented,
    "check_options": _UndocumentedOption,
    "check_returns_bytes": _Text,
    "check_file_names": _NamesFilesAfterAttacks,
    "check_promised_names": _PromisesLess,
    "check_determinism": _Counts,
    "check_report_unchanged": _WarnsTheReport,
    "check_content": _BreaksXml,
    "check_no_figure_if_invalid": _ShowsInvalidFigures,
    "check_figures_with_intervals": _LeavesOutIntervals,
    "check_unresolved_figures": _ShowsNone,
    "check_null_in_json": _WritesNaN,
    "check_nothing_ran": _NeedsAnAttack,
    "check_many_classes": _NeedsFewClasses,
    "check_long_names": _LongFileNames,
    "check_markup": _TrustsNames,
    "check_control_characters": _PassesControlCharacters,
    "check_utf8": _PassesSurrogates,
    "check_skipped_attacks": _HidesSkipped,
    "check_no_effects": _SilencesWarnings,
    "check_same_elsewhere": _TellsTheProcess,
}
"""For each check the form that fails it alone; those on imports are modules of their own, see `IMPORTS`."""

IMPORTS: dict[str, str] = {
    "check_import": "import logging\nlogging.basicConfig()\n",
    "check_import_without_framework": "import mxnet\n",
}
"""For each check of a module's import what the module does at import."""
