"""pmcore: membership-inference audits of trained models as they are shipped.

>>> from pmcore import Audit
>>> result = Audit(model="model.onnx", members="train.npz", non_members="test.npz").run()
>>> print(result)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pmcore.audit import Audit as Audit
    from pmcore.audit import AuditResult as AuditResult

__version__ = "0.1.0"
__all__ = ["Audit", "AuditResult", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the audit when it is first named, so that `import pmcore` costs next to nothing."""
    if name in ("Audit", "AuditResult"):
        from pmcore import audit

        return getattr(audit, name)
    raise AttributeError(f"module 'pmcore' has no attribute {name!r}")
