"""What the PyTorch backend answers: the same as plain numpy, from every kind of source, read before the activation."""

from __future__ import annotations

import zipfile
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from safetensors.torch import save_file
from torch import nn

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array, Scale, Task, Want
from pmcore_torch import TorchModel
from pmcore_torch.options import TorchOptions
from tests.backends.torch_builders import (
    BIAS,
    CLASSES,
    FEATURES,
    RECORDS,
    WEIGHT,
    Functional,
    expected_logits,
    export,
    images,
    linear,
    load,
    ready,
    script,
    small,
    softmax_net,
    wrapped,
)

Source = Callable[[Path, nn.Module], TorchModel]


def from_export(folder: Path, module: nn.Module) -> TorchModel:
    return ready(export(module, folder / "m.pt2"))


def from_script(folder: Path, module: nn.Module) -> TorchModel:
    return ready(script(module, folder / "m.pt"))


def from_trace(folder: Path, module: nn.Module) -> TorchModel:
    traced = torch.jit.trace(module, torch.zeros(2, FEATURES))  # type: ignore[no-untyped-call]
    traced.save(str(folder / "m.pt"))
    return ready(folder / "m.pt")


def from_memory(folder: Path, module: nn.Module) -> TorchModel:
    return wrapped(module)


SOURCES: dict[str, Source] = {
    "export": from_export,
    "script": from_script,
    "trace": from_trace,
    "memory": from_memory,
}
ENDINGS: dict[str, Callable[[], nn.Module]] = {
    "none": lambda: nn.Sequential(linear()),
    "softmax": softmax_net,
    "log-softmax": lambda: nn.Sequential(linear(), nn.LogSoftmax(dim=-1)),
    "softmax function": lambda: Functional(lambda z: F.softmax(z, 1)),
    "softmax, flattened": lambda: nn.Sequential(linear(), nn.Softmax(1), nn.Dropout(), nn.Flatten()),
    "exp of log-softmax": lambda: Functional(lambda z: torch.log_softmax(z, 1).exp()),
    "log of softmax": lambda: Functional(lambda z: torch.softmax(z, 1).log()),
}


PAIRS = [(s, e) for s in SOURCES for e in ENDINGS if s != "script" or not isinstance(ENDINGS[e](), Functional)]
"""All but lambdas as TorchScript, which they cannot become."""


@pytest.mark.parametrize(("source", "ending"), PAIRS)
def test_logits_are_read_whatever_the_model_ends_in(source: str, ending: str, tmp_path: Path) -> None:
    module = ENDINGS[ending]().eval()
    model = SOURCES[source](tmp_path, module)
    said = model.describe()
    assert (said.scale, said.task, said.classes) == (Scale.LOGITS, Task.MULTICLASS, CLASSES)
    assert said.pre_softmax == (ending != "none")
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    np.testing.assert_array_equal(model.predict({"x": RECORDS}), model.predict({"x": RECORDS}))


@pytest.mark.parametrize("source", SOURCES)
def test_one_sigmoid_is_a_binary_model(source: str, tmp_path: Path) -> None:
    model = SOURCES[source](tmp_path, nn.Sequential(linear(1), nn.Sigmoid()).eval())
    said = model.describe()
    assert (said.task, said.classes, said.scale) == (Task.BINARY, 2, Scale.LOGITS)
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits()[:, :1], atol=1e-5)


def test_a_sigmoid_in_place_is_stepped_over() -> None:
    model = wrapped(Functional(torch.sigmoid_))
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    assert model.describe().task is Task.MULTILABEL


def test_what_is_no_activation_of_the_output_is_not_stepped_over() -> None:
    model = wrapped(Functional(lambda z: torch.softmax(z, 1) * 2 + z))
    assert not model.describe().pre_softmax


def test_probabilities_that_come_from_no_activation_are_limited() -> None:
    model = wrapped(Functional(lambda z: z.exp() / z.exp().sum(1, keepdim=True)))
    said = model.describe()
    assert (said.scale, said.resolution_limited) == (Scale.PROBABILITIES, True)


