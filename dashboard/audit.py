"""The audit log: who did what, when. It only grows."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from agent.clock import Clock
from dashboard.schema import AuditRow


def record_audit(
    session: Session,
    wall: Clock,
    actor: str,
    action: str,
    detail: dict[str, Any],
    *,
    site_id: str | None = None,
    subject: str | None = None,
) -> None:
    """Add one row to the caller's transaction, so that act and audit stand or fall together."""
    session.add(
        AuditRow(at=wall.now(), actor=actor, action=action, site_id=site_id, subject=subject, detail=detail)
    )
