"""Exported models as torch modules: ``load`` an ONNX or OpenVINO file, differentiate or train it, ``save`` it again.

::

    module = pmcore_autograd.load("model.onnx")
    torch.autograd.backward(torch.nn.functional.cross_entropy(module(x), y))
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}

    module.reset_parameters(seed=1)
    ...  # any torch training loop
    pmcore_autograd.save(module, "retrained.onnx")

A module is in evaluation mode, as the file is. It works under ``torch.func``: per-record gradients come from ``vmap``
of ``grad`` of ``functional_call``, also where the file takes one record at a time. What a file does that is not known
here raises `Unsupported`, which names every operator, before any work is done.
"""

from pmcore_autograd.loading import load, save
from pmcore_autograd.unsupported import Unsupported

__all__ = ["Unsupported", "load", "save"]