def test_a_softmax_that_is_used_twice_is_read_where_it_ends_the_model() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.soft = linear(), nn.Softmax(dim=1)

        def forward(self, x: torch.Tensor) -> Any:
            self.soft(x)
            return self.soft(self.head(x))

    np.testing.assert_allclose(wrapped(Twice()).predict({"x": RECORDS}), expected_logits(), atol=1e-5)


Pair = namedtuple("Pair", ["extra", "logits"])
RETURNED: dict[str, Callable[[Any], Any]] = {
    "a dict": lambda z: {"features": z[:, None, None, :].expand(-1, 2, 2, -1), "logits": z},
    "an ordered dict": lambda z: OrderedDict(loss=z.mean(), logits=z),
    "a named tuple": lambda z: Pair(z * 2, z),
    "nested": lambda z: {"out": {"logits": z}, "none": None},
}


@pytest.mark.parametrize("kind", RETURNED)
def test_the_output_called_logits_is_chosen(kind: str) -> None:
    np.testing.assert_allclose(
        wrapped(Functional(RETURNED[kind])).predict({"x": RECORDS}), expected_logits(), atol=1e-5
    )


def test_outputs_are_chosen_by_name(tmp_path: Path) -> None:
    module = Functional(lambda z: (z, -z)).eval()
    path = export(module, tmp_path / "m.pt2")
    first = ready(path)
    np.testing.assert_allclose(first.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    assert any("'output0', 'output1' may all hold predictions" in note for note in first.describe().notes)
    for model in (ready(path, output="output1"), wrapped(module, output="output1")):
        np.testing.assert_allclose(model.predict({"x": RECORDS}), -expected_logits(), atol=1e-5)
    with pytest.raises(InputError, match=r"no output 'output2' .did you mean 'output"):
        load(path, output="output2")


def test_a_fixed_batch_is_looped_over(tmp_path: Path) -> None:
    for size in (1, 2):
        path = export(softmax_net(), tmp_path / f"m{size}.pt2", torch.zeros(size, FEATURES), free=False)
        model = ready(path)
        assert model.describe().batch == size
        np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)


def test_a_module_that_takes_single_records_alone_is_asked_one_by_one() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = linear()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.view(1, FEATURES))  # type: ignore[no-any-return]

    model = wrapped(One())
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    assert any("one by one" in note for note in model.describe().notes)


