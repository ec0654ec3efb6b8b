"""How torch computes during a block: so many threads, full float32, with gradients or without; nothing left changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pmcore_autograd.quiet import ONE_AT_A_TIME


@contextlib.contextmanager
def exactly(kind: str, threads: int | None, *, deployed: bool, gradients: bool = False) -> Iterator[None]:
    """Compute without autocast, on this many threads, and in full float32 unless `deployed`.

    What is set is set for the block alone: threads, and the permission to round the inputs of float32 products, are
    settings of the whole process, so one thread at a time is in such a block.

    Parameters
    ----------
    kind : of the device: "cpu", "cuda" or "mps"
    threads : on the CPU, or None for torch's own choice
    deployed : whether torch may round as the process allows
    gradients : whether autograd may look on; else it is switched off for the block
    """
    import torch

    with ONE_AT_A_TIME, contextlib.ExitStack() as stack:
        if not gradients:
            stack.enter_context(torch.inference_mode())
        if torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
        if threads is not None and torch.get_num_threads() != threads:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        if not deployed:
            stack.enter_context(_full_precision(kind))
        yield


@contextlib.contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """Keep the inputs of float32 products as they are for the block, whatever the process allows."""
    import torch

    backends: Any = torch.backends
    own: tuple[Any, ...] = (backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn)
    if device == "cuda":
        own = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    rounded = [(kind, kind.fp32_precision) for kind in own if kind.fp32_precision not in ("ieee", "none")]
    for kind, _ in rounded:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, before in rounded:
            kind.fp32_precision = "none"
            if kind.fp32_precision != before:  # else it follows a general setting, as it did
                kind.fp32_precision = before
