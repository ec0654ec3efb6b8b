"""Preprocessing: settings, steps, where they are found, and how shapes are made to meet."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmcore.discovery import Discovery, bind_inputs, discover
from pmcore.errors import InputError
from pmcore.interfaces import ModelDescription, Scale, Task, TensorSpec
from pmcore.outputs import Array
from pmcore.preprocessing import Layout, Preprocessing, PreprocessingSettings
from pmcore.shapes import fit

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
HF = {
    "image_processor_type": "ViTImageProcessor",
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.49, 0.48, 0.45],
    "image_std": [0.2, 0.2, 0.2],
}


def model(*shape: int | str | None, dtype: str = "float32", **properties: str) -> ModelDescription:
    return describe(TensorSpec("pixels", ("n", *shape), dtype), **properties)


def describe(*inputs: TensorSpec, **properties: str) -> ModelDescription:
    metadata = {name.replace("_", "."): value for name, value in properties.items()}
    return ModelDescription(
        inputs, Task.MULTICLASS, 10, "logits", Scale.LOGITS, "CPU", "float32", "test", properties=metadata
    )


def found(description: ModelDescription, x: Array, folder: Path = Path("none"), **given: Any) -> Discovery:
    settings = PreprocessingSettings.parse(given, "flags") if given else None
    return discover(description, folder / "model.onnx", {"x": x}, "members.npz", settings)


def sent(discovery: Discovery, x: Array) -> Array:
    return discovery.inputs["pixels"].apply(x)


def refused(description: ModelDescription, x: Array, **given: Any) -> str:
    with pytest.raises(InputError) as caught:
        found(description, x, **given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


UNSTATED = describe(TensorSpec("pixels", (), "float32"))
"""A model that does not state the shape of its input, as a module in memory."""


@pytest.mark.parametrize(
    ("layout", "moved"),
    [
        ("nchw", PIXELS.transpose(0, 3, 1, 2)),
        ("nhwc", PIXELS),
        ("as-is", PIXELS),
        (None, PIXELS),
    ],
)
def test_a_model_without_a_shape_is_sent_what_is_asked_for(layout: str | None, moved: Array) -> None:
    given: dict[str, Any] = {} if layout is None else {"layout": layout}
    np.testing.assert_array_equal(sent(found(UNSTATED, PIXELS, **given), PIXELS), moved)


def test_a_model_without_a_shape_is_sent_rows_and_channels_where_these_are_asked_for() -> None:
    grey = PIXELS[..., 0]
    assert sent(found(UNSTATED, grey, layout="nchw"), grey).shape == (6, 1, 8, 8)
    assert sent(found(UNSTATED, grey, layout="nhwc"), grey).shape == (6, 8, 8, 1)
    np.testing.assert_array_equal(sent(found(UNSTATED, PIXELS, flatten="true"), PIXELS), PIXELS.reshape(6, -1))
    rows = sent(found(UNSTATED, PIXELS, flatten="true", layout="nchw"), PIXELS)
    np.testing.assert_array_equal(rows, PIXELS.transpose(0, 3, 1, 2).reshape(6, -1))
    assert "no channels" in refused(UNSTATED, PIXELS[:, 0, 0, 0], layout="nchw")


def test_settings_are_read_from_text_and_back_from_json() -> None:
    text = {"scale": "1/255", "mean": "0.49,0.48,0.45", "std": "0.2", "layout": "NCHW", "flatten": "true"}
    settings = PreprocessingSettings.parse(text, "audit.yaml")
    assert settings.scale == 1 / 255
    assert settings.mean == (0.49, 0.48, 0.45)
    assert settings.std == (0.2,)
    assert settings.layout is Layout.NCHW
    assert settings.flatten is True
    assert PreprocessingSettings.parse(json.loads(settings.model_dump_json()), "json") == settings
    assert PreprocessingSettings.parse({"mean": 0.5, "std": [1, 2]}, "audit.yaml").std == (1.0, 2.0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"scael": 1}, "audit.yaml: unknown key 'scael' - known are scale, mean"),
        ({"scale": "1/0"}, "audit.yaml: scale: '1/0' - give a number such as 0.5 or 1/255"),
        ({"scale": "much"}, "audit.yaml: scale: 'much'"),
        ({"scale": "inf"}, "audit.yaml: scale: 'inf'"),
        ({"scale": 0}, "audit.yaml: scale: 0.0 - give numbers other than 0"),
        ({"std": "0.2,0"}, "audit.yaml: std: (0.2, 0.0)"),
        ({"layout": "hwcn"}, "audit.yaml: layout: "),
        ({"dtype": "floaty"}, "audit.yaml: dtype: 'floaty' - give a number type"),
        ("1/255", "audit.yaml: give keys and values"),
    ],
)
def test_a_setting_that_does_not_fit_is_told_in_one_line(settings: object, says: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(says)) as caught:
        PreprocessingSettings.parse(settings, "audit.yaml")
    assert "\n" not in str(caught.value)


def test_nothing_to_do_gives_the_same_array() -> None:
    x = RNG.random((4, 5)).astype(np.float32)
    discovery = found(model(5), x)
    assert sent(discovery, x) is x
    assert discovery.steps == []
    assert discovery.source == "none found"


def test_steps_read_as_in_the_report_and_do_what_they_say() -> None:
    discovery = found(model(3, 8, 8), PIXELS, scale="1/255", mean="0.49,0.48,0.45", std="0.2,0.2,0.2", layout="nchw")
    assert discovery.steps == [
        "NHWC to NCHW",
        "/255",
        "mean .49 .48 .45",
        "std .20 .20 .20",
        "float32",
    ]
    expected = ((PIXELS / 255 - [0.49, 0.48, 0.45]) / 0.2).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(sent(discovery, PIXELS), expected, atol=1e-5)
    assert sent(discovery, PIXELS).dtype == np.float32
    assert sent(discovery, PIXELS).flags.c_contiguous
    assert discovery.source == "given"


def test_a_scale_of_one_over_a_whole_number_divides_as_training_code_does() -> None:
    x = np.arange(256, dtype=np.uint8)[:, None]
    np.testing.assert_array_equal(
        Preprocessing(scale=1 / 255, dtype="float32").apply(x), x.astype(np.float32) / np.float32(255)
    )
    assert Preprocessing(scale=0.0039).steps() == ["x0.0039"]
    assert Preprocessing(scale=255.0, mean=(-0.5,), std=(123.675,)).steps() == [
        "x255",
        "mean -.50",
        "std 123.70",
    ]


@pytest.mark.parametrize(
    ("stored", "wanted", "step"),
    [
        ((8, 8, 3), (3, 8, 8), "NHWC to NCHW"),
        ((3, 8, 8), (8, 8, 3), "NCHW to NHWC"),
        ((8, 8, 3), (3, None, "w"), "NHWC to NCHW"),
        ((8, 8), (1, 8, 8), "channel axis put first"),
        ((8, 8), (8, 8, 1), "channel axis put last"),
        ((8, 8), (1, "h", "w"), "channel axis put first"),
        ((1, 8, 8), (8, 8), "channel axis of 1 left out"),
        ((8, 8), (64,), "flatten"),
        ((8, 8, 3), (None,), "flatten"),
        ((5,), (5, 1), "channel axis put last"),
        ((), (1,), "channel axis put first"),
    ],
)
def test_shapes_alone_tell_the_move(stored: tuple[int, ...], wanted: tuple[Any, ...], step: str) -> None:
    x = RNG.random((4, *stored)).astype(np.float32)
    discovery = found(model(*wanted), x)
    assert discovery.steps == [step]
    assert discovery.source == "shapes"
    shape = sent(discovery, x).shape[1:]
    assert all(want in (size, None, "h", "w") for want, size in zip(wanted, shape, strict=True))


@pytest.mark.parametrize(
    ("stored", "wanted", "says"),
    [
        (
            (32, 32, 3),
            (64,),
            "members.npz: x has shape [32,32,3] per record - the model wants pixels float32 [n,64]: it has 3072 values",
        ),
        ((60,), (64,), "x has shape [60] per record - the model wants pixels float32 [n,64]: 64 values per"),
        ((8, 8), (None, None, None), "channel axis put first or channel axis put last? - give the layout"),
        ((5, 3, 7), (3, 8, 8), "give records of that shape"),
        ((784,), (1, 28, 28), "as many values - reshape the records to [1,28,28]"),
    ],
)
def test_impossible_and_ambiguous_shapes_are_told(stored: tuple[int, ...], wanted: tuple[Any, ...], says: str) -> None:
    assert says in refused(model(*wanted), np.zeros((4, *stored), dtype=np.float32))


def test_a_layout_that_is_given_decides() -> None:
    x = RNG.random((4, 8, 8)).astype(np.float32)
    assert found(model(None, None, None), x, layout="nhwc").steps == ["channel axis put last"]
    rgb = RNG.random((4, 8, 8, 3)).astype(np.float32)
    assert found(model(None, None, None), rgb, layout="nchw").steps == ["NHWC to NCHW"]
    assert found(model(None, None, None), rgb, layout="nhwc").steps == []
    assert "the model wants" in refused(model(3, 8, 8), rgb, layout="as-is")
    flat = found(model(192), rgb, layout="nchw")
    np.testing.assert_array_equal(sent(flat, rgb), rgb.transpose(0, 3, 1, 2).reshape(4, -1))


def test_numbers_per_channel_must_be_as_many_as_channels() -> None:
    assert "x has 3 channels - mean has 2 values" in refused(model(3, 8, 8), PIXELS, mean="1,2", layout="nchw")
    cube = np.zeros((2, 3, 3, 3), dtype=np.float32)
    assert "channels first or last?" in refused(model(3, 3, 3), cube, mean="1,2,3")
    table = RNG.random((5, 4)).astype(np.float32)
    scaled = found(model(4), table, mean="1,2,3,4", std="2")
    np.testing.assert_allclose(sent(scaled, table), (table - [1, 2, 3, 4]) / 2, rtol=1e-6)


def test_hugging_face_configuration_beside_the_model_is_found(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(HF))
    discovery = found(model(3, 8, 8), PIXELS, tmp_path)
    assert discovery.steps[1:4] == ["/255", "mean .49 .48 .45", "std .20 .20 .20"]
    assert discovery.source == "preprocessor_config.json, layout: shapes"
    assert discovery.warnings == ()
    scaled = found(model(3, 8, 8), PIXELS.astype(np.float32) / 255, tmp_path)
    assert "/255" not in scaled.steps
    assert "in 0..1 already" in scaled.warnings[0]
    normalised = found(model(3, 8, 8), PIXELS.astype(np.float32) / 127.5 - 1, tmp_path)
    assert normalised.steps == ["NHWC to NCHW"]
    assert "normalised already" in normalised.warnings[0]


@pytest.mark.parametrize("size", [224, {"height": 224, "width": 224}, {"shortest_edge": 224}])
def test_a_size_that_hugging_face_wants_and_the_records_lack_is_told(tmp_path: Path, size: object) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**HF, "do_resize": True, "size": size}))
    with pytest.raises(InputError, match=r"x has shape \[8,8,3\] per record - .* wants 224 x 224"):
        found(model(3, None, None), PIXELS, tmp_path)


def test_what_is_given_silences_the_configuration_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**HF, "do_resize": True, "size": 224}))
    x = PIXELS.astype(np.float32) / 255
    discovery = found(model(8, 8, 3, Image_BitmapPixelFormat="Bgr8"), x, tmp_path, scale=1)
    assert (discovery.steps, discovery.warnings) == ([], ())


def test_other_sources_and_their_precedence(tmp_path: Path) -> None:
    description = model(8, 8, 3)
    (tmp_path / "audit.yaml").write_text("members: a.npz\npreprocessing: {scale: 1/2, mean: 0.1}\n")
    assert found(description, PIXELS, tmp_path).steps == ["/2", "mean .10", "float32"]
    assert found(description, PIXELS, tmp_path).source == "audit.yaml beside the model"
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_rescale": True}))
    assert found(description, PIXELS, tmp_path).source == "preprocessor_config.json"
    described = model(8, 8, 3, pmcore_preprocessing='{"scale": "1/127.5", "mean": [1]}')
    assert found(described, PIXELS, tmp_path).source == "model metadata"
    given = found(described, PIXELS, tmp_path, scale=0.25)
    assert (given.steps, given.source) == (["/4", "float32"], "given")


@pytest.mark.parametrize(
    ("range_", "x", "steps"),
    [
        ("NominalRange_0_255", PIXELS, []),
        ("NominalRange_0_255", PIXELS / np.float32(255), ["x255"]),
        ("Normalized_0_1", PIXELS, ["/255"]),
        ("Normalized_0_1", PIXELS / np.float32(255), []),
        ("Normalized_1_1", PIXELS, ["/255", "mean .50", "std .50"]),
        ("Normalized_1_1", PIXELS / np.float32(255), ["mean .50", "std .50"]),
        ("Normalized_1_1", PIXELS / np.float32(127.5) - 1, []),
    ],
)
def test_onnx_image_metadata_is_obeyed(range_: str, x: Array, steps: list[str]) -> None:
    discovery = found(model(8, 8, 3, Image_NominalPixelRange=range_), x)
    assert [step for step in discovery.steps if step != "float32"] == steps
    assert discovery.source == "model metadata"
    assert discovery.warnings == ()


def test_metadata_that_cannot_be_obeyed_is_said() -> None:
    odd = model(8, 8, 3, Image_NominalPixelRange="NominalRange_16_235", Image_BitmapPixelFormat="Rgb8")
    assert "NominalRange_16_235" in found(odd, PIXELS).warnings[0]
    assert "Bgr8" in found(model(8, 8, 3, Image_BitmapPixelFormat="Bgr8"), PIXELS).warnings[0]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("preprocessor_config.json", "{", "not JSON"),
        ("audit.yaml", "a: [1\nb", "line 2: .* - mend the YAML"),
        ("audit.yaml", "a: 1\n\x00", "line 2: .* - mend the YAML"),
    ],
)
def test_a_damaged_file_beside_the_model_is_told(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name}: {says}") as caught:
        found(model(8, 8, 3), PIXELS, tmp_path)
    assert "\n" not in str(caught.value)


def test_unscaled_pixels_are_warned_about_and_only_they() -> None:
    assert "sent unscaled" in found(model(8, 8, 3), PIXELS).warnings[0]
    assert found(model(8, 8, 3), PIXELS, scale=1).warnings == ()
    assert found(model(8, 8, 3, dtype="uint8"), PIXELS).warnings == ()
    assert found(model(8, 8, 3), PIXELS > 100).warnings == ()
    assert found(model(64), RNG.integers(0, 9, (5, 64))).warnings == ()


@pytest.mark.parametrize(
    ("x", "dtype", "says"),
    [
        (np.array([[1.5]]), "int64", "input pixels takes int64, not float64: 1.5 would become 1"),
        (np.array([[300]]), "uint8", "300 would become"),
        (np.array([[-1]]), "uint8", "-1 would become"),
        (np.array([[1e30]]), "float16", "a value is too large"),
        (np.array([[1e300]]), "float32", "a value is too large"),
        (np.array([[1e30]]), "int64", "a value is too large"),
    ],
)
def test_a_cast_that_would_change_values_is_refused(x: Array, dtype: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        sent(found(model(1, dtype=dtype), x), x)


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (np.array([[3.0]]), "int64"),
        (np.array([[0.1]]), "float32"),
        (np.array([[0.1]], dtype=np.float32), "float16"),
        (np.array([[200]], dtype=np.int64), "uint8"),
        (np.array([[7]], dtype=np.uint8), "float32"),
        (np.array([[True]]), "float32"),
        (np.array([[1.0]], dtype=">f4"), "float32"),
    ],
)
def test_a_cast_that_keeps_values_is_made(x: Array, dtype: str) -> None:
    result = sent(found(model(1, dtype=dtype), x), x)
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_allclose(result.astype(float), x.astype(float), rtol=1e-3)


def test_a_type_that_is_given_must_be_the_models() -> None:
    assert "float16 - the model takes pixels float32" in refused(model(8, 8, 3), PIXELS, dtype="float16")
    assert found(model(8, 8, 3, dtype="bfloat16"), PIXELS, dtype="float32").steps == ["float32"]


def test_inputs_are_bound_by_name_unless_there_is_one() -> None:
    one = model(5)
    two = describe(TensorSpec("left", ("n", 2), "float32"), TensorSpec("right", ("n", 2), "float32"))
    assert bind_inputs(one, ["anything"], "m.npz") == {"pixels": "anything"}
    assert bind_inputs(two, ["right", "left"], "m.npz") == {"left": "left", "right": "right"}
    for description, keys, says in (
        (two, ["Left", "right"], "nothing for the input 'left'"),
        (two, ["x"], "nothing for the input 'left' - the model's inputs are left, right; the data has x"),
        (two, ["left", "right", "id"], "'id' is no input"),
        (one, ["a", "b"], "2 arrays for one input - name it with --x-key"),
    ):
        with pytest.raises(InputError, match=re.escape(f"m.npz: {says}")):
            bind_inputs(description, keys, "m.npz")
    x = np.zeros((3, 2))
    discovery = discover(two, Path("m.onnx"), {"left": x, "right": x}, "m.npz", None)
    assert discovery.steps == ["left: float32", "right: float32"]


def test_a_layout_for_records_without_channels_is_refused() -> None:
    with pytest.raises(InputError, match=r"has shape \[12\] per record and so no channels - leave out the layout"):
        fit((12,), (12,), Layout.NCHW, None, "members.npz: x", "x float32 [n,12]")
