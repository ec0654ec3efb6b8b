from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pmcore.errors import InputError
from pmcore.interfaces import Array, Floats, GradientRequest, Inputs, Outputs, Scale, Task, Want
from pmcore.signals import Loss
from pmcore.sketches import parameter_sketch
from pmcore.testing import parametrize_with_checks
from pmcore.whitebox_signals import LastLayerGradientNorm

from numpy_backend import NumpyModel, NumpyOptions
from numpy_backend.files import write_network

WIDTHS = (5, 7, 6, 3)
Break = Callable[[dict[str, Array]], object]


@parametrize_with_checks([NumpyModel])
def test_the_backend_keeps_every_promise(plugin: type[NumpyModel], check: Callable[[type[NumpyModel]], None]) -> None:
    check(plugin)


def write(path: Path, activation: str = "none", widths: tuple[int, ...] = WIDTHS, dtype: str = "float64") -> Path:
    rng = np.random.default_rng(1)
    pairs = list(pairwise(widths))
    weights = [rng.normal(size=pair).astype(dtype) for pair in pairs]
    write_network(path, weights, [rng.normal(size=pair[1]).astype(dtype) for pair in pairs], activation)
    return path


def records(n: int = 9) -> dict[str, Array]:
    return {"x": np.random.default_rng(2).normal(size=(n, WIDTHS[0]))}


def loss(model: NumpyModel, inputs: Inputs, labels: Array) -> Floats:
    told = model.describe()
    return Loss().compute(Outputs(told.task, told.scale, labels, model.predict(inputs)))


TASKS = {
    Task.MULTICLASS: ("softmax", WIDTHS, np.arange(9) % 3),
    Task.BINARY: ("sigmoid", (5, 7, 1), np.arange(9) % 2),
    Task.MULTILABEL: ("sigmoid", WIDTHS, np.arange(27).reshape(9, 3) % 2),
    Task.REGRESSION: ("none", (5, 7, 1), np.linspace(-2.0, 3.0, 9)),
}