@pytest.mark.parametrize("kind", ["safetensors", "state dict", "wrapped", "parallel"])
def test_weights_fill_the_module_of_a_class(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"nets_{kind.replace(' ', '_')}"
    monkeypatch.chdir(tmp_path)
    text = (
        "from torch import nn\nprint('imported')\ndef net():\n  return nn.Sequential(nn.Linear(6, 4), nn.Softmax(1))\n"
    )
    (tmp_path / f"{name}.py").write_text(text)
    state = softmax_net().state_dict()
    path = tmp_path / "m.pt"
    if kind == "safetensors":
        path = tmp_path / "m.safetensors"
        save_file(state, path)
    elif kind == "parallel":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    else:
        torch.save(state if kind == "state dict" else {"epoch": 3, "state_dict": state}, path)
    import sys

    before = list(sys.path)
    model = ready(path, model_class=f"{name}:net")
    assert sys.path == before
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    notes = " ".join(model.describe().notes)
    assert ("'state_dict'" in notes, "'module.'" in notes) == (kind == "wrapped", kind == "parallel")


def test_shards_of_safetensors_are_joined(tmp_path: Path) -> None:
    state = {"weight": torch.tensor(WEIGHT.T.copy()), "bias": torch.tensor(BIAS)}
    for number, (name, value) in enumerate(state.items()):
        save_file({name: value}, tmp_path / f"m-{number}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"weight": "m-0.safetensors", "bias": "m-1.safetensors"}}')
    (tmp_path / "evil.safetensors.index.json").write_text('{"weight_map": {"weight": "../m-0.safetensors"}}')
    model = ready(index, model_class="tests.backends.test_torch_answers:linear")
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    assert [file.name for file in model.files()] == ["m-0.safetensors", "m-1.safetensors"]
    from pmcore.errors import UntrustedError

    with pytest.raises(UntrustedError, match="beside their index"):
        load(tmp_path / "evil.safetensors.index.json", model_class="torch.nn:Identity")


@pytest.mark.parametrize(
    ("model_class", "said"),
    [
        (None, "--model-class package.module:factory"),
        ("nets", "give package.module:factory"),
        ("no_such_module:net", "cannot be imported .*no_such_module"),
        ("torch.nn:NoSuch", "has no 'NoSuch'"),
        ("torch:__version__", "is a TorchVersion|is a str"),
        ("torch.nn:Linear", "failed when called without arguments: TypeError"),
        ("builtins:dict", "makes a dict, not a torch.nn.Module"),
        ("torch.nn:Identity", "has in addition '0.bias' .4., '0.weight' .4, 6."),
        ("tests.backends.torch_builders:linear", "lacks 'bias' .4., 'weight' .4, 6."),
        ("tests.backends.test_torch_answers:narrow", "'0.bias' is .4., not .3."),
    ],
)
def test_a_class_that_does_not_fit_is_one_line(model_class: str | None, said: str, tmp_path: Path) -> None:
    save_file(softmax_net().state_dict(), tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=said) as caught:
        load(tmp_path / "m.safetensors", model_class=model_class)
    assert "\n" not in str(caught.value)


def narrow() -> nn.Module:
    return nn.Sequential(linear(3))


def test_a_module_is_left_as_it_was() -> None:
    module = small().train()
    module.drop.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [part.training for part in module.modules()]
    records = images()
    copy = records.copy()
    model = wrapped(module, records)
    first = model.predict({"x": records})
    model.activations({"x": records}, ["conv"])
    assert [part.training for part in module.modules()] == flags
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    np.testing.assert_array_equal(records, copy)
    with torch.no_grad():
        np.testing.assert_allclose(first, module.eval()(torch.tensor(records)), atol=1e-5)
    assert any("training mode" in note for note in model.describe().notes)


def test_an_export_in_training_mode_is_asked_in_evaluation_mode(tmp_path: Path) -> None:
    module = small()
    with torch.no_grad():
        expected = module(torch.tensor(images())).numpy()
    model = ready(export(module.train(), tmp_path / "m.pt2", torch.zeros(2, 3, 8, 8)), images())
    np.testing.assert_allclose(model.predict({"x": images()}), expected, atol=1e-5)
    assert any("training mode" in note for note in model.describe().notes)


def test_a_network_may_spoil_its_input_and_the_records_stay() -> None:
    class Spoils(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = linear()

        def forward(self, x: torch.Tensor) -> Any:
            answer = self.head(x)
            x.zero_()
            return answer

    records = RECORDS.copy()
    records.flags.writeable = False
    model = wrapped(Spoils(), records)
    np.testing.assert_allclose(model.predict({"x": records}), expected_logits(), atol=1e-5)
    np.testing.assert_array_equal(records, RECORDS)


@pytest.mark.parametrize(
    ("kind", "name"), [(torch.float16, "float16"), (torch.bfloat16, "bfloat16"), (torch.float64, "float64")]
)
def test_other_precisions_are_said_and_their_answers_widened(kind: torch.dtype, name: str, tmp_path: Path) -> None:
    module = softmax_net().to(kind)
    for model in (wrapped(module), ready(export(module, tmp_path / "m.pt2", torch.zeros(2, FEATURES, dtype=kind)))):
        said = model.describe()
        assert (said.precision, said.pre_softmax) == (name, True)
        answer = model.predict({"x": RECORDS})
        assert answer.dtype == (np.float64 if name == "float64" else np.float32)
        np.testing.assert_allclose(answer, expected_logits(), atol=0.1)


def test_mixed_precision_is_said() -> None:
    module = nn.Sequential(nn.Linear(FEATURES, 8), nn.Linear(8, 4, dtype=torch.float16))
    assert TorchModel.wrap(module, TorchOptions()).describe().precision == "mixed (float32, float16)"


def test_a_quantized_module_runs() -> None:
    from torch.ao.quantization import quantize_dynamic

    module = quantize_dynamic(nn.Sequential(linear()), {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    model = wrapped(module)
    assert model.describe().precision == "int8"
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=0.2)
    assert model.sha256() is not None


def test_indices_are_fed_as_integers() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(50, FEATURES), linear()

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
        ) -> dict[str, torch.Tensor]:
            found = self.table(input_ids)
            if attention_mask is not None:
                found = found * attention_mask[..., None]
            return {"logits": self.head(found.mean(1))}

    module = Text().eval()
    ids = np.arange(20).reshape(4, 5)
    model = TorchModel.wrap(module, TorchOptions(inputs=("input_ids", "attention_mask")))
    assert [(spec.name, spec.dtype) for spec in model.describe().inputs] == [
        ("input_ids", "int64"),
        ("attention_mask", "int64"),
    ]
    given: dict[str, Array] = {"input_ids": ids.astype(np.int32), "attention_mask": np.ones((4, 5), dtype=np.int64)}
    both = model.predict(given)
    alone = TorchModel.wrap(module, TorchOptions()).predict({"input_ids": ids})
    np.testing.assert_allclose(both, alone, atol=1e-6)
    with pytest.raises(InputError, match=r"takes no 'mask' .did you mean 'attention_mask'|takes no 'mask'"):
        TorchModel.wrap(module, TorchOptions(inputs=("input_ids", "mask")))


@pytest.mark.parametrize("source", SOURCES)
def test_layers_are_asked_by_name_and_index_in_one_pass(source: str, tmp_path: Path) -> None:
    module = nn.Sequential(linear(), nn.ReLU(inplace=True), nn.Linear(CLASSES, 3), nn.Softmax(1)).eval()
    model = SOURCES[source](tmp_path, module)
    layers = model.layers()
    assert [layer.parameters for layer in layers] == [28, 0, 15, 0]
    first = layers[0].name
    want = Want(predictions=True, activations=frozenset({first, "1", "-1"}))
    found = model.ask({"x": RECORDS}, np.zeros(9, dtype=np.int64), want)
    np.testing.assert_allclose(found.activations[first], expected_logits(), atol=1e-5)
    np.testing.assert_allclose(found.activations["1"], np.maximum(expected_logits(), 0), atol=1e-5)
    np.testing.assert_allclose(found.activations["-1"].sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(found.predictions, model.predict({"x": RECORDS}))
    with pytest.raises(InputError, match=r"has no layer 'nowhere'; it has layers 0\.\.3"):
        model.activations({"x": RECORDS}, ["nowhere"])


def test_the_fingerprint_follows_the_weights_and_the_class() -> None:
    module = softmax_net()
    first = wrapped(module).sha256()
    assert first == wrapped(softmax_net()).sha256()
    assert first != wrapped(Functional(lambda z: z)).sha256()
    with torch.no_grad():
        module[0].bias[0] += 1  # type: ignore[index,operator]
    assert first != wrapped(module).sha256()


def test_a_program_whose_operators_need_a_newer_format_is_read(tmp_path: Path) -> None:
    """A GELU moves the version of the archive to another place."""
    net = nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.GELU()).eval()
    path = script(net, tmp_path / "m.pt")
    with zipfile.ZipFile(path) as archive:
        assert [name for name in archive.namelist() if name.endswith(".data/version")]
    with torch.inference_mode():
        expected = net(torch.from_numpy(RECORDS)).numpy()
    np.testing.assert_allclose(ready(path).predict({"x": RECORDS}), expected, rtol=1e-6)


def test_compiled_scripted_and_exported_models_in_memory_are_taken() -> None:
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(softmax_net(), (torch.zeros(2, FEATURES),), dynamic_shapes=shapes)
    scripted = torch.jit.script(softmax_net())
    for found in (exported, scripted, torch.compile(softmax_net())):
        assert TorchModel.wraps(found)
        np.testing.assert_allclose(wrapped(found).predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    assert not TorchModel.wraps(softmax_net)


def test_images_are_answered_the_same_in_either_order_of_channels() -> None:
    module = small()
    with torch.no_grad():
        expected = module(torch.tensor(images())).numpy()
    model = wrapped(module, images())
    assert model._settings.channels_last
    np.testing.assert_allclose(model.predict({"x": images()}), expected, atol=1e-5)

    class Insists(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 2, 3, padding=1), nn.Linear(128, CLASSES)

        def forward(self, x: torch.Tensor) -> Any:
            return self.head(self.conv(x).view(len(x), -1))

    insists = wrapped(Insists(), images())
    assert not insists._settings.channels_last
    assert insists.predict({"x": images()}).shape == (5, CLASSES)


@pytest.mark.parametrize("error", [ValueError("two\nlines"), KeyError("x"), RuntimeError("odd")])
def test_what_a_module_raises_is_one_line(error: Exception) -> None:
    def fail(_: Any) -> Any:
        raise error

    with pytest.raises(ModelError, match="torch failed") as caught:
        wrapped(Functional(fail))
    assert "\n" not in str(caught.value)


def test_memory_that_runs_out_is_said_so() -> None:
    from pmcore.errors import OutOfMemory

    with pytest.raises(OutOfMemory, match="smaller batch"):
        wrapped(Functional(lambda z: z.new_empty(2**50)))


def test_sequences_of_predictions_are_refused() -> None:
    with pytest.raises(InputError, match="not a classification head"):
        wrapped(Functional(lambda z: z[:, None].expand(-1, 3, -1)))


def test_a_closed_model_says_so() -> None:
    from pmcore.errors import AuditError

    model = wrapped(softmax_net())
    model.close()
    with pytest.raises(AuditError, match="was closed"):
        model.predict({"x": RECORDS})


def test_a_dense_network_is_written_for_any_number_of_records(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hidden = np.random.default_rng(5).normal(size=(FEATURES, FEATURES)).astype(np.float32)
    TorchModel.write_dense(tmp_path / "m.pt2", [hidden, WEIGHT], [np.zeros(FEATURES, np.float32), BIAS])
    model = load(tmp_path / "m.pt2")
    said = model.describe()
    assert (said.inputs[0].shape, said.classes, said.batch) == (("batch", FEATURES), CLASSES, None)
    expected = np.maximum(RECORDS.astype(np.float64) @ hidden, 0) @ WEIGHT + BIAS
    for records in (1, 9):
        np.testing.assert_allclose(model.predict({"x": RECORDS[:records]}), expected[:records], atol=1e-4)
    assert capfd.readouterr() == ("", "")


def test_an_output_may_have_the_name_of_an_operation_within(tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = linear()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"linear": torch.softmax(self.head(x), 1)}

    model = ready(export(Named().eval(), tmp_path / "m.pt2"))
    assert model.describe().pre_softmax
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    np.testing.assert_allclose(model.activations({"x": RECORDS}, ["linear"])["linear"], expected_logits(), atol=1e-5)


def test_integer_arithmetic_of_an_export_and_of_quantized_weights_runs(tmp_path: Path) -> None:
    import torch.ao.quantization.fx._decomposed

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = linear()
            self.register_buffer("weight", (self.head.weight.detach() / 0.02).round().clamp(-127, 127).to(torch.int8))

        def forward(self, x: torch.Tensor) -> Any:
            ops = torch.ops.quantized_decomposed
            weight = ops.dequantize_per_tensor(self.weight, 0.02, 0, -127, 127, torch.int8)
            return F.linear(x, weight, self.head.bias)

    model = ready(export(Rounded().eval(), tmp_path / "m.pt2"))
    found = model.predict({"x": RECORDS})
    np.testing.assert_allclose(found, expected_logits(), atol=0.2)
    assert np.abs(found - expected_logits()).max() > 1e-4


def test_several_threads_may_ask_a_module_that_is_in_training_mode() -> None:
    from concurrent.futures import ThreadPoolExecutor

    module = nn.Sequential(linear(), nn.Dropout(0.9)).train()
    model = wrapped(module)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.predict({"x": RECORDS}), range(40)))
    for answer in answers:
        np.testing.assert_allclose(answer, expected_logits(), atol=1e-5)
    assert all(part.training for part in module.modules())
