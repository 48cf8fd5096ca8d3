"""Approving recommendations through the dashboard's own pages, as an operator in a browser does."""

from __future__ import annotations

import html
import re

import httpx

from agent.errors import HashmarginError

_CSRF = re.compile(r'name="csrf"[^>]*value="([^"]+)"')
_ITEM = re.compile(r'name="item"[^>]*value="([^"]+)"')


class Approver:
    """One signed-in operator.

    Raises:
        HashmarginError: the dashboard cannot be reached or refuses.
    """

    def __init__(self, url: str, name: str, password: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10.0, follow_redirects=True, trust_env=False)
        self._done: set[str] = set()
        page = self._call("POST", "/login", {"name": name, "password": password, "next": "/"})
        if "/login" in str(page.url):
            raise HashmarginError("the dashboard did not accept the demo operator")

    def approve(self, limit: int) -> list[str]:
        """Approve up to `limit` open recommendations, spread over the list. Returns their ids."""
        page = self._call("GET", "/recommendations")
        token = _CSRF.search(page.text)
        items = [html.unescape(item) for item in _ITEM.findall(page.text)]
        new = [item for item in items if item not in self._done]
        if not new or token is None or limit <= 0:
            return []
        chosen = new[:: max(1, len(new) // limit)][:limit]
        self._done.update(chosen)
        fields: dict[str, str | list[str]] = {
            "csrf": html.unescape(token.group(1)),
            "verdict": "approved",
            "item": chosen,
            "note": "approved by the demo",
            "back": "/recommendations",
        }
        self._call("POST", "/decide", fields)
        return [item.partition("/")[2] for item in chosen]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(
        self, method: str, path: str, fields: dict[str, str | list[str]] | None = None
    ) -> httpx.Response:
        try:
            reply = self._client.request(method, path, data=fields)
        except httpx.HTTPError as error:
            raise HashmarginError(f"the dashboard cannot be reached: {error}") from error
        if reply.is_error:
            raise HashmarginError(f"the dashboard answered {reply.status_code} to {path}")
        return reply