def differences(path: Path, labels: Array) -> dict[str, list[Floats]]:
    """Return the gradients of every record by finite differences: layer -> [(n, d, h) of w, (n, h) of b]."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    parts: dict[str, list[Floats]] = {}
    for name in (n for n in arrays if n[0] in "wb"):
        columns = []
        for place in np.ndindex(arrays[name].shape):
            sides = []
            for step in (1e-6, -1e-6):
                changed = {key: array.copy() for key, array in arrays.items()}
                changed[name][place] += step
                np.savez(path.with_name("changed.npz"), **changed)
                sides.append(loss(NumpyModel.load(path.with_name("changed.npz"), NumpyOptions()), records(), labels))
            columns.append((sides[0] - sides[1]) / 2e-6)
        found = np.stack(columns, axis=1).reshape(len(labels), *arrays[name].shape)
        parts.setdefault(f"fc{name[1:]}", []).append(found)
    return parts


@pytest.mark.parametrize("task", TASKS)
def test_gradients_are_those_of_finite_differences(task: Task, tmp_path: Path) -> None:
    activation, widths, labels = TASKS[task]
    path = write(tmp_path / "net.npz", activation, widths)
    model = NumpyModel.load(path, NumpyOptions())
    assert model.describe().task is task
    parts = differences(path, labels)
    by_layer = {name: np.hstack([part.reshape(len(labels), -1) for part in found]) for name, found in parts.items()}
    for order in (1.0, 2.0, np.inf):
        every, single = GradientRequest(order=order), GradientRequest(tuple(by_layer), order=order)
        found = model.gradients(records(), labels, [every, single])
        expected = np.linalg.norm(np.hstack(list(by_layer.values())), order, axis=1)
        np.testing.assert_allclose(found[every][:, 0], expected, rtol=1e-5, atol=1e-7)
        for column, gradient in zip(found[single].T, by_layer.values(), strict=True):
            np.testing.assert_allclose(column, np.linalg.norm(gradient, order, axis=1), rtol=1e-5, atol=1e-7)


def test_sketches_are_those_of_gradients_that_are_written_out(tmp_path: Path) -> None:
    labels = TASKS[Task.MULTICLASS][2]
    path = write(tmp_path / "net.npz")
    parts = differences(path, labels)
    request = GradientRequest(("fc2", "relu0", "fc0"), reduction="sketch", size=4)
    found = NumpyModel.load(path, NumpyOptions()).gradients(records(), labels, [request])[request]
    for name, sketch in zip(request.layers, np.split(found, 3, axis=1), strict=True):
        expected = np.zeros_like(sketch)
        for position, gradient in enumerate(parts.get(name, [])):
            matrices = gradient if gradient.ndim == 3 else gradient[:, :, np.newaxis]
            expected += parameter_sketch(gradient.shape[1:], 4, position).of_matrices(matrices)
        np.testing.assert_allclose(sketch, expected, rtol=1e-5, atol=1e-7)


def test_very_confident_records_do_not_tie(tmp_path: Path) -> None:
    with np.load(write(tmp_path / "net.npz", dtype="float32")) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(tmp_path / "sure.npz", **arrays | {"w2": arrays["w2"] * 50, "b2": arrays["b2"] * 50})
    model = NumpyModel.load(tmp_path / "sure.npz", NumpyOptions())
    labels = model.predict(records()).argmax(axis=1)
    every = GradientRequest()
    norms = model.gradients(records(), labels, [every])[every][:, 0]
    assert norms.min() < 1e-40
    assert len(np.unique(norms)) == len(norms)
    assert (norms > 0).all()


def test_the_input_of_the_last_layer_gives_the_norm_of_its_gradient(tmp_path: Path) -> None:
    labels = TASKS[Task.MULTICLASS][2]
    for widths in (WIDTHS, (5, 3)):
        model = NumpyModel.load(write(tmp_path / "net.npz", widths=widths), NumpyOptions())
        last = GradientRequest((model.layers()[-1].name,))
        want = Want(predictions=True, head_input=True, gradients=frozenset({last}))
        outputs = model.ask(records(), labels, want)
        np.testing.assert_allclose(LastLayerGradientNorm().compute(outputs), outputs.gradients[last][:, 0], rtol=1e-12)


def test_where_gradients_came_from_is_told_once_some_were_asked_for(tmp_path: Path) -> None:
    model = NumpyModel.load(write(tmp_path / "net.npz"), NumpyOptions())
    assert model.gradient_source() is None
    model.gradients(records(), np.zeros(9, dtype=np.int64), [GradientRequest()])
    source = model.gradient_source()
    assert source is not None
    assert (source.tier, source.precision, source.surrogate) == ("framework", "float64", False)


@pytest.mark.parametrize("activation", ["none", "softmax"])
def test_logits_are_read_whatever_follows_them(activation: str, tmp_path: Path) -> None:
    path = write(tmp_path / "net.npz", activation)
    model = NumpyModel.load(path, NumpyOptions())
    with np.load(path) as net:
        hidden = np.maximum(records()["x"] @ net["w0"] + net["b0"], 0)
        hidden = np.maximum(hidden @ net["w1"] + net["b1"], 0)
        np.testing.assert_allclose(model.predict(records()), hidden @ net["w2"] + net["b2"])
    assert model.describe().scale is Scale.LOGITS
    assert model.describe().pre_softmax is (activation == "softmax")


def test_the_type_of_the_file_is_computed_in_unless_another_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "net.npz", dtype="float32")
    single = NumpyModel.load(path, NumpyOptions())
    double = NumpyModel.load(path, NumpyOptions(dtype="float64"))
    assert (single.describe().precision, double.describe().precision) == ("float32", "float64")
    assert [str(model.predict(records()).dtype) for model in (single, double)] == ["float32", "float64"]
    np.testing.assert_allclose(single.predict(records()), double.predict(records()), rtol=1e-4, atol=1e-5)


def test_a_file_of_records_is_no_network(tmp_path: Path) -> None:
    np.savez(tmp_path / "records.npz", x=np.zeros((3, 5)), y=np.zeros(3))
    for name, ours in (("records.npz", False), ("net.npz", True)):
        write(tmp_path / "net.npz")
        assert NumpyModel.recognises(tmp_path / name, (tmp_path / name).read_bytes()[:4096]) is ours
    with pytest.raises(InputError, match=r"records.npz: has no array 'numpy_backend'"):
        NumpyModel.load(tmp_path / "records.npz", NumpyOptions())


BROKEN: dict[str, Break] = {
    "is of version 2, not 1": lambda arrays: arrays.update(numpy_backend=np.array(2)),
    "activation: 'gelu' is none of": lambda arrays: arrays.update(activation=np.array("gelu")),
    "must hold w0, b0": lambda arrays: arrays.pop("b1"),
    "w1 of shape": lambda arrays: arrays.update(w1=arrays["w1"][:-1]),
    "give one float type": lambda arrays: arrays.update(w0=arrays["w0"].astype(np.int64)),
    "ends in softmax": lambda arrays: arrays.update(
        activation=np.array("softmax"), w2=arrays["w2"][:, :1], b2=arrays["b2"][:1]
    ),
}


@pytest.mark.parametrize("complaint", BROKEN)
def test_a_broken_network_is_refused_in_one_line(complaint: str, tmp_path: Path) -> None:
    with np.load(write(tmp_path / "net.npz")) as archive:
        arrays = {name: archive[name] for name in archive.files}
    BROKEN[complaint](arrays)
    np.savez(tmp_path / "broken.npz", **arrays)
    with pytest.raises(InputError, match=f"broken.npz: .*{complaint}") as caught:
        NumpyModel.load(tmp_path / "broken.npz", NumpyOptions())
    assert "\n" not in str(caught.value)


def test_a_packed_network_is_refused_since_it_could_fill_the_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "net.npz", numpy_backend=np.array(1), w0=np.zeros((999, 999)), b0=np.zeros(999))
    with pytest.raises(InputError, match="is packed"):
        NumpyModel.load(tmp_path / "net.npz", NumpyOptions())


def test_options_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "net.npz")
    with pytest.raises(InputError, match="dtype: 'float16' - give float32 or float64"):
        NumpyModel.load(path, NumpyOptions(dtype="float16"))
    with pytest.raises(InputError, match="device 'cuda'"):
        NumpyModel.load(path, NumpyOptions(device="cuda"))
    with pytest.raises(InputError, match="threads: 0 cannot be had"):
        NumpyModel.load(path, NumpyOptions(threads=0))
    with pytest.raises(InputError, match="no output 'z'"):
        NumpyModel.load(path, NumpyOptions(output="z"))


def test_threads_change_no_answer(tmp_path: Path) -> None:
    path = write(tmp_path / "net.npz")
    few, many = (NumpyModel.load(path, NumpyOptions(threads=threads)) for threads in (1, None))
    np.testing.assert_allclose(few.predict(records()), many.predict(records()), rtol=1e-12)
