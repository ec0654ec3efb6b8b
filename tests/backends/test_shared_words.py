"""What backends share: devices, outputs, layers and failures are told in the same words by all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pmcore.asking import few, still_open
from pmcore.choosing import Candidate, choose_output, no_such_output
from pmcore.devices import AskedDevice, check_threads, parse_device
from pmcore.errors import AuditError, InputError, ModelError, OutOfMemory
from pmcore.intake import refuse_misfit
from pmcore.interfaces import Layer
from pmcore.layers import LayerTable
from pmcore.runtime_failures import failure, first_line, refusal

PATH = Path("m.onnx")
TABLE = LayerTable(tuple(Layer(i, name, "Relu", None, 0) for i, name in enumerate(("fc0", "fc1"))), ("t0", "t1"))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("auto", AskedDevice("auto")),
        (" CPU ", AskedDevice("cpu")),
        ("gpu:2", AskedDevice("gpu", 2)),
        ("gpu.2", AskedDevice("gpu", 2)),
        ("npu", AskedDevice("npu")),
    ],
)
def test_devices_are_read_in_either_case_and_with_either_mark(text: str, asked: AskedDevice) -> None:
    assert parse_device(text, "some", ("gpu", "npu"), ("gpu",)) == asked


@pytest.mark.parametrize(
    "text", ["", "cpu:0", "auto:1", "npu:1", "tpu", "gpu:", "gpu:99999", "gpu:1:2", "gpu:-1", "gpu:१"]
)
def test_a_device_that_nobody_knows_is_answered_with_the_list(text: str) -> None:
    with pytest.raises(InputError, match=r"not known to the some backend; use one of auto, cpu, gpu, gpu:N, npu$"):
        parse_device(text, "some", ("gpu", "npu"), ("gpu",))


def test_fewer_threads_than_one_cannot_be_had() -> None:
    check_threads(None)
    check_threads(1)
    with pytest.raises(InputError, match="threads 0 cannot be had"):
        check_threads(0)


@pytest.mark.parametrize(
    ("candidates", "chosen", "rivals"),
    [
        ([("map", (None, 8, 8), True), ("row", (None, 8), False)], "row", 1),
        ([("probabilities", (None, 8), True), ("the_logits", (None, 8), False)], "the_logits", 1),
        ([("embedding", (None, 8), False), ("classes", (None, 8), True)], "classes", 1),
        ([("a", (None, 1, 8), True), ("b", (None, 8, 1), True), ("c", (), True)], "a", 3),
    ],
)
def test_a_row_then_logits_then_an_activation_is_the_likeliest_output(
    candidates: Sequence[tuple[str, tuple[int | None, ...], bool]], chosen: str, rivals: int
) -> None:
    choice = choose_output([Candidate(*candidate) for candidate in candidates])
    assert choice.name == chosen
    assert len(choice.notes) == (rivals > 1)
    assert all(repr(name) in choice.notes[0] for name, _, _ in candidates if rivals > 1)


def test_an_output_that_is_nearly_named_is_offered() -> None:
    error = no_such_output("logit", ["logits", "evil\x1b[2J\n"], PATH)
    assert "did you mean 'logits'?" in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(("wanted", "tensor"), [("fc1", "t1"), ("1", "t1"), ("-2", "t0"), ("t0", "t0")])
def test_layers_go_by_name_index_or_tensor(wanted: str, tensor: str) -> None:
    assert TABLE.tensor(wanted, PATH) == tensor


@pytest.mark.parametrize("wanted", ["fc2", "2", "-3", "", "1.0"])
def test_a_layer_that_is_not_there_is_refused_with_the_range(wanted: str) -> None:
    with pytest.raises(InputError, match=r"has no layer .*; it has layers 0\.\.1, listed by: pmcore inspect"):
        TABLE.tensor(wanted, PATH)
    with pytest.raises(InputError, match="its layers cannot be told"):
        LayerTable().tensor(wanted, PATH)


@pytest.mark.parametrize(
    "message",
    [
        "std::bad_alloc",
        "BFCArena: Failed to allocate memory for requested buffer of size 1024",
        "CUDA out of memory. Tried to allocate 20.00 GiB",
        "[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "clEnqueueNDRangeKernel, error code: -5 CL_OUT_OF_RESOURCES",
        "OOM when allocating tensor with shape[9]",
    ],
)
def test_memory_that_ran_out_is_known_in_the_words_of_every_runtime(message: str) -> None:
    assert type(failure(RuntimeError(message), "runtime", "line", PATH)) is OutOfMemory
    assert type(refusal(RuntimeError(message), "runtime", "line", PATH)) is OutOfMemory


def test_other_failures_are_one_line_with_advice_and_ours_pass_as_they_are() -> None:
    ours = ModelError("ours")
    assert failure(ours, "runtime", "line", PATH) is ours
    told = failure(RuntimeError("x"), "runtime", "line", PATH)
    assert str(told) == "m.onnx: runtime failed: line; see that the records are what it was trained on"
    assert type(told) is ModelError


def test_what_a_runtime_says_first_is_told_without_its_noise() -> None:
    error = RuntimeError("\n [E1] \n[E1] bad\x1b[2J shape.\nsecond:\n")
    noise = (re.compile(r"^\[E1\] ?"),)
    assert first_line(error, noise) == r"bad\x1b[2J shape"
    assert first_line(error, noise, lines=2) == r"bad\x1b[2J shape.: second"
    assert first_line(KeyError()) == "KeyError"


def test_few_records_are_taken_and_none_are_told() -> None:
    assert {name: len(array) for name, array in few({"a": np.zeros(99), "b": np.zeros(99)}).items()} == {
        "a": 32,
        "b": 32,
    }
    assert few({"a": np.zeros((0, 3))}) == {}
    assert few({}) == {}


def test_shapes_that_do_not_fit_are_refused_before_the_runtime_sees_them() -> None:
    refuse_misfit("x", ("batch", None, 3), (7, 5, 3), PATH)
    with pytest.raises(ModelError, match="input 'x' takes 3 along axis 1 and was given 4"):
        refuse_misfit("x", ("batch", 3), (7, 4), PATH)
    with pytest.raises(ModelError, match="takes 2 dimensions and was given 1"):
        refuse_misfit("x", ("batch", 3), (7,), PATH)


def test_a_model_that_was_closed_says_so() -> None:
    assert still_open("runtime", PATH) == "runtime"
    with pytest.raises(AuditError, match="was closed; load the model again"):
        still_open(None, PATH)
