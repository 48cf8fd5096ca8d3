"""How Braiins OS words a refusal: the gRPC status behind the REST page, and what was wrong."""

from __future__ import annotations

from simulator.peers.http import Response
from simulator.peers.listener import compact

JSON_TYPE = (("Content-Type", "application/json"),)
_TEXT_TYPE = (("Content-Type", "text/plain; charset=utf-8"),)
_WORDS = {
    "invalid_argument": (400, "Client specified an invalid argument"),
    "out_of_range": (400, "Operation was attempted past the valid range"),
    "unauthenticated": (401, "The request does not have valid authentication credentials"),
    "permission_denied": (403, "The caller does not have permission to execute the specified operation"),
    "not_found": (404, "Some requested entity was not found"),
    "aborted": (409, "The operation was aborted"),
    "failed_precondition": (412, "The system is not in a state required for the operation's execution"),
    "internal": (500, "Internal error"),
    "unimplemented": (501, "Operation is not implemented or not supported"),
}


class Refusal(Exception):
    """A request that the firmware refuses.

    Args:
        kind: name of the status, a key of the table above.
        message: what was wrong.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(message)

    def response(self) -> Response:
        """The page that says so."""
        status, words = _WORDS[self.kind]
        return Response(status, compact({"error": words, "message": self.message}), JSON_TYPE)


class BadBody(Exception):
    """A body that the page cannot take; the web framework answers in plain text before the firmware sees it.

    Args:
        status: 400 for what is not JSON, 422 for JSON of another shape.
        detail: where it went wrong.
    """

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(detail)

    def response(self) -> Response:
        """The page that says so."""
        prefix = (
            "Failed to parse the request body as JSON"
            if self.status == 400
            else "Failed to deserialize the JSON body into the target type"
        )
        return Response(self.status, f"{prefix}: {self.detail}".encode(), _TEXT_TYPE)
