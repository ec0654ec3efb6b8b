"""What a pickle would call, told from its opcodes alone: nothing is unpickled."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass

_TENSOR = frozenset(
    {
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_qtensor",
        "torch._tensor _rebuild_from_type_v2",
        "torch.nn.parameter Parameter",
        "torch.serialization _get_layout",
        "torch Size",
        "torch Tensor",
        "torch device",
        "collections OrderedDict",
        "__builtin__ set",
        "builtins set",
    }
)
_TORCH_NAME = re.compile(
    r"torch (?:\w{1,24}Storage|storage\.\w{1,24}Storage|q?u?int\d{1,2}|float\d{1,2}\w{0,8}|bfloat16|complex\d{1,3}"
    r"|bool|quint\dx\d|per_(?:tensor|channel)_(?:affine|symmetric)\w*)|torch\.storage (?:Untyped|Typed)Storage"
)
_SCRIPT = frozenset(
    {"torch.jit._pickle " + name for name in ("restore_type_tag", "build_intlist", "build_tensorlist")}
    | {"torch.jit._pickle " + name for name in ("build_doublelist", "build_boollist", "build_tensor_from_id")}
    | {"torch.jit._pickle build_complexlist"}
)
_SCRIPT_CLASS = re.compile(r"__torch__(?:\.\w{1,200}){0,40} \w{1,200}")
_CUSTOM = re.compile(r"__torch__\.torch\.classes\b")
PACKED = frozenset(
    f"__torch__.torch.classes.{kind}"
    for kind in (
        "quantized.LinearPackedParamsBase",
        "quantized.Conv2dPackedParamsBase",
        "quantized.Conv3dPackedParamsBase",
        "quantized.EmbeddingPackedParamsBase",
        "rnn.CellParamsBase",
    )
)
"""Classes of PyTorch itself that hold the weights of quantized layers."""
_PLAIN_WORDS = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS "
    "GLOBAL REDUCE BUILD NEWOBJ BINPERSID"
)
_PLAIN = frozenset(_PLAIN_WORDS.split())


@dataclass(frozen=True)
class Call:
    """Something in a pickle that loading would call, and that is none of the things that rebuild tensors.

    Parameters
    ----------
    name : "module.name" of what would be called, or the opcode that hides it
    position : of its opcode, in bytes
    """

    name: str
    position: int


def strange_call(data: bytes, *, script: bool = False) -> Call | None:
    """Return the first thing that a pickle would call besides what rebuilds tensors, or None.

    Parameters
    ----------
    script : whether classes of TorchScript may be rebuilt, too

    Raises
    ------
    ValueError
        The bytes are no whole pickle.
    """
    for name, argument, position in _opcodes(data):
        if name not in _PLAIN:
            return Call(f"opcode {name}", position)
        if name == "GLOBAL" and not _known(argument, script):
            return Call(argument.replace(" ", "."), position)
    return None


def _known(name: str, script: bool) -> bool:
    if name in _TENSOR or _TORCH_NAME.fullmatch(name):
        return True
    if not script:
        return False
    if _CUSTOM.match(name):
        return name.replace(" ", ".") in PACKED
    return name in _SCRIPT or _SCRIPT_CLASS.fullmatch(name) is not None


def _opcodes(data: bytes) -> Iterator[tuple[str, str, int]]:
    try:
        for opcode, argument, position in pickletools.genops(data):
            yield opcode.name, argument if isinstance(argument, str) else "", position or 0
    except (ValueError, UnicodeDecodeError, OverflowError, IndexError) as error:
        raise ValueError("no whole pickle") from error
