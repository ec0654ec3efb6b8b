"""What an audit is asked to do: the keys of the audit file, which are also the flags and the Python arguments."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pmcore.description import Precision
from pmcore.errors import InputError, Misfits
from pmcore.outputs import Task
from pmcore.preprocessing import PreprocessingSettings
from pmcore.quoting import quoted
from pmcore.yaml_files import read_yaml

MOST_THREADS = 1024
"""More than any machine that runs audits has; beyond some number every runtime fails in a way of its own."""


class AuditSettings(BaseModel):
    """One audit, completely. Every field is a key of the audit file and a flag of `pmcore audit`."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="pmcore audit file")

    model: str = Field(min_length=1, description="the exported model to audit")
    members: str = Field(min_length=1, description="records that trained the model")
    non_members: str = Field(min_length=1, description="records of the same kind that did not")
    population: str | None = Field(
        None, min_length=1, description="more records that did not; by default a share of the non-members is set aside"
    )
    population_share: float = Field(1 / 3, gt=0, lt=1, description="share of the non-members set aside as population")
    attacks: tuple[str, ...] = Field(("population",), description="attacks as NAME or NAME:option=value,…")
    references: tuple[str, ...] = Field(
        (), description="reference models: a folder that `pmcore references` made, model files, or an .npz of logits"
    )
    reference_membership: str | None = Field(
        None, min_length=1, description="which records trained which reference, where the references do not tell"
    )
    trust_references: str | None = Field(
        None, description="sha256:… of the references.json whose models may run code of their own when they are loaded"
    )
    game: Literal["model", "algorithm", "record"] = Field(
        "model", description="whose leakage is measured: this model's, the algorithm's, or that of single records"
    )
    layers: tuple[str, ...] = Field(
        (), description="layers that white-box attacks look at: names, indices, negative ones from the end, last"
    )
    backend: str | None = Field(None, description="backend as NAME or NAME:option=value,…; found from the file")
    out: str | None = Field(None, min_length=1, description="folder for the report")
    reports: tuple[str, ...] = Field(("json", "plots"), description="forms of the report")
    seed: int = Field(0, ge=0, description="fixes everything that is drawn")
    batch_size: int | Literal["auto"] = Field("auto", description="records per query, or auto")
    threads: int | None = Field(None, ge=1, le=MOST_THREADS, description="threads of the runtime")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    fpr: tuple[float, ...] = Field((0.1, 0.01, 0.001), description="false-positive rates to report")
    expected_accuracy: float | None = Field(
        None, description="accuracy that the model is known to have on records it has not seen"
    )
    x_keys: tuple[str, ...] = Field((), description="names of the inputs in the data files")
    y_key: str = Field("y", description="name of the labels in the data files")
    output: str | None = Field(None, description="output of the model that holds the predictions")
    task: Task | None = Field(None, description="multiclass, binary, multilabel or regression")
    precision: Precision | None = Field(None, description="float32, or deployed for what the runtime takes by itself")
    trust_model: str | None = Field(
        None, description="sha256:… of a model file that may run code of its own when it is loaded"
    )
    model_class: str | None = Field(
        None, description="package.module:factory that makes the model, for files that hold weights alone"
    )
    preprocessing: PreprocessingSettings | None = Field(None, description="what the model's inputs went through")
    drop_overlap: bool = Field(False, description="drop records that two roles share, instead of INVALID")
    save_signals: bool = Field(False, description="write every signal to signals.npz")
    force: bool = Field(False, description="write into a folder that is not empty")
    third_party: bool = Field(True, description="whether plugins of other distributions may load")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_given(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take a key without a value, such as ``population:`` in an audit file, as not given."""
        return {key: value for key, value in values.items() if value is not None or key not in cls.model_fields}

    @field_validator("model", "members", "non_members", "population", "reference_membership", "out")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError(f"{quoted(value)} - give a path without a NUL character")
        return value

    @field_validator("layers", mode="before")
    @classmethod
    def _layers(cls, value: Any) -> Any:
        """Accept several layers in one text, ``3,4,fc``, and indices as numbers."""
        several = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        given = several if isinstance(several, list | tuple) else [several]
        return [str(one) if type(one) is int else one for one in given]

    @field_validator("x_keys", "fpr", "references", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """Accept a single value, and several in one text: ``0.1,0.01``."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("attacks", "reports", mode="before")
    @classmethod
    def _plugin_specs(cls, value: Any) -> Any:
        """Accept a single plugin, and the mapping form ``{population: {signal: hinge}}`` of the audit file."""
        entries = [value] if isinstance(value, str | Mapping) else value
        if not isinstance(entries, list | tuple):
            return value
        return tuple(spec for entry in entries for spec in _specs(entry))

    @field_validator("fpr")
    @classmethod
    def _rates(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [rate for rate in value if not 0 < rate < 1]
        if wrong or not value:
            raise ValueError(f"{f'{wrong[0]:g}' if wrong else 'none'} - give rates between 0 and 1, such as 0.01")
        return tuple(sorted(set(value), reverse=True))

    @field_validator("batch_size", mode="before")
    @classmethod
    def _batch(cls, value: Any) -> int | str:
        text = str(value).strip().lower()
        if text == "auto":
            return text
        if not text.isdecimal() or len(text) > 18 or int(text) < 1:
            raise ValueError(f"{text[:100]} - give a whole number from 1, or auto")
        return int(text)

    @field_validator("expected_accuracy")
    @classmethod
    def _accuracy(cls, value: float | None) -> float | None:
        if value is not None and not 0 <= value <= 1:
            example = f"{value / 100:g}" if 1 < value <= 100 else "0.91"
            raise ValueError(f"{value:g} - give a rate between 0 and 1, such as {example}")
        return value

    @field_validator("attacks")
    @classmethod
    def _some_attack(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("none named - give at least one, such as population")
        return value


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
    from_file = values.keys() - given.keys()
    for key, value in given.items():
        earlier = values.get(key)
        values[key] = {**earlier, **value} if isinstance(earlier, dict) and isinstance(value, dict) else value
    try:
        return AuditSettings.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        if not values and all(detail["type"] == "missing" for detail in details):
            raise InputError(_NOTHING) from None
        complaints = []
        for detail in details:
            where = f"{config}: " if detail["loc"] and detail["loc"][0] in from_file else ""
            complaints.append(where + complaint_of(detail, AuditSettings, _MISSING))
        raise Misfits(complaints) from None


def _read_file(path: Path) -> dict[str, Any]:
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no keys - an audit file is a YAML mapping, such as `model: model.onnx`")
    for key in ("model", "members", "non_members", "population", "reference_membership", "out"):
        if isinstance(values.get(key), str):
            pair = "," in values[key] and key not in ("model", "out")
            parts = values[key].split(",") if pair else [values[key]]
            values[key] = ",".join(str(path.parent / part.strip()) for part in parts)
    several = values.get("references", ())
    named = [several] if isinstance(several, str) else several
    if named and isinstance(named, list) and all(isinstance(one, str) for one in named):
        values["references"] = [str(path.parent / part.strip()) for one in named for part in one.split(",")]
    return values


def _specs(entry: Any) -> list[str]:
    if not isinstance(entry, Mapping):
        return [entry]
    specs = []
    for name, options in entry.items():
        if not isinstance(options, Mapping | None):
            raise ValueError(
                f"{name}: {quoted(options)} - give options as a mapping, such as {{{name}: {{option: value}}}}"
            )
        words = [f"{key}={_text(value)}" for key, value in (options or {}).items()]
        specs.append(f"{name}:{','.join(words)}" if words else str(name))
    return specs


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(item) for item in value)}]"
    return str(value)


