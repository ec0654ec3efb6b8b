"""A backend for pmcore: dense networks stored in `.npz`, computed by numpy alone."""

from numpy_backend.model import NumpyModel, NumpyOptions

__version__ = "0.1.0"
__all__ = ["NumpyModel", "NumpyOptions"]
