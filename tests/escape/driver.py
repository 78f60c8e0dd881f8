"""Who drives a hostile session: it answers the calls of its functions, and remembers what it must never be shown.

Is: a client's part, over MCP: `echo` gives back what it is called with, `fails` fails. A case marks with `FORGED` what
no driver may see. Is not: a server, or a judge of anything else (`verdicts.py`).
"""

from __future__ import annotations

import json
from typing import Any, Final

from tests.mcp.line_client import LineClient

FUNCTIONS: Final = (
    {"name": "echo", "description": "gives back what it is called with"},
    {"name": "fails", "description": "fails"},
)
PAGES_MAX: Final = 20
"""Of one step: a case that goes on calling is waited for no longer."""
PAGE_CHARS: Final = 200_000
ANSWERS_MAX: Final = 1_000
"""That one call may bring."""


class Driver:
    """Of one session, for one case."""

    def __init__(self, client: LineClient, session_id: str) -> None:
        self._client, self._session_id = client, session_id
        self.hits: list[str] = []
        """What it was shown and should not have been."""

    def answered(self, data: dict[str, Any]) -> dict[str, Any]:
        """The step's end, after its calls were answered; or, of a step that goes on calling, after its interrupt."""
        for _ in range(PAGES_MAX):
            if data["status"] != "needs_answers":
                return data
            items = data["questions"]["items"]
            self.hits += [f"the driver was shown {str(item)[:100]}" for item in items if "FORGED" in json.dumps(item)]
            answers = [_answer(item) for item in items[:ANSWERS_MAX]]
            of_session = {"session_id": self._session_id, "max_output_chars": PAGE_CHARS}
            data = self._client.data("rlm_answer", answers=answers, **of_session)
        return self._client.data("rlm_interrupt", session_id=self._session_id)


def _answer(item: dict[str, Any]) -> dict[str, Any]:
    if item["name"] == "fails":
        return {"id": item["id"], "error": "it fails"}
    return {"id": item["id"], "text": json.dumps(item["args"])}
