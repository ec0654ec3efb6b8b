"""How OpenVINO is given records: any batch, fixed batches, several inputs, every type, from several threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from pmcore.errors import InputError, ModelError, OutOfMemory
from pmcore.interfaces import Array, LoadOptions, Want
from pmcore_openvino import OpenvinoModel
from pmcore_openvino.graph import Graph
from pmcore_openvino.requests import Requests
from tests.backends import builders as onnx_models
from tests.backends.openvino_builders import (
    BIAS,
    FEATURES,
    IMAGES,
    RECORDS,
    RNG,
    WEIGHT,
    constant,
    convolutions,
    expected_logits,
    linear,
    load,
    named,
    openvino,
    ops,
    parameter,
    random_weights,
    ready,
    save,
    save_convolutions,
    save_linear,
    torch_logits,
)

X = {"x": RECORDS}


def test_answers_are_those_of_onnx_runtime(tmp_path: Path) -> None:
    path = onnx_models.write_linear(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = ready(path, onnx_models.RECORDS).predict({"x": onnx_models.RECORDS})
    np.testing.assert_allclose(found, session.run(None, {"x": onnx_models.RECORDS})[0], atol=1e-6)


def test_a_record_is_answered_the_same_in_every_batch(tmp_path: Path) -> None:
    model = ready(save_convolutions(tmp_path / "m.xml"), IMAGES)
    whole = model.predict({"x": IMAGES})
    for size in (1, 3, 17):
        parts = [model.predict({"x": IMAGES[i : i + size]}) for i in range(0, len(IMAGES), size)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=2e-7 * np.abs(whole).max())


def test_pieces_of_a_batch_come_back_in_order(tmp_path: Path) -> None:
    x = parameter((-1, 2))
    model = ready(save(tmp_path / "m.xml", [ops.relu(x)], [x]), RECORDS[:, :2])
    numbers = np.arange(2 * 999, dtype=np.float32).reshape(-1, 2)
    for size in (1, 7, 16, 500, 999):
        np.testing.assert_array_equal(model.predict({"x": numbers[:size]}), numbers[:size])


def test_a_batch_is_shared_among_requests_and_no_more_than_allowed_are_under_way() -> None:
    x = parameter((-1, 2))
    core = openvino.Core()
    compiled = core.compile_model(Graph(openvino.Model([ops.relu(x)], [x], "t")).model, "CPU")
    requests = Requests(compiled, 3)
    drawn: list[int] = []

    def parts() -> Any:
        for i in range(50):
            drawn.append(i)
            assert requests._idle.qsize() >= 3 - min(3, i)
            yield {0: np.full((4, 2), i, dtype=np.float32)}

    answers = requests.answer(parts(), [0])
    assert drawn == list(range(50))
    assert [int(answer[0][0, 0]) for answer in answers] == list(range(50))
    assert requests._idle.qsize() == 3


def test_several_threads_may_ask_at_once(tmp_path: Path) -> None:
    model = ready(save_convolutions(tmp_path / "m.xml"), IMAGES)
    wanted = model.predict({"x": IMAGES})
    failures: list[object] = []

    def ask(start: int) -> None:
        for _ in range(20):
            found = model.predict({"x": IMAGES[start:]})
            if not np.allclose(found, wanted[start:], atol=1e-5):
                failures.append(start)

    threads = [threading.Thread(target=ask, args=(start,)) for start in (0, 5, 11, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_made_free(tmp_path: Path, batch: int) -> None:
    model = load(save_convolutions(tmp_path / "m.xml", batch))
    assert model.describe().batch == batch
    model.prepare({"x": IMAGES})
    said = model.describe()
    assert said.batch is None
    assert any(f"fixed batch of {batch} was made free" in note for note in said.notes)
    np.testing.assert_allclose(model.predict({"x": IMAGES}), torch_logits(random_weights(), IMAGES), atol=1e-5)


def reshaping(path: Path, batch: int, mean: bool = False) -> Path:
    """Write a model whose reshapes repeat a fixed batch; with a mean over it, it must not be freed."""
    x = parameter((batch, FEATURES))
    split = ops.reshape(x, constant(np.array([batch, 2, 3])), False)
    joined = ops.reshape(split, constant(np.array([batch, -1])), True)
    answer = linear(joined)
    if mean:
        answer = ops.add(answer, ops.reduce_mean(answer, constant(np.array([0])), True))
    return save(path, [answer], [x])


@pytest.mark.parametrize("batch", [1, 3])
def test_reshapes_that_repeat_the_batch_are_mended(tmp_path: Path, batch: int) -> None:
    model = ready(reshaping(tmp_path / "m.xml", batch))
    assert model.describe().batch is None
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)


def test_a_model_that_mixes_its_batch_keeps_it(tmp_path: Path) -> None:
    model = ready(reshaping(tmp_path / "m.xml", 3, mean=True))
    assert model.describe().batch == 3
    assert any("3 at a time" in note for note in model.describe().notes)
    wanted = expected_logits()
    wanted = wanted + wanted.reshape(3, 3, 4).mean(axis=1).repeat(3, axis=0)
    np.testing.assert_allclose(model.predict(X), wanted, atol=1e-5)


def test_a_batch_of_one_that_cannot_be_freed_is_asked_one_by_one(tmp_path: Path) -> None:
    x = parameter((1, FEATURES))
    flat = ops.reshape(x, constant(np.array([FEATURES])), False)
    answer = ops.reshape(ops.softmax(flat, 0), constant(np.array([1, FEATURES])), False)
    model = ready(save(tmp_path / "m.xml", [answer], [x]))
    assert model.describe().batch == 1
    raised = np.exp(RECORDS.astype(np.float64))
    found = model.ask(X, np.zeros(9, np.int64), Want(predictions=True)).log_probabilities
    np.testing.assert_allclose(np.exp(found), raised / raised.sum(axis=1, keepdims=True), atol=1e-6)


def test_a_model_of_single_records_is_asked_one_by_one(tmp_path: Path) -> None:
    x = parameter((FEATURES,))
    product = ops.matmul(ops.unsqueeze(x, constant(np.array([0]))), constant(WEIGHT), False, False)
    answer = ops.squeeze(ops.add(product, constant(BIAS[None])), constant(np.array([0])))
    model = ready(save(tmp_path / "m.xml", [answer], [x]))
    said = model.describe()
    assert any("takes no batch" in note for note in said.notes)
    assert str(said.inputs[0]) == "x float32 [batch,6]"
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)


def test_several_inputs_stand_in_the_models_order(tmp_path: Path) -> None:
    second, first = parameter((-1, 2), name="second"), parameter((-1, 4), name="first")
    answer = linear(ops.concat([first, second], 1))
    model = load(save(tmp_path / "m.xml", [answer], [second, first]))
    inputs = {"first": RECORDS[:, :4], "second": RECORDS[:, 4:]}
    model.prepare(inputs)
    assert [spec.name for spec in model.describe().inputs] == ["second", "first"]
    np.testing.assert_allclose(model.predict(inputs), expected_logits(), atol=1e-5)
    with pytest.raises(InputError, match="input 'second' is not among the arrays given"):
        model.predict({"first": RECORDS[:, :4], "other": RECORDS[:, 4:]})


def test_inputs_without_names_are_called_by_their_nodes(tmp_path: Path) -> None:
    x = ops.parameter([-1, FEATURES], np.float32, name="given")
    model = openvino.Model([linear(x)], [x], "t")
    for value in model.inputs:
        value.get_tensor().set_names(set())
    openvino.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    loaded = ready(tmp_path / "m.xml")
    assert loaded.describe().inputs[0].name == "given"
    np.testing.assert_allclose(loaded.predict({"whatever": RECORDS}), expected_logits(), atol=1e-5)


TYPES = {"bool": np.bool_, "uint8": np.uint8, "int64": np.int64, "float16": np.float16, "float64": np.float64}


@pytest.mark.parametrize("name", TYPES)
def test_inputs_of_every_type_are_taken(tmp_path: Path, name: str) -> None:
    x = parameter(dtype=TYPES[name])
    model = load(save(tmp_path / "m.xml", [linear(ops.convert(x, "f32"))], [x]))
    assert model.describe().inputs[0].dtype == name
    records = RNG.integers(0, 2, size=(30, FEATURES))
    model.prepare({"x": records})
    np.testing.assert_allclose(model.predict({"x": records}), records @ WEIGHT.astype(np.float64) + BIAS, atol=1e-5)


def test_tokens_are_looked_up(tmp_path: Path) -> None:
    table = RNG.normal(size=(20, 4)).astype(np.float32)
    x = parameter((-1, -1), np.int64)
    found = ops.gather(constant(table), x, constant(np.int64(0)))
    model = load(save(tmp_path / "m.xml", [ops.reduce_mean(found, constant(np.array([1])), False)], [x]))
    tokens = RNG.integers(0, 20, size=(50, 7))
    model.prepare({"x": tokens})
    np.testing.assert_allclose(model.predict({"x": tokens}), table[tokens].mean(axis=1), atol=1e-6)


def test_pixels_channels_last_with_preprocessing_inside_are_answered(tmp_path: Path) -> None:
    x = parameter((-1, 12, 12, 3), np.float32)
    x.set_layout(openvino.Layout("NHWC"))
    turned = ops.transpose(x, constant(np.array([0, 3, 1, 2])))
    model = openvino.Model([convolutions(turned, random_weights())], [x], "t")
    steps = openvino.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(127.5).scale(127.5)
    openvino.save_model(steps.build(), tmp_path / "m.xml", compress_to_fp16=False)
    pixels = RNG.integers(0, 256, size=(20, 12, 12, 3)).astype(np.uint8)
    model_loaded = ready(tmp_path / "m.xml", pixels)
    assert str(model_loaded.describe().inputs[0]) == "x uint8 [?,12,12,3]"
    scaled = ((pixels.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
    wanted = torch_logits(random_weights(), np.ascontiguousarray(scaled))
    np.testing.assert_allclose(model_loaded.predict({"x": pixels}), wanted, atol=1e-5)


def test_a_layout_with_the_records_elsewhere_is_refused(tmp_path: Path) -> None:
    x = parameter((FEATURES, -1))
    x.set_layout(openvino.Layout("CN"))
    answer = linear(ops.transpose(x, constant(np.array([1, 0]))))
    with pytest.raises(InputError, match="not along its first axis"):
        load(save(tmp_path / "m.xml", [answer], [x]))


def test_a_type_that_arrays_lack_is_refused(tmp_path: Path) -> None:
    x = ops.parameter([-1, FEATURES], openvino.Type.bf16, name="x")
    with pytest.raises(ModelError, match="input 'x' is of type bf16, which arrays cannot carry"):
        load(save(tmp_path / "m.xml", [linear(ops.convert(x, "f32"))], [x]))


def test_bfloat16_outputs_are_widened(tmp_path: Path) -> None:
    x = parameter()
    model = ready(save(tmp_path / "m.xml", [named(ops.convert(linear(x), "bf16"), "low")], [x]))
    found = model.predict(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected_logits(), rtol=2**-7, atol=1e-5)


def test_arrays_that_may_not_be_written_are_read(tmp_path: Path) -> None:
    model = ready(save_linear(tmp_path / "m.xml"))
    np.save(tmp_path / "x.npy", RECORDS)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r", allow_pickle=False)
    np.testing.assert_allclose(model.predict({"x": mapped}), expected_logits(), atol=1e-5)


def test_answers_are_copies_that_later_queries_leave_alone(tmp_path: Path) -> None:
    model = ready(save_linear(tmp_path / "m.xml"))
    first = model.predict(X)
    kept = first.copy()
    model.predict({"x": RECORDS * 5})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (RECORDS[:, :5], "input 'x' takes 6 along axis 1 and was given 5"),
        (RECORDS[:, :, None], "input 'x' takes 2 dimensions and was given 3"),
    ],
)
def test_records_of_another_shape_are_one_line(tmp_path: Path, records: Array, words: str) -> None:
    model = ready(save_linear(tmp_path / "m.xml"))
    with pytest.raises(ModelError, match=words) as caught:
        model.predict({"x": records})
    assert "\n" not in str(caught.value)


def test_a_failing_query_is_one_line_and_the_next_one_is_answered(tmp_path: Path) -> None:
    x = parameter((-1, 6))
    model = load(save(tmp_path / "m.xml", [ops.reshape(x, constant(np.array([-1, 9])), False)], [x]))
    for _ in range(5):
        with pytest.raises(ModelError, match=r"openvino failed: .*conflicts with the reshape pattern") as caught:
            model.predict({"x": RECORDS[:7]})
        assert "\n" not in str(caught.value)
    assert model._open().requests._idle.qsize() == model._open().requests.count
    (answer,) = model._open().run(tuple(model._open().outputs), {"x": RECORDS[:6]})
    np.testing.assert_array_equal(answer, RECORDS[:6].reshape(4, 9))


def test_too_large_a_batch_runs_out_of_memory_by_name(tmp_path: Path) -> None:
    x = parameter((-1, 4))
    wide = ops.tile(x, constant(np.array([1, 2_000_000_000])))
    model = load(save(tmp_path / "m.xml", [ops.reduce_sum(wide, constant(np.array([1])), True)], [x]))
    with pytest.raises(OutOfMemory, match=r"ran out of memory .*use a smaller batch"):
        model._open().run(tuple(model._open().outputs), {"x": np.ones((1000, 4), np.float32)})


def test_a_model_with_state_is_refused(tmp_path: Path) -> None:
    x = parameter((1, FEATURES))
    start = constant(np.zeros((1, FEATURES), np.float32))
    memory = openvino.opset6.read_value(start, "memory")
    added = ops.add(x, memory)
    model = openvino.Model([linear(added).output(0)], [openvino.opset6.assign(added, "memory")], [x], "t")
    openvino.save_model(model, tmp_path / "m.xml")
    with pytest.raises(ModelError, match="keeps state"):
        load(tmp_path / "m.xml")


def test_a_closed_model_says_so(tmp_path: Path) -> None:
    model = ready(save_linear(tmp_path / "m.xml"))
    model.close()
    with pytest.raises(Exception, match="was closed"):
        model.predict(X)


def test_threads_are_those_asked_for(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    model = OpenvinoModel.load(path, LoadOptions(threads=1))
    assert model._open().requests.count == 1
    with pytest.raises(InputError, match="threads 0 cannot be had"):
        OpenvinoModel.load(path, LoadOptions(threads=0))
