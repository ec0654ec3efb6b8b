"""The OpenVINO backend: audits IR (.xml, .bin) and ONNX models as OpenVINO runs them, in a precision that is told."""

from pmcore_openvino.model import OpenvinoModel

__all__ = ["OpenvinoModel"]
