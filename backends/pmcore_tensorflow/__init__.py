"""The TensorFlow backend: audits Keras models and SavedModels, from files and from memory."""

from pmcore_tensorflow.model import TensorflowModel
from pmcore_tensorflow.options import TensorflowOptions

__all__ = ["TensorflowModel", "TensorflowOptions"]
