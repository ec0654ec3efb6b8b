"""What an audit leaves behind: the files of the report, together, in place of those of an earlier audit."""

from __future__ import annotations

from pathlib import Path

from pmcore.errors import AuditError
from pmcore.files import OutputFolder
from pmcore.interfaces import Floats
from pmcore.plan import Plan
from pmcore.plugin_failures import answerable
from pmcore.reports.json_report import load_report
from pmcore.schema import AuditReport
from pmcore.scores import RecordScores, write_arrays


def file_names(plan: Plan, report: AuditReport) -> list[str]:
    """Return the names of the files that the audit writes, in order."""
    names: list[str] = []
    for form in plan.reports:
        with answerable(form.plugin):
            names += form.report.file_names(report)
    return [*names, "scores.csv", "scores.npz", *(["signals.npz"] if plan.settings.save_signals else [])]


def write(plan: Plan, report: AuditReport, scores: RecordScores, signals: dict[str, Floats]) -> tuple[Path, ...]:
    """Write all files of an audit together, and remove those of an earlier one that it does not replace.

    Returns
    -------
    tuple of Path
        What was written, in the order of `report.run.files`.

    Raises
    ------
    AuditError
        The disk is full or fails; nothing has its final name then, and what an earlier audit wrote stays.
    """
    assert plan.settings.out is not None
    path = Path(plan.settings.out)
    earlier = _written_by_an_earlier_audit(path)
    with OutputFolder(path, plan.settings.force) as folder:
        for form in plan.reports:
            with answerable(form.plugin):
                rendered = form.report.render(report)
            folder.write(rendered)
        with folder.open("scores.csv") as stream:
            scores.write_csv(stream)
        with folder.open("scores.npz") as stream:
            scores.write_npz(stream)
        if plan.settings.save_signals:
            with folder.open("signals.npz") as stream:
                write_arrays(stream, signals)
        folder.retire(earlier - set(report.run.files))
    return tuple(path / name for name in report.run.files)


def _written_by_an_earlier_audit(path: Path) -> set[str]:
    """Return the files that an earlier audit says it wrote into a folder: none of them may stand beside new ones."""
    try:
        names = load_report(path / "report.json").run.files
    except AuditError:
        return set()
    return {name for name in names if Path(name).name == name}
