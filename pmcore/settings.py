"""What an audit is asked to do: the keys of the audit file, which are also the flags and the Python arguments."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pmcore.errors import InputError, Misfits
from pmcore.outputs import Task
from pmcore.preprocessing import PreprocessingSettings


class AuditSettings(BaseModel):
    """One audit, completely. Every field is a key of the audit file and a flag of `pmcore audit`."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="pmcore audit file")

    model: str = Field(description="the exported model to audit")
    members: str = Field(description="records that trained the model")
    non_members: str = Field(description="records of the same kind that did not")
    population: str | None = Field(
        None, description="more records that did not; by default a share of the non-members is set aside"
    )
    population_share: float = Field(1 / 3, gt=0, lt=1, description="share of the non-members set aside as population")
    attacks: tuple[str, ...] = Field(("population",), description="attacks as NAME or NAME:option=value,…")
    backend: str | None = Field(None, description="backend as NAME or NAME:option=value,…; found from the file")
    out: str | None = Field(None, description="folder for the report")
    reports: tuple[str, ...] = Field(("json", "plots"), description="forms of the report")
    seed: int = Field(0, ge=0, description="fixes everything that is drawn")
    batch_size: int | Literal["auto"] = Field("auto", description="records per query, or auto")
    threads: int | None = Field(None, ge=1, description="threads of the runtime")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    fpr: tuple[float, ...] = Field((0.1, 0.01, 0.001), description="false-positive rates to report")
    expected_accuracy: float | None = Field(
        None, ge=0, le=1, description="accuracy that the model is known to have on records it has not seen"
    )
    x_keys: tuple[str, ...] = Field((), description="names of the inputs in the data files")
    y_key: str = Field("y", description="name of the labels in the data files")
    output: str | None = Field(None, description="output of the model that holds the predictions")
    task: Task | None = Field(None, description="multiclass, binary, multilabel or regression")
    preprocessing: PreprocessingSettings | None = Field(None, description="what the model's inputs went through")
    drop_overlap: bool = Field(False, description="drop records that two roles share, instead of INVALID")
    save_signals: bool = Field(False, description="write every signal to signals.npz")
    force: bool = Field(False, description="write into a folder that is not empty")
    third_party: bool = Field(True, description="whether plugins of other distributions may load")

    @field_validator("attacks", mode="before")
    @classmethod
    def _attack_specs(cls, value: Any) -> Any:
        """Accept a single attack, and the mapping form ``{population: {signal: hinge}}`` of the audit file."""
        entries = [value] if isinstance(value, str | Mapping) else value
        if not isinstance(entries, list | tuple):
            return value
        return tuple(spec for entry in entries for spec in _specs(entry))

    @field_validator("fpr")
    @classmethod
    def _rates(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [rate for rate in value if not 0 < rate < 1]
        if wrong or not value:
            raise ValueError(f"{wrong[0] if wrong else 'nothing'} - give rates between 0 and 1, such as 0.01")
        return tuple(sorted(set(value), reverse=True))

    @field_validator("batch_size")
    @classmethod
    def _batch(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("give a whole number from 1, or auto")
        return value

    @model_validator(mode="after")
    def _some_attack(self) -> Self:
        if not self.attacks:
            raise ValueError("attacks: none named - give at least one, such as population")
        return self


def read_settings(given: Mapping[str, Any], config: Path | None = None) -> AuditSettings:
    """Join the audit file and what was given directly (which wins) into settings.

    Paths in an audit file are relative to the file.

    Raises
    ------
    Misfits
        Keys that do not exist (with a suggestion), values of the wrong type, what is missing: all together.
    InputError
        The audit file cannot be read.
    """
    values = _read_file(config) if config is not None else {}
    values.update(given)
    try:
        return AuditSettings.model_validate(values)
    except ValidationError as error:
        where = f"{config}: " if config is not None else ""
        raise Misfits([where + _complaint(detail) for detail in error.errors()]) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such audit file - check the path given to --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}) - an audit file is YAML text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        raise InputError(f"{path}:{line} {getattr(error, 'problem', 'not YAML')} - mend the YAML") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no keys - an audit file is a YAML mapping, such as `model: model.onnx`")
    for key in ("model", "members", "non_members", "population", "out"):
        if isinstance(values.get(key), str):
            values[key] = ",".join(str(path.parent / part) for part in values[key].split(","))
    return values


def _specs(entry: Any) -> list[str]:
    if not isinstance(entry, Mapping):
        return [entry]
    specs = []
    for name, options in entry.items():
        words = [f"{key}={_text(value)}" for key, value in (options or {}).items()]
        specs.append(f"{name}:{','.join(words)}" if words else str(name))
    return specs


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(item) for item in value)}]"
    return str(value)


def _complaint(detail: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(detail["loc"][-1]), AuditSettings.model_fields, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"keys are {', '.join(AuditSettings.model_fields)}"
        return f"{key}: no such key - {hint}"
    if detail["type"] == "missing":
        return f"{key}: missing - give --{key.replace('_', '-')} or the key {key!r} of the audit file"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{key}: {detail['input']!r} - {message}" if key else message
