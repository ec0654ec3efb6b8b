"""What `pmcore references` is asked to do; every field is one of its flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pmcore.description import Precision
from pmcore.errors import Misfits
from pmcore.outputs import Task
from pmcore.preprocessing import PreprocessingSettings
from pmcore.quoting import quoted
from pmcore.settings import MOST_THREADS, complaint_of

MOST_MODELS = 100_000
MOST_JOBS = 1024
DEFAULT_COUNT = 16


class ReferenceSettings(BaseModel):
    """One set of references, completely. Every field is a flag of `pmcore references`."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="pmcore references")

    model: str = Field(min_length=1, description="the exported model whose architecture is retrained")
    pool: tuple[str, ...] = Field(min_length=1, description="files of records that the references are trained on")
    out: str = Field(min_length=1, description="folder for the references")
    members: str | None = Field(
        None, min_length=1, description="records that trained the target; in-out: by default the first file of the pool"
    )
    non_members: str | None = Field(
        None, min_length=1, description="records that did not; in-out: by default the second file of the pool"
    )
    count: int = Field(DEFAULT_COUNT, ge=1, le=MOST_MODELS, description="number of references")
    assign: Literal["in-out", "out-only"] = Field(
        "in-out", description="whether the pool holds the records to audit, or population records alone"
    )
    trainer: str | None = Field(
        None, min_length=1, description="trainer as NAME or NAME:option=value,…; found from the model file"
    )
    command: str | None = Field(None, min_length=1, description="command line that trains one reference")
    epochs: int | Literal["auto"] = Field("auto", description="epochs, or auto for as well as the target knows its own")
    seed: int = Field(0, ge=0, description="fixes everything that is drawn")
    jobs: int | Literal["auto"] = Field("auto", description="processes, or auto for one per core")
    resume: bool = Field(False, description="go on with what is in the folder")
    x_keys: tuple[str, ...] = Field((), description="names of the inputs in the data files")
    y_key: str = Field("y", description="name of the labels in the data files")
    preprocessing: PreprocessingSettings | None = Field(None, description="what the model's inputs went through")
    backend: str | None = Field(None, description="backend as NAME or NAME:option=value,…; found from the file")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    threads: int | None = Field(None, ge=1, le=MOST_THREADS, description="threads of the runtime that measures")
    output: str | None = Field(None, description="output of the model that holds the predictions")
    task: Task | None = Field(None, description="multiclass, binary, multilabel or regression")
    precision: Precision | None = Field(None, description="float32, or deployed for what the runtime takes by itself")
    trust_model: str | None = Field(None, description="sha256:… of a model file that may run code of its own")
    model_class: str | None = Field(None, description="package.module:factory, for files that hold weights alone")
    third_party: bool = Field(True, description="whether plugins of other distributions may load")

    @field_validator("model", "members", "non_members", "out")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError(f"{quoted(value)} - give a path without a NUL character")
        return value

    @field_validator("pool")
    @classmethod
    def _paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            if not path or "\0" in path:
                raise ValueError(f"{quoted(path)} - give the paths of files")
            if value.count(path) > 1:
                raise ValueError(f"{path} is given twice - give it once")
        return value

    @field_validator("x_keys", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        return value

    @field_validator("epochs", "jobs", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> int | str:
        text = str(value).strip().lower()
        if text == "auto":
            return text
        if not text.isdecimal() or len(text) > 9 or int(text) < 1:
            raise ValueError(f"{text[:100]} - give a whole number from 1, or auto")
        return int(text)

    @field_validator("jobs")
    @classmethod
    def _sane(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value > MOST_JOBS:
            raise ValueError(f"{value} - give {MOST_JOBS} or less")
        return value


def read_reference_settings(given: Mapping[str, Any]) -> ReferenceSettings:
    """Return settings from what was given by flag name.

    Raises
    ------
    Misfits
        Values of the wrong type, and what is missing: all together.
    """
    try:
        return ReferenceSettings.model_validate(given)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise Misfits([complaint_of(detail, ReferenceSettings, _MISSING) for detail in details]) from None


_MISSING = {
    "model": "the path of the exported model as first argument, before --pool",
    "pool": "the records to train on: --pool members.npz nonmembers.npz",
    "out": "a folder for the references: --out refs/",
}
