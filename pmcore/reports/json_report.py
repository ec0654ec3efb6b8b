"""The report as JSON, the source of every other form: written, described by a schema, and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from pmcore.errors import InputError
from pmcore.interfaces import Report
from pmcore.schema import AuditReport

FILE_NAME = "report.json"


class JsonReport(Report):
    """The whole report in one file, `report.json`: the same bytes for the same report."""

    def render(self, report: AuditReport) -> Mapping[str, bytes]:
        """Return the JSON text; keys in the order of the schema, no NaN, UTF-8."""
        # Not mode="json", which makes "???" of a lone surrogate in a key.
        return {FILE_NAME: _encoded(report.model_dump(by_alias=True))}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the report as it is written."""
    schema = AuditReport.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def json_schema_text() -> bytes:
    """Return the content of docs/report.schema.json."""
    return _encoded(json_schema())


def load_report(path: Path) -> AuditReport:
    """Read a report back, from its file or from the folder that holds it.

    Raises
    ------
    InputError
        There is no such file, or it is no report of this version; the message says what is wrong first.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{file}: {(error.strerror or str(error)).lower()}; give a {FILE_NAME}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not text; give a {FILE_NAME} that `pmcore audit` wrote") from None
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: is not JSON ({error}); give a {FILE_NAME} that `pmcore audit` wrote") from None
    version = content.get("schema") if isinstance(content, dict) else None
    if version is None:
        raise InputError(f"{file}: is JSON but no audit report (no `schema`); give a {FILE_NAME}")
    if version != 1:
        raise InputError(f"{file}: schema {version!r:.20}, this pmcore reads 1; use the version that wrote it")
    try:
        return AuditReport.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{file}: {_first(error)}; was it edited?") from None


def _encoded(content: Any) -> bytes:
    # A lone surrogate, from a path that is not UTF-8, becomes its JSON escape: what backslashreplace makes.
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_option)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _option(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"an option of the report is no plain data: {value!r}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def _first(error: ValidationError) -> str:
    complaints = error.errors(include_url=False, include_input=False)
    place = ".".join(str(step) for step in complaints[0]["loc"])
    others = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return f"{place}: {complaints[0]['msg'].lower()}{others}"