def complaint_of(detail: ErrorDetails, settings: type[BaseModel], missing: Mapping[str, str]) -> str:
    """Return one line of ours for one of pydantic's: key, value, remedy.

    Parameters
    ----------
    settings : whose keys these are
    missing : key that has no default -> how it is given
    """
    loc = detail["loc"]
    key = ".".join(str(part) for part in loc)
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        known = PreprocessingSettings.model_fields if loc[0] == "preprocessing" else settings.model_fields
        close = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"keys are {', '.join(known)}"
        return f"{key}: no such key - {hint}"
    if detail["type"] == "missing":
        return f"{key}: missing - give {missing[key]}"
    if detail["type"] == "value_error":  # of our own validators, which name the value
        return f"{key}: {detail['msg'].removeprefix('Value error, ')}"
    facts = detail.get("ctx", {})
    remedy = _REMEDIES.get(detail["type"])
    advice = remedy.format_map(facts) if remedy is not None else detail["msg"]
    return f"{key}: {quoted(detail['input'])} - {advice}"


_NOTHING = (
    "nothing to audit - give a model and its records, such as: pmcore audit model.onnx --members train.npz "
    "--non-members test.npz --out report/ (see pmcore audit --help)"
)
_MISSING = {
    "model": "the path of the exported model as first argument, or the key 'model' of an audit file",
    "members": "the records that trained the model: --members FILE, or the key 'members' of an audit file",
    "non_members": (
        "records of the same kind that did not: --non-members FILE, or the key 'non_members' of an audit file"
    ),
}
_REMEDIES = {
    "int_parsing": "give a whole number",
    "int_type": "give a whole number",
    "int_from_float": "give a whole number",
    "int_parsing_size": "give a smaller number",
    "float_parsing": "give a number",
    "float_type": "give a number",
    "finite_number": "give a finite number",
    "bool_parsing": "give true or false",
    "bool_type": "give true or false",
    "string_type": "give text",
    "string_too_short": "give a path",
    "tuple_type": "give a list",
    "model_type": "give keys and values",
    "enum": "give {expected}",
    "greater_than": "give more than {gt:g}",
    "greater_than_equal": "give {ge} or more",
    "less_than": "give less than {lt:g}",
    "less_than_equal": "give {le} or less",
}
