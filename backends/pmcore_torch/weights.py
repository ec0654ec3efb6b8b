"""Weights without a network: safetensors and state dicts, put into the module that a factory makes. Never unpickled."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmcore.errors import InputError, UntrustedError
from pmcore.quoting import printable
from pmcore_autograd.quiet import quiet, start_torch
from pmcore_torch.archives import Archive
from pmcore_torch.pickles import strange_call

if TYPE_CHECKING:
    import torch

INDEX = ".safetensors.index.json"
EXPORT = "export the model where it was trained: with torch.export, to ONNX, or its weights as safetensors"
_WRAPPED = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "ema_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_LONGEST_INDEX = 64 * 2**20
_SHOWN = 3


@dataclass(frozen=True)
class Weights:
    """Tensors by name, and the files besides the first that hold them.

    Parameters
    ----------
    notes : what was taken out of what
    """

    tensors: Mapping[str, torch.Tensor]
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def refuse_pickled_code(path: Path, data: bytes) -> None:
    """Refuse a pickle that does more than rebuild tensors: nothing of it is loaded.

    Raises
    ------
    UntrustedError
        It calls something else, which is named.
    """
    try:
        call = strange_call(data)
    except ValueError:
        raise UntrustedError(f"{path}: is a pickle that cannot be read without loading it; {EXPORT}") from None
    if call is not None:
        raise UntrustedError(
            f"{path}: is a pickle that calls '{printable(call.name, 80)}' when loaded, which can run code; {EXPORT}"
        )


def check_checkpoint(archive: Archive) -> None:
    """Refuse a checkpoint in a zip archive whose pickle does more than rebuild tensors."""
    refuse_pickled_code(archive.path, archive.read("data.pkl"))


def read_checkpoint(path: Path) -> Weights:
    """Read a state dict, through PyTorch's restricted unpickler alone.

    Raises
    ------
    UntrustedError
        The restricted unpickler refuses it.
    InputError
        It is damaged, or holds no state dict.
    """
    import pickle

    start_torch()
    import torch

    with quiet():
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise UntrustedError(
                f"{path}: is a pickle that holds more than tensors, which can run code when loaded; {EXPORT}"
            ) from None
        except Exception as error:  # the reader raises what its parts raise
            raise InputError(f"{path}: cannot be read ({_line(error)}); save or download it again") from None
    return _unwrapped(found, path)


def read_safetensors(path: Path) -> Weights:
    """Read a safetensors file, or all of those that an index names.

    Raises
    ------
    InputError
        A file is damaged or missing.
    UntrustedError
        The index names a file outside its folder.
    """
    start_torch()
    if not path.name.endswith(INDEX):
        return _bare(_safetensors(path), path, ())
    shards = _shards(path)
    tensors: dict[str, torch.Tensor] = {}
    for shard in shards:
        tensors |= _safetensors(shard)
    return _bare(tensors, path, shards)


def fill(module: torch.nn.Module, weights: Weights, path: Path) -> None:
    """Put weights into a module; every one must have its place, and every place its weight.

    Raises
    ------
    InputError
        Names or shapes do not fit; the first few are shown.
    """
    own = module.state_dict()
    given = weights.tensors
    for what, names in (("lacks", own.keys() - given.keys()), ("has in addition", given.keys() - own.keys())):
        if names:
            shown = ", ".join(
                f"'{printable(name, 80)}' {_shape((own if name in own else given)[name])}"
                for name in sorted(names)[:_SHOWN]
            )
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise InputError(
                f"{path}: {what} {shown}{more}, compared with the module that model_class makes; "
                "give the class that these weights were trained in"
            )
    misfits = [name for name in own if _shape(own[name]) != _shape(given[name])]
    if misfits:
        shown = "; ".join(f"'{printable(n, 80)}' is {_shape(given[n])}, not {_shape(own[n])}" for n in misfits[:_SHOWN])
        raise InputError(f"{path}: {shown} as in the module that model_class makes; give the class of these weights")
    with quiet():
        try:
            module.load_state_dict(dict(given), strict=True)
        except Exception as error:  # modules may load their state themselves
            raise InputError(f"{path}: does not fit the module that model_class makes: {_line(error)}") from None


def _unwrapped(found: Any, path: Path) -> Weights:
    """Return the state dict in a checkpoint, which may stand under a key among other things."""
    notes: tuple[str, ...] = ()
    if isinstance(found, Mapping) and not _is_state(found):
        key = next((key for key in _WRAPPED if isinstance(found.get(key), Mapping) and _is_state(found[key])), None)
        if key is not None:
            notes = (f"The weights are those under {key!r} in the checkpoint.",)
            found = found[key]
    if not isinstance(found, Mapping) or not _is_state(found):
        held = (
            ", ".join(f"'{printable(str(key), 40)}'" for key in list(found)[:5]) if isinstance(found, Mapping) else ""
        )
        kind = f"a checkpoint of {held}" if held else f"a {type(found).__name__}"
        raise InputError(f"{path}: holds {kind}, not the weights of a module; save module.state_dict()")
    return _bare(found, path, (), notes)


def _is_state(found: Mapping[Any, Any]) -> bool:
    import torch

    tensors = sum(isinstance(value, torch.Tensor) for value in found.values())
    return tensors > 0 and all(isinstance(key, str) for key in found)


def _bare(tensors: Mapping[str, Any], path: Path, files: tuple[Path, ...], notes: tuple[str, ...] = ()) -> Weights:
    """Take off the prefixes that wrappers put before every name."""
    found = dict(tensors)
    for prefix in _PREFIXES:
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
            notes = (*notes, f"The prefix {prefix!r} was taken off the names of the weights.")
    return Weights(found, files, notes)


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; put it beside its index") from None
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({_line(error)}); save or download it again") from None


def _shards(path: Path) -> tuple[Path, ...]:
    try:
        if path.stat().st_size > _LONGEST_INDEX:
            raise ValueError
        names = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
        raise InputError(f"{path}: is no index of safetensors files; save or download it again") from None
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[\w.\-]{1,200}\.safetensors", name):
            raise UntrustedError(
                f"{path}: says that weights are in '{printable(str(name), 80)}', which is refused; "
                "put the files beside their index"
            )
    return tuple(path.parent / name for name in names)


def _shape(value: Any) -> str:
    return str(list(value.shape)) if hasattr(value, "shape") else type(value).__name__


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0] if lines else type(error).__name__, 160)
