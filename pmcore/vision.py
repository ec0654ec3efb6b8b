"""Preprocessing of images as others write it down: ONNX image metadata and Hugging Face image processors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pmcore.errors import InputError
from pmcore.outputs import Array
from pmcore.preprocessing import PreprocessingSettings

RANGE_KEY = "Image.NominalPixelRange"
FORMAT_KEY = "Image.BitmapPixelFormat"
PROCESSOR_KEYS = ("image_processor_type", "image_mean", "rescale_factor", "do_rescale")


@dataclass(frozen=True)
class Reading:
    """What a source says, nothing by default, and a warning about it, if any."""

    settings: PreprocessingSettings = field(default_factory=PreprocessingSettings)
    warning: str | None = None


def from_onnx_metadata(metadata: Mapping[str, str], sample: Array) -> Reading:
    """Return what the image keys of an ONNX file ask for, given a sample (b, ...) of the records.

    References
    ----------
    ONNX, "Metadata properties: image category definition" (Image.NominalPixelRange, Image.BitmapPixelFormat).
    """
    warning = None
    form = metadata.get(FORMAT_KEY, "")
    if form.lower().startswith("bgr"):
        warning = f"the model's metadata asks for {form}; the channels are sent in the order of the file"
    wanted = metadata.get(RANGE_KEY)
    if wanted is None:
        return Reading(warning=warning)
    full = _reaches_255(sample)
    if wanted == "NominalRange_0_255":
        return Reading(PreprocessingSettings(scale=1.0 if full else 255.0), warning)
    if wanted == "Normalized_0_1":
        return Reading(PreprocessingSettings(scale=1 / 255 if full else 1.0), warning)
    if wanted == "Normalized_1_1":
        if not full and sample.min() < 0:
            return Reading(PreprocessingSettings(scale=1.0), warning)
        scale = 1 / 255 if full else 1.0
        return Reading(PreprocessingSettings(scale=scale, mean=(0.5,), std=(0.5,)), warning)
    return Reading(warning=f"the model's metadata asks for pixels in {wanted}, which is not applied; give --scale")


def from_image_processor(config: Any, sample: Array, where: str, place: str) -> Reading:
    """Return what a `preprocessor_config.json` asks for; nothing if it is not about images.

    Floating-point records that are scaled already (none above 1) are not scaled again, those that are
    normalised already (some below 0) are left alone, and a warning says so.

    Raises
    ------
    InputError
        Images of another size are wanted, or a value is not a number.
    """
    if not isinstance(config, dict):
        raise InputError(f"{place}: not a preprocessor configuration")
    if not any(key in config for key in PROCESSOR_KEYS):
        return Reading()
    _check_size(config, sample, where, place)
    normalises = bool(config.get("do_normalize", "image_mean" in config))
    stated = {
        "scale": config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else None,
        "mean": config.get("image_mean") if normalises else None,
        "std": config.get("image_std") if normalises else None,
    }
    settings = PreprocessingSettings.parse({key: value for key, value in stated.items() if value is not None}, place)
    if settings.scale is None or settings.scale > 0.5 or _reaches_255(sample):
        return Reading(settings)
    if sample.min() < 0:
        return Reading(warning=f"{where} has values below 0: taken as normalised already, {place} is not applied")
    return Reading(
        settings.model_copy(update={"scale": 1.0}), f"{where} is in 0..1 already: not scaled again as {place} says"
    )


def _reaches_255(sample: Array) -> bool:
    """Tell whether values are those of 8-bit pixels, not scaled or normalised ones."""
    return sample.dtype.kind in "iu" or (sample.dtype.kind == "f" and bool(sample.max() > 16))


def _check_size(config: Mapping[str, Any], sample: Array, where: str, place: str) -> None:
    crops = config.get("do_center_crop", False) and "crop_size" in config
    key = "crop_size" if crops else "size"
    if not (crops or config.get("do_resize", False)) or sample.ndim < 3:
        return
    height, width = _sides(config.get(key))
    if height is None or width is None:
        return
    shape = sample.shape[1:]
    if (height, width) not in (shape[-2:], shape[:2], shape[-3:-1]):
        shown = ",".join(str(size) for size in shape)
        raise InputError(f"{where} has shape [{shown}] per record - {place} wants {height} x {width}: resize them")


def _sides(size: Any) -> tuple[int | None, int | None]:
    if isinstance(size, dict):
        edge = size.get("shortest_edge")
        sides = (size.get("height", edge), size.get("width", edge))
    else:
        sides = (size, size)
    return (sides[0], sides[1]) if all(isinstance(side, int) for side in sides) else (None, None)
