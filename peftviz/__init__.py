"""See what each PEFT adapter operation does to a model, what it leaves behind, and remove it correctly.

Importing this package imports neither torch nor peft nor a notebook library: each public name is loaded when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peftviz.auditing import assert_clean as assert_clean
    from peftviz.auditing import audit as audit
    from peftviz.core.audit import Audit as Audit
    from peftviz.core.audit import Finding as Finding
    from peftviz.core.diff import Change as Change
    from peftviz.core.diff import Diff as Diff
    from peftviz.core.diff import diff as diff
    from peftviz.core.operation_plan import OperationPlan as OperationPlan
    from peftviz.core.patch import patch as patch
    from peftviz.core.plan import DeletionPlan as DeletionPlan
    from peftviz.core.serialize import load as load
    from peftviz.core.snapshot import Snapshot as Snapshot
    from peftviz.core.timeline import Step as Step
    from peftviz.core.timeline import Timeline as Timeline
    from peftviz.errors import PeftvizError as PeftvizError
    from peftviz.live.activation.switching import OperationReport as OperationReport
    from peftviz.live.removal.deletion import DeletionReport as DeletionReport
    from peftviz.live.removal.deletion import delete_adapter as delete_adapter
    from peftviz.live.removal.deletion import plan_deletion as plan_deletion
    from peftviz.live.removal.repair import RepairReport as RepairReport
    from peftviz.live.removal.repair import repair as repair
    from peftviz.live.removal.unload import UnloadReport as UnloadReport
    from peftviz.live.removal.unload import unload as unload
    from peftviz.live.sessions.session import Session as Session
    from peftviz.live.sessions.session import watch as watch
    from peftviz.live.snapshots.capture import capture as capture
    from peftviz.views.inspector.language import set_language as set_language
    from peftviz.views.inspector.widget import Inspector as Inspector

__version__ = "0.1.0"

_HOMES = {
    "Audit": "core.audit",
    "Change": "core.diff",
    "DeletionPlan": "core.plan",
    "DeletionReport": "live.removal.deletion",
    "Diff": "core.diff",
    "Finding": "core.audit",
    "Inspector": "views.inspector.widget",
    "OperationPlan": "core.operation_plan",
    "OperationReport": "live.activation.switching",
    "PeftvizError": "errors",
    "RepairReport": "live.removal.repair",
    "Session": "live.sessions.session",
    "Snapshot": "core.snapshot",
    "Step": "core.timeline",
    "Timeline": "core.timeline",
    "UnloadReport": "live.removal.unload",
    "assert_clean": "auditing",
    "audit": "auditing",
    "capture": "live.snapshots.capture",
    "delete_adapter": "live.removal.deletion",
    "diff": "core.diff",
    "load": "core.serialize",
    "patch": "core.patch",
    "plan_deletion": "live.removal.deletion",
    "repair": "live.removal.repair",
    "set_language": "views.inspector.language",
    "unload": "live.removal.unload",
    "watch": "live.sessions.session",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'peftviz' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"peftviz.{home}"), name)
    globals()[name] = value  # later look-ups skip this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
