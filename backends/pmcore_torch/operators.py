"""Which operators a model may use: those that compute, not those that reach for files, processes or Python objects."""

from __future__ import annotations

import re

_NAMESPACES = frozenset({"aten", "prims", "quantized", "quantized_decomposed", "_quantized", "onednn", "mkldnn"})
_SCRIPT_NAMESPACES = (_NAMESPACES - {"prims", "quantized_decomposed"}) | {"prim", "mkldnn_prepacked", "sparse"}
_EFFECTS_WORDS = (
    "from_file save load set_data _set_data manual_seed seed initial_seed set_grad_enabled _print "
    "set_ set _cufft_set_plan_cache_max_size _cufft_clear_plan_cache as_strided_ resize_storage_bytes_ "
    "PythonOp IgnoredPythonOp CallFunction rpc_async rpc_sync rpc_remote data_ptr id print Print chr AddStatValue"
)
_UNCHECKED_WORDS = (
    "_reshape_alias _reshape_alias_copy _nested_view_from_buffer _nested_view_from_buffer_copy "
    "_nested_view_from_jagged _nested_view_from_jagged_copy _sparse_coo_tensor_with_dims_and_tensors "
    "_sparse_coo_tensor_unsafe _sparse_compressed_tensor_unsafe _sparse_csr_tensor_unsafe _sparse_csc_tensor_unsafe "
    "_sparse_bsr_tensor_unsafe _sparse_bsc_tensor_unsafe _coalesced_ _embedding_bag_forward_only "
    "_get_mkldnn_serialized_md"
)
_UNCHECKED = frozenset(_UNCHECKED_WORDS.split())
"""Operators that take places in memory as they are told: with false ones they read and write whatever lies there."""
_EFFECTS = frozenset(_EFFECTS_WORDS.split()) | _UNCHECKED
"""Operators that read or write files, leave the program, or change what lies outside of it."""
_HIGHER = frozenset({"wrap_with_set_grad_enabled", "wrap_with_autocast", "cond", "while_loop"})
_ARITHMETIC = "pow add eq sub ne mul floordiv lt le truediv pos gt neg mod ge lshift rshift and_ or_ getitem"
_SIZES = frozenset(f"_operator.{name}" for name in _ARITHMETIC.split()) | {
    "torch.sym_float",
    "torch.sym_int",
    "torch.sym_max",
    "torch.sym_min",
    "torch.sym_not",
    "torch.sym_ite",
}
_ROUNDING = frozenset({"math.trunc", "math.floor", "math.ceil", "torch._sym_sqrt", "torch.sym_sqrt", "torch.sym_sum"})
_TARGET = re.compile(r"torch\.ops\.(\w{1,40})\.(\w{1,120})(?:\.(\w{1,120}))?", re.ASCII)


def exported_operator_passes(target: str) -> bool:
    """Tell whether a node of an exported program may call this target."""
    if target in _SIZES or target in _ROUNDING:
        return True
    found = _TARGET.fullmatch(target)
    if found is None:
        return False
    if found[1] == "higher_order":
        return found[2] in _HIGHER and found[3] is None
    computes = found[2] not in _EFFECTS and not found[2].startswith("_test_") and not _is_python(found[2], found[3])
    return found[1] in _NAMESPACES and found[3] is not None and computes


def script_operator_passes(namespace: str, name: str) -> bool:
    """Tell whether a TorchScript program may call this operator."""
    return namespace in _SCRIPT_NAMESPACES and name not in _EFFECTS and not name.startswith(("_test_", "__init__"))


def _is_python(name: str, overload: str | None) -> bool:
    """Tell whether a look-up would leave the operators for attributes of the Python objects around them."""
    dunder = name.startswith("__") and not re.fullmatch(r"__(?:i?(?:and|or|xor|[lr]shift)|r\w+)__", name)
    return dunder or (overload or "").startswith("_")
