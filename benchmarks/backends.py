"""The loss of every record through each backend, held against the bare loop of its runtime over the same batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.cases import Array
from benchmarks.resnet import CLASSES, IMAGE, keras_resnet, torch_resnet, write_onnx
from benchmarks.results import Result, ratios, seconds

TARGET = 1 / 0.95
"""Of the time of the signal stage over that of the bare loop: 95 % of the throughput."""
BATCH = 64
Bare = Callable[[Array], object]


@dataclass(frozen=True)
class _Side:
    """A backend: the model that pmcore is given, and the runtime's own call for one batch."""

    name: str
    model: object
    bare: Bare
    channels_last: bool = False


def measure(work: Path, records: int, repetitions: int) -> list[Result]:
    """Return, for each backend, the ratios of the signal stage to the bare loop, interleaved.

    The signal stage is `gather` with the loss on an open model: slicing, the check of the inputs, the query, the
    loss and the accuracy of every record. The bare loop runs the same batches of the same arrays and throws the
    answers away. Both use the runtime's own number of threads.
    """
    work.mkdir(parents=True, exist_ok=True)
    results = []
    for make in (_onnx, _openvino, _torch, _tensorflow):
        side = make(work)
        files = _records(work / side.name, records, side.channels_last)
        stage, bare = [], []
        for repetition in range(repetitions + 1):
            took = _signal_stage(side.model, files), _bare_loop(side.bare, files)
            if repetition:  # the first one warms the caches
                stage.append(took[0])
                bare.append(took[1])
        details = f"{seconds(stage)} / {seconds(bare)}, {records} records, batches of {BATCH}"
        results.append(
            Result(f"ResNet-18, {side.name}: signal stage / bare loop", ratios(stage, bare), TARGET, details=details)
        )
    return results


def _records(folder: Path, records: int, channels_last: bool) -> list[Path]:
    rng = np.random.default_rng(0)
    shape = (*IMAGE[1:], IMAGE[0]) if channels_last else IMAGE
    sides = [folder / "members", folder / "nonmembers"]
    for side in sides:
        side.mkdir(parents=True)
        np.save(side / "x.npy", rng.standard_normal((records // 2, *shape), dtype=np.float32))
        np.save(side / "y.npy", rng.integers(0, CLASSES, records // 2))
    return sides


def _signal_stage(model: object, files: Sequence[Path]) -> float:
    from pmcore import Audit
    from pmcore.data import Role
    from pmcore.gather import Batching, gather

    plan = Audit(model=model, members=files[0], non_members=files[1]).plan()
    loaded = plan.model.model
    loaded.prepare(plan.roles.feeds[Role.MEMBERS].sample())
    began = perf_counter()
    for role, feed in plan.roles.feeds.items():
        gather(loaded, feed, plan.signals_of(role), Batching(BATCH))
    took = perf_counter() - began
    loaded.close()
    return took


def _bare_loop(bare: Bare, files: Sequence[Path]) -> float:
    """Run the same numbers of records: a third of the non-members is a role of its own in the signal stage."""
    arrays = [np.load(side / "x.npy", mmap_mode="r") for side in files]
    third = len(arrays[1]) // 3
    parts = [arrays[0], arrays[1][third:], arrays[1][:third]]
    bare(np.asarray(arrays[0][:BATCH]))
    began = perf_counter()
    for part in parts:
        for start in range(0, len(part), BATCH):
            bare(np.asarray(part[start : start + BATCH]))
    return perf_counter() - began


def _onnx(work: Path) -> _Side:
    import onnxruntime

    path = work / "resnet.onnx"
    write_onnx(path)
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _Side("onnx", str(path), lambda x: session.run(None, {"x": x}))


def _openvino(work: Path) -> _Side:
    from pmcore_autograd.openvino_importing import import_openvino

    openvino = import_openvino()
    path = work / "resnet.xml"
    openvino.save_model(openvino.convert_model(str(work / "resnet.onnx")), path, compress_to_fp16=False)
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return _Side("openvino", str(path), lambda x: compiled(x))


def _torch(work: Path) -> _Side:
    import torch

    network = torch_resnet()

    def bare(x: Array) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(x)).numpy()

    return _Side("torch", network, bare)


def _tensorflow(work: Path) -> _Side:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    network = keras_resnet()
    call = tf.function(lambda x: network(x, training=False), input_signature=[tf.TensorSpec((None, 32, 32, 3))])
    return _Side("tensorflow", network, lambda x: call(tf.constant(x)).numpy(), channels_last=True)
