"""The ONNX Runtime backend: audits a model as it is shipped, on the runtime that serves it."""

from pmcore_onnx.model import OnnxModel

__all__ = ["OnnxModel"]
