"""The PyTorch backend."""

from pmcore_torch.model import TorchModel

__all__ = ["TorchModel"]
