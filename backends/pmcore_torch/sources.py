"""From a file or an object to a network that can be asked: what it is, checked before PyTorch sees it."""

from __future__ import annotations

import copy
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmcore.errors import InputError, ModelError, UntrustedError
from pmcore.interfaces import Precision, TensorSpec
from pmcore.model_files import read_head
from pmcore.quoting import printable
from pmcore.trust import vouched
from pmcore_autograd.quiet import quiet
from pmcore_torch.archives import ZIP, Kind, kind_of, open_archive
from pmcore_torch.device import Device, device_of
from pmcore_torch.exported import load_exported
from pmcore_torch.graphs import ExportedNetwork
from pmcore_torch.modules import ModuleNetwork
from pmcore_torch.options import TorchOptions
from pmcore_torch.programs import ScriptNetwork
from pmcore_torch.runtime import Network, Settings
from pmcore_torch.script import NO_PROOF, TRUSTED, load_script
from pmcore_torch.signatures import float_type, module_inputs
from pmcore_torch.weights import (
    EXPORT,
    INDEX,
    Weights,
    check_checkpoint,
    fill,
    read_checkpoint,
    read_safetensors,
    refuse_pickled_code,
)

if TYPE_CHECKING:
    import torch

PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch.save began before they became zip archives."""
_CLASS = "name the class or function that makes the module with --model-class package.module:factory"


@dataclass(frozen=True)
class Opened:
    """A network, with what is known of it before it is asked.

    Parameters
    ----------
    inputs : what it is fed; a shape of () is not known
    module : holds the weights
    title : what was opened, for messages
    files : files of weights besides the source
    notes : what a reader of the report must know
    """

    network: Network
    inputs: tuple[TensorSpec, ...]
    module: torch.nn.Module
    settings: Settings
    title: Path
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())


def is_safetensors(path: Path, head: bytes) -> bool:
    """Tell a safetensors file, or an index of several, by its name or by how it begins."""
    begins = len(head) > 16 and 2 <= int.from_bytes(head[:8], "little") < 2**27 and head[8:9] == b"{"
    named = path.name.endswith((".safetensors", INDEX))
    return begins or (named and not head.startswith((*PICKLES, ZIP)))


def open_source(path: Path, options: TorchOptions) -> Opened:
    """Open a model's file.

    Raises
    ------
    UntrustedError
        Loading it could run code that it carries.
    InputError, ModelError
        It is no model, is damaged, or cannot be run on the device that was asked for.
    """
    asked = Device.parse(options.device)
    head = read_head(path)
    kind = kind_of(path, head)
    if kind in (Kind.EXPORTED, Kind.SCRIPT) and options.model_class is not None:
        raise InputError(f"{path}: holds a whole model; leave model_class out, which is for files of weights alone")
    if kind is Kind.EXPORTED:
        archive = open_archive(path)
        device = asked.open()
        with quiet():
            network = _exported(load_exported(archive, device.schema), path)
        return Opened(network, network.inputs(), network.module, _settings(device, options), path, notes=network.notes)
    if kind is Kind.SCRIPT:
        archive = open_archive(path)
        trusted = vouched((path,), options.trust_model)
        module = load_script(archive, trusted=trusted)
        return _script(module, asked.open(), options, path, (TRUSTED if trusted else NO_PROOF,))
    return _weights(path, head, kind, asked, options)


def open_object(found: Any, options: TorchOptions, title: Path) -> Opened:
    """Take a module or an exported program that is in memory.

    Raises
    ------
    ModelError
        The device that was asked for did not come up.
    """
    from torch import nn
    from torch.export import ExportedProgram

    asked = Device.parse(options.device)
    if options.model_class is not None:
        raise InputError("model_class is for files of weights alone; leave it out for a model in memory")
    if isinstance(found, ExportedProgram):
        return _program_in_memory(found, options, title)
    if not isinstance(found, nn.Module):
        raise InputError(f"model: {type(found).__name__} is no torch.nn.Module")
    own = getattr(found, "_orig_mod", None)  # what torch.compile wraps
    module = own if isinstance(own, nn.Module) else found
    place = device_of(module)
    device = (place or Device("cpu")) if asked.kind == "auto" else asked.open()
    if _is_script(module):
        return _script(_copy_of_script(module), device, options, title, ())
    if place is not None and device != place:
        with quiet():
            module = copy.deepcopy(module).to(device.spec)
    return _module(module, device, options, title)


def _settings(device: Device, options: TorchOptions) -> Settings:
    return Settings(device, options.threads, deployed=options.precision is Precision.DEPLOYED)


def _exported(program: Any, path: Path) -> ExportedNetwork:
    try:
        return ExportedNetwork(program)
    except Exception as error:  # torch raises what its parts raise
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: torch does not run it: {printable(line, 200)}; export the model again") from None


def _program_in_memory(program: Any, options: TorchOptions, title: Path) -> Opened:
    """Take an exported program: it is asked through a copy of its graph that shares the weights."""
    with quiet():
        network = _exported(program, title)
    place = device_of(network.module) or Device("cpu")
    asked = Device.parse(options.device)
    if asked.kind != "auto" and asked.open() != place:
        raise InputError(
            f"{title}: was exported on {place.title}; save it, and give the file with --device {asked.spec}"
        )
    return Opened(network, network.inputs(), network.module, _settings(place, options), title, notes=network.notes)


def _is_script(module: Any) -> bool:
    import torch

    return isinstance(module, torch.jit.ScriptModule)


def _copy_of_script(module: Any) -> Any:
    import torch

    buffer = io.BytesIO()
    with quiet():
        torch.jit.save(module, buffer)
        buffer.seek(0)
        return torch.jit.load(buffer)  # type: ignore[no-untyped-call]


def _script(module: Any, device: Device, options: TorchOptions, title: Path, notes: tuple[str, ...]) -> Opened:
    with quiet():
        network = ScriptNetwork(module.to(device.spec) if device.kind != "cpu" else module)
    inputs = network.inputs(float_type(network.module))
    return Opened(network, inputs, network.module, _settings(device, options), title, notes=(*notes, *network.notes))


def _weights(path: Path, head: bytes, kind: Kind | None, asked: Device, options: TorchOptions) -> Opened:
    """Put the weights of a file into the module that a class of the user's makes."""
    from pmcore_torch.factories import make_module

    safe = is_safetensors(path, head)
    if kind is Kind.PICKLED:
        check_checkpoint(open_archive(path))
    elif not safe and head.startswith(LEGACY):
        if options.model_class is None:
            raise UntrustedError(f"{path}: is a pickle of an old PyTorch, which can run code when loaded; {EXPORT}")
    elif not safe and head.startswith(PICKLES):
        refuse_pickled_code(path, path.read_bytes())
        raise InputError(f"{path}: is a pickle without tensors; {EXPORT}")
    elif not safe:
        raise InputError(f"{path}: is no file of PyTorch (.pt2, TorchScript, .safetensors, a state dict); {EXPORT}")
    if options.model_class is None:
        raise InputError(f"{path}: holds weights without a network; {_CLASS}")
    weights: Weights = read_safetensors(path) if safe else read_checkpoint(path)
    device = asked.open()
    module = make_module(options.model_class)
    fill(module, weights, path)
    module.eval()
    with quiet():
        module.to(device.spec)
    opened = _module(module, device, options, path)
    note = f"The network is made by {options.model_class!r}, whose code was run; the file holds its weights."
    return Opened(
        opened.network,
        opened.inputs,
        module,
        opened.settings,
        path,
        weights.files,
        (*opened.notes, note, *weights.notes),
    )


def _module(module: torch.nn.Module, device: Device, options: TorchOptions, title: Path) -> Opened:
    taken = module_inputs(module, options.inputs, title)
    network = ModuleNetwork(module, taken.keywords)
    return Opened(network, taken.specs, module, _settings(device, options), title, notes=network.notes)
