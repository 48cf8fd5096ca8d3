"""What the dashboard refuses, each with its HTTP status and a code that programs can match.

The message is for people and never carries internals. Rendering is left to `dashboard.app`.
"""

from __future__ import annotations

from agent.errors import HashmarginError


class DashboardError(HashmarginError):
    """Root of refusals over HTTP.

    Args:
        message: what is wrong and, where there is one, the remedy.
        code: short stable word; the class's own by default.
    """

    status = 500
    code = "internal"

    def __init__(self, message: str, code: str | None = None) -> None:
        self.message = message
        if code is not None:
            self.code = code
        super().__init__(message)


class Unauthenticated(DashboardError):
    """No token or session, or one that is not known (any more)."""

    status = 401
    code = "unauthenticated"


class Forbidden(DashboardError):
    """Known, but not allowed: another site's token, or a form without its CSRF token."""

    status = 403
    code = "forbidden"


class NotFound(DashboardError):
    """There is no such site, recommendation or page."""

    status = 404
    code = "not_found"


class Conflict(DashboardError):
    """It was possible once and is not now: already decided, expired, no longer proposed."""

    status = 409
    code = "conflict"


class TooLarge(DashboardError):
    """The body is over the limit; send less at a time."""

    status = 413
    code = "too_large"


class UnsupportedMedia(DashboardError):
    """The body is not JSON, or packed in a way that is not spoken here."""

    status = 415
    code = "unsupported_media"


class Invalid(DashboardError):
    """The body does not follow the contract."""

    status = 422
    code = "invalid"


class Throttled(DashboardError):
    """Too many failed sign-ins.

    Args:
        message: what is wrong.
        retry_after_s: whole seconds until another attempt is looked at.
    """

    status = 429
    code = "throttled"

    def __init__(self, message: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Unavailable(DashboardError):
    """The database does not answer now; try again."""

    status = 503
    code = "unavailable"
