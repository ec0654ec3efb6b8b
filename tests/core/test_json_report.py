"""The JSON report: the same bytes for the same report, described by its schema, and read back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from pmcore.errors import InputError
from pmcore.reports.json_report import JsonReport, json_schema, json_schema_text, load_report
from pmcore.schema import AuditReport
from pmcore.testing.example_report import example_report, hostile_names, invalid_report, transcript_report

EXAMPLES: list[Callable[[], AuditReport]] = [example_report, transcript_report, invalid_report, hostile_names]


def written(report: AuditReport) -> bytes:
    return JsonReport().render(report)["report.json"]


@pytest.mark.parametrize("make", EXAMPLES)
def test_a_report_is_read_back_as_it_was(make: Callable[[], AuditReport], tmp_path: Path) -> None:
    report = make()
    (tmp_path / "report.json").write_bytes(written(report))
    assert load_report(tmp_path / "report.json") == report
    assert load_report(tmp_path) == report


@pytest.mark.parametrize("make", EXAMPLES)
def test_a_report_fits_its_schema(make: Callable[[], AuditReport]) -> None:
    jsonschema.validate(json.loads(written(make())), json_schema())


def test_bytes_are_deterministic_and_keys_in_the_order_of_the_schema() -> None:
    content = written(example_report())
    assert content == written(example_report())
    assert content.endswith(b"}\n")
    assert list(json.loads(content))[:3] == ["schema", "valid", "warnings"]


def test_lone_surrogates_become_escapes_in_values_and_keys() -> None:
    content = written(hostile_names(["\udcff"]))
    content.decode("utf-8")
    assert b'"\\udcff": {' in content


def test_the_schema_in_the_documentation_is_that_of_the_code() -> None:
    path = Path(__file__).parents[2] / "docs" / "report.schema.json"
    assert path.read_bytes() == json_schema_text(), "write json_schema_text() to docs/report.schema.json"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not JSON"),
        (b"\x80\x04pickle", "is not text"),
        (b"{", "is not JSON"),
        (b'{"schema": NaN}', "it holds NaN"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "no audit report"),
        (b"{}", "no audit report"),
        (b'{"schema": 2}', "schema 2, this pmcore reads 1"),
        (b'{"schema": 1}', r"valid: field required \(and \d+ more\)"),
    ],
)
def test_what_is_no_report_is_one_line(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as caught:
        load_report(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_report_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.json: no such file or directory; give a report\.json"):
        load_report(tmp_path)
