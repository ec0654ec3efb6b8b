"""The scikit-learn backend: audits any fitted classifier or regressor, in memory or in a `.skops` file."""

from pmcore_sklearn.model import SklearnModel

__all__ = ["SklearnModel"]
