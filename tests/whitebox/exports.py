"""Every form in which the architectures are shipped: both exporters of torch, OpenVINO IR, batch 1, INT8."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pmcore.interfaces import Array
from tests.whitebox.networks import built, records
from tests.whitebox.references import Reference, as_shipped_by_onnx, as_shipped_by_openvino, as_unrolled

EXAMPLES = 3
"""Records that an exporter is shown; not 1, which exporters may take for a constant."""


@dataclass(frozen=True)
class Form:
    """One way to ship an architecture.

    Parameters
    ----------
    title : as the page shows it
    write : (architecture, folder) -> path of the file
    reference : the network whose parameters the file holds
    batch : records per call; None if free
    exact : whether it computes with the weights as they are, and not with rounded ones
    """

    title: str
    write: Callable[[str, Path], Path]
    reference: Callable[[str], Reference]
    batch: int | None = None
    exact: bool = True

    def __str__(self) -> str:
        return self.title


def legacy(name: str, folder: Path) -> Path:
    """Export through TorchScript, with a free batch."""
    names = [*records(name, 1).inputs]
    free = {each: {0: "batch"} for each in (*names, "logits")}
    return _export(name, folder / f"{name}-legacy.onnx", EXAMPLES, dynamo=False, dynamic_axes=free)


def dynamo(name: str, folder: Path) -> Path:
    """Export through torch.export, with a free batch."""
    batch = torch.export.Dim("batch")
    free = tuple({0: batch} for _ in records(name, 1).inputs)
    return _export(name, folder / f"{name}-dynamo.onnx", EXAMPLES, dynamo=True, dynamic_shapes=free)


def batch_one(name: str, folder: Path) -> Path:
    """Export through torch.export for one record."""
    return _export(name, folder / f"{name}-one.onnx", 1, dynamo=True)


def openvino(name: str, folder: Path) -> Path:
    """Convert the traced network to IR, with a free batch."""
    example = records(name, EXAMPLES).tensors()
    with _quietly(), torch.no_grad():
        # Unlike OpenVINO's own tracing this one is not checked by a second: attention takes another path then.
        traced = torch.jit.trace(built(name), example, check_trace=False)  # type: ignore[no-untyped-call]
        shapes = [_openvino().PartialShape([-1, *tensor.shape[1:]]) for tensor in example]
        return _save(traced, folder / f"{name}.xml", [*records(name, 1).inputs], input=shapes)


def openvino_from_onnx(name: str, folder: Path) -> Path:
    """Convert the export through torch.export to IR."""
    with _quietly():
        return _save(dynamo(name, folder), folder / f"{name}-onnx.xml", [*records(name, 1).inputs])


def int8(name: str, folder: Path) -> Path:
    """Quantise the export through TorchScript: QuantizeLinear and DequantizeLinear around each operation."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quant_pre_process, quantize_static

    class Sample(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([records(name, 16, seed=seed).inputs for seed in (21, 22, 23)])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.batches, None)

    path, prepared = folder / f"{name}-int8.onnx", folder / f"{name}-prepared.onnx"
    with _quietly():
        quant_pre_process(legacy(name, folder), prepared, skip_symbolic_shape=True)
        quantize_static(prepared, path, Sample(), quant_format=QuantFormat.QDQ, per_channel=True)
    return path


def openvino_int8(name: str, folder: Path) -> Path:
    """Convert the quantised export to IR: FakeQuantize around each operation."""
    with _quietly():
        return _save(int8(name, folder), folder / f"{name}-int8.xml", [*records(name, 1).inputs])


def answers(path: Path, inputs: dict[str, Array], batch: int | None = None, output: str | None = None) -> Array:
    """Return what the file's own runtime answers in float32, (n, k): its first output, or a tensor of a name."""
    ask = _session(path, output) if path.suffix == ".onnx" else _compiled(path)
    n = len(next(iter(inputs.values())))
    step = batch or n
    parts = [{key: value[i : i + step] for key, value in inputs.items()} for i in range(0, n, step)]
    return np.concatenate([ask(part) for part in parts])


def _session(path: Path, output: str | None) -> Callable[[dict[str, Array]], Array]:
    import onnx
    import onnxruntime

    model = onnx.load(path)
    if output is not None and output not in {value.name for value in model.graph.output}:
        model.graph.output.append(onnx.ValueInfoProto(name=output))
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
    wanted = [output or session.get_outputs()[0].name]
    return lambda inputs: np.asarray(session.run(wanted, inputs)[0])


def _compiled(path: Path) -> Callable[[dict[str, Array]], Array]:
    compiled = _openvino().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: np.array(compiled(inputs)[0])


def _export(name: str, path: Path, examples: int, **options: Any) -> Path:
    example, names = records(name, examples).tensors(), [*records(name, 1).inputs]
    with _quietly():
        torch.onnx.export(
            built(name), example, str(path), input_names=names, output_names=["logits"], verbose=False, **options
        )
    return path


def _save(source: Any, path: Path, names: list[str], **options: Any) -> Path:
    ov = _openvino()
    model = ov.convert_model(source, **options)
    for port, name in zip(model.inputs, names, strict=True):
        port.get_node().set_friendly_name(name)
        port.get_tensor().set_names({name})
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def _openvino() -> Any:
    from pmcore_autograd.openvino_importing import import_openvino

    return import_openvino()


@contextmanager
def _quietly() -> Iterator[None]:
    level = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


LEGACY = Form("ONNX, TorchScript export", legacy, as_shipped_by_onnx)
DYNAMO = Form("ONNX, dynamo export", dynamo, as_shipped_by_onnx)
ONE = Form("ONNX, dynamo export of batch 1", batch_one, as_unrolled, batch=1)
IR = Form("OpenVINO IR", openvino, as_shipped_by_openvino)
IR_FROM_ONNX = Form("OpenVINO IR of the dynamo export", openvino_from_onnx, as_shipped_by_openvino)
INT8 = Form("ONNX, INT8 (QDQ)", int8, as_shipped_by_onnx, exact=False)
IR_INT8 = Form("OpenVINO IR, INT8 (FakeQuantize)", openvino_int8, as_shipped_by_openvino, exact=False)
FORMS = (LEGACY, DYNAMO, ONE, IR, IR_FROM_ONNX, INT8, IR_INT8)
