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
    from pmcore.callables import from_callable as from_callable

__version__ = "0.1.0"
__all__ = ["Audit", "AuditResult", "__version__", "from_callable"]


def __getattr__(name: str) -> Any:
    """Import what is named here when it is first used, so that `import pmcore` costs next to nothing."""
    if name in ("Audit", "AuditResult"):
        from pmcore import audit

        return getattr(audit, name)
    if name == "from_callable":
        from pmcore import callables

        return callables.from_callable
    raise AttributeError(f"module 'pmcore' has no attribute {name!r}")
