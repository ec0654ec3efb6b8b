"""Which preprocessing a model was trained with: given, found in or beside the model, or judged by shapes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Array, Inputs, ModelDescription, TensorSpec
from pmcore.preprocessing import Layout, Preprocessing, PreprocessingSettings
from pmcore.shapes import Fit, as_told, fit
from pmcore.vision import from_image_processor, from_onnx_metadata
from pmcore.yaml_files import read_yaml

METADATA_KEY = "pmcore.preprocessing"
SIDECAR = "audit.yaml"
IMAGE_PROCESSOR = "preprocessor_config.json"
SAMPLE = 256
"""Records looked at to tell scaled pixels from unscaled ones."""


@dataclass(frozen=True)
class Found:
    """Settings and where they were found, and what may be wrong with them."""

    settings: PreprocessingSettings
    source: str
    warning: str | None = None


@dataclass(frozen=True)
class Discovery:
    """The preprocessing of every input of a model.

    Parameters
    ----------
    binding : input of the model -> key of the data
    inputs : input of the model -> what is done to it
    warnings : what may be wrong with it, one sentence each
    """

    binding: Mapping[str, str]
    inputs: Mapping[str, Preprocessing]
    warnings: tuple[str, ...] = ()

    @property
    def steps(self) -> list[str]:
        """Return the steps in words; those of several inputs carry its name."""
        many = len(self.inputs) > 1
        return [f"{name}: {step}" if many else step for name, one in self.inputs.items() for step in one.steps()]

    @property
    def source(self) -> str:
        """Return where the steps were found, in words."""
        return "; ".join(dict.fromkeys(one.source for one in self.inputs.values()))


def discover(
    description: ModelDescription,
    model_path: Path | None,
    inputs: Inputs,
    path: str,
    given: PreprocessingSettings | None = None,
) -> Discovery:
    """Settle what is done to each input, in order of precedence, and check that it fits the model.

    What somebody gives comes first, then the model's metadata, `preprocessor_config.json` and `audit.yaml`
    beside the model, and at last the shapes alone. Scale, mean and deviation come together from one source.

    Parameters
    ----------
    model_path : the model's file or folder, or None for a model in memory
    inputs : the records, (n, ...) per key; shapes, types and a few values are looked at
    path : where the records come from, for messages
    given : what the user or the audit file says

    Raises
    ------
    InputError
        The records cannot become what the model wants, or nothing tells how.
    """
    binding = bind_inputs(description, list(inputs), path)
    specs = {spec.name: spec for spec in description.inputs}
    images = [name for name, key in binding.items() if inputs[key].ndim >= 3] or list(binding)
    prepared, warnings = {}, []
    for name, key in binding.items():
        where = f"{path}: {key}"
        sample = _sample(inputs[key])
        found = list(_sources(description, model_path, sample, where, given)) if name in images else []
        prepared[name] = _settle(specs[name], sample, where, found)
        warnings += [one.warning for one in found if one.warning]
        if _unscaled(sample, specs[name], found):
            warnings.append(
                f"{where}: pixels 0..{int(sample.max())} are sent unscaled; if the model was trained on "
                "scaled ones, give --scale 1/255, and --mean and --std if it had them"
            )
    return Discovery(binding, prepared, tuple(dict.fromkeys(warnings)))


def bind_inputs(description: ModelDescription, keys: Sequence[str], path: str) -> dict[str, str]:
    """Return for each input of the model the key of the data that feeds it.

    A single key feeds a single input whatever their names; several must have the names of the model's inputs.

    Raises
    ------
    InputError
        A name is missing or too many; both lists are shown.
    """
    names = [spec.name for spec in description.inputs]
    if len(names) == 1 == len(keys):
        return {names[0]: keys[0]}
    shown = f"the model's inputs are {', '.join(names)}; the data has {', '.join(keys)}"
    missing = [name for name in names if name not in keys]
    extra = [key for key in keys if key not in names]
    if missing and (len(names) > 1 or len(keys) == 1 or missing == names):
        close = difflib.get_close_matches(missing[0], extra, 1)
        hint = f"; is {close[0]!r} meant by it? rename one" if close else ""
        if len(names) == 1:
            raise InputError(f"{path}: {len(keys)} arrays for one input - name it with --x-key ({shown})")
        raise InputError(f"{path}: nothing for the input {missing[0]!r} - {shown}{hint}")
    if extra:
        raise InputError(f"{path}: {extra[0]!r} is no input - name those to send with --x-key ({shown})")
    return {name: name for name in names}


def _sources(
    description: ModelDescription,
    model_path: Path | None,
    sample: Array,
    where: str,
    given: PreprocessingSettings | None,
) -> Iterator[Found]:
    """Yield what each source says, in order of precedence; what speaks of values alone only until they are known."""
    known = False
    if given is not None:
        known = given.states_values
        yield Found(given, "given")
    metadata = description.properties
    if METADATA_KEY in metadata:
        place = f"{model_path or 'model'}: metadata {METADATA_KEY}"
        settings = PreprocessingSettings.parse(_json(metadata[METADATA_KEY], place), place)
        known = known or settings.states_values
        yield Found(settings, "model metadata")
    if not known:
        found = from_onnx_metadata(metadata, sample)
        known = found.settings.states_values
        yield Found(found.settings, "model metadata", found.warning)
    if model_path is None:
        return
    folder = model_path if model_path.is_dir() else model_path.parent
    if not known and (folder / IMAGE_PROCESSOR).is_file():
        place = str(folder / IMAGE_PROCESSOR)
        config = _json(_text(folder / IMAGE_PROCESSOR), place)
        found = from_image_processor(config, sample, where, place)
        yield Found(found.settings, IMAGE_PROCESSOR, found.warning)
    if (folder / SIDECAR).is_file():
        content = read_yaml(folder / SIDECAR)
        if isinstance(content, dict) and content.get("preprocessing") is not None:
            place = f"{folder / SIDECAR}: preprocessing"
            yield Found(PreprocessingSettings.parse(content["preprocessing"], place), f"{SIDECAR} beside the model")


def _settle(spec: TensorSpec, sample: Array, where: str, found: Sequence[Found]) -> Preprocessing:
    """Join what the sources say with what the shapes ask for."""
    nothing = Found(PreprocessingSettings(), "")
    values = next((one for one in found if one.settings.states_values), nothing)
    layout = next((one for one in found if one.settings.layout is not None), nothing)
    flatten = next((one for one in found if one.settings.flatten is not None), nothing)
    stored = tuple(int(size) for size in sample.shape[1:])
    move = Fit(result=stored)
    if spec.shape:
        move = fit(stored, spec.record_shape, layout.settings.layout, flatten.settings.flatten, where, str(spec))
    else:  # the model states no shape, so that only what is said can be done
        move = as_told(stored, layout.settings.layout, bool(flatten.settings.flatten), where)
    mean, std = values.settings.mean or (), values.settings.std or ()
    dtype = _dtype(spec, found)
    axis = _channel_axis(max(len(mean), len(std)), move, layout.settings.layout, where)
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) > 1 and len(numbers) != ((1, *move.result)[axis]):
            channels = (1, *move.result)[axis]
            raise InputError(
                f"{where} has {channels} channels - {name} has {len(numbers)} values; give one per channel"
            )
    sources = [values.source]
    if move.words or move.flatten:
        judged = next((one.source for one in (layout, flatten) if one.source), "shapes")
        sources.append(judged if not values.source or judged == values.source else f"layout: {judged}")
    casts = dtype is not None and sample.dtype != np.dtype(dtype)
    return Preprocessing(
        name=spec.name,
        axes=move.axes,
        shape=move.shape,
        layout=move.words,
        scale=values.settings.scale,
        mean=mean,
        std=std,
        channel_axis=axis,
        flatten=move.flatten,
        dtype=dtype,
        casts=casts,
        source=", ".join(dict.fromkeys(filter(None, sources))) or ("the model's type" if casts else "none found"),
    )


def _channel_axis(values: int, move: Fit, layout: Layout | None, where: str) -> int:
    """Return the axis of a batch that per-channel numbers belong to."""
    rank = len(move.result)
    if layout in (Layout.NCHW, Layout.NHWC) and rank > 1:
        return 1 if layout is Layout.NCHW else rank
    if move.words in ("NHWC to NCHW", "channel axis put first"):
        return 1
    if values <= 1 or rank <= 1:
        return rank
    fitting = [axis for axis in dict.fromkeys((1, rank)) if move.result[axis - 1] == values]
    if len(fitting) > 1:
        raise InputError(f"{where}: {values} channels first or last? - give the layout, nchw or nhwc")
    return fitting[0] if fitting else (1 if move.result[0] <= 4 else rank)


def _dtype(spec: TensorSpec, found: Sequence[Found]) -> str | None:
    """Return the type that the model takes; a type that is given must be that one."""
    stated = next((one for one in found if one.settings.dtype is not None), None)
    try:
        known = np.dtype(spec.dtype).kind in "buif"
    except TypeError:
        known = False
    if stated is None or stated.settings.dtype is None:
        return spec.dtype if known else None
    if known and np.dtype(stated.settings.dtype) != np.dtype(spec.dtype):
        raise InputError(
            f"preprocessing ({stated.source}): dtype: {stated.settings.dtype} - the model takes {spec}; leave it out"
        )
    return stated.settings.dtype


def _unscaled(sample: Array, spec: TensorSpec, found: Sequence[Found]) -> bool:
    """Tell whether integer images go into a model of floats, and no source says a word about scaling."""
    silent = not any(one.settings.states_values or one.warning for one in found)
    pixels = sample.dtype.kind in "iu" and sample.ndim in (3, 4) and bool(sample.max() > 1)
    return silent and pixels and spec.dtype.startswith("float")


def _sample(array: Array) -> Array:
    """Return some records spread over the file."""
    rows = np.unique(np.linspace(0, len(array) - 1, min(SAMPLE, len(array)), dtype=np.int64))
    sample: Array = array[rows]
    return sample


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read as text") from None


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{place}: not JSON") from None
