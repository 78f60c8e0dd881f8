"""The page in which a client of MCP Apps shows a session's trace, and which clients are such.

Is: `ui://rlm/session`, one file that is the same for every session and client: it draws what the client posts to it as
the result of `rlm_get_trace`, and asks for nothing. Is not: what a trace is, nor any of its texts. Above:
`mcp_server.py`, `resources.py`. Below: the SDK's types.

The extension is announced by hand: the SDK's own module for it belongs to its large server, and takes that to import.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from mcp.types import ClientCapabilities, Resource, TextResourceContents, Tool

EXTENSION: Final = "io.modelcontextprotocol/ui"
URI: Final = "ui://rlm/session"
MIME_TYPE: Final = "text/html;profile=mcp-app"
TOOL: Final = "rlm_get_trace"
"""Whose results it draws."""
ANNOUNCED: Final[dict[str, dict[str, Any]]] = {EXTENSION: {"mimeTypes": [MIME_TYPE]}}
META: Final[dict[str, Any]] = {"ui": {"csp": {}, "prefersBorder": True}}
"""No origin in its policy: it loads nothing, and connects to nothing."""


def is_shown_by(client: ClientCapabilities | None) -> bool:
    """Whether a client says that it shows such pages; what it says is anybody's, of any form."""
    said: object = None if client is None else (client.extensions or {}).get(EXTENSION)
    types = said.get("mimeTypes") if isinstance(said, dict) else None
    return isinstance(types, list) and MIME_TYPE in types


def with_page(tools: list[Tool]) -> list[Tool]:
    """The tools as such a client is told of them."""
    meta = {"ui": {"resourceUri": URI}}
    return [tool.model_copy(update={"meta": meta}) if tool.name == TOOL else tool for tool in tools]


def listed() -> Resource:
    """It among the resources."""
    return Resource(
        uri=URI,
        name="session",
        title="Page of a session",
        description=f"Shows what {TOOL} has answered.",
        mime_type=MIME_TYPE,
        _meta=META,
    )


@cache
def contents() -> TextResourceContents:
    """It, for a client that reads it. It waits for the disk, the first time."""
    text = Path(__file__).with_name("session_view.html").read_text(encoding="utf-8")
    return TextResourceContents(uri=URI, mime_type=MIME_TYPE, text=text, _meta=META)
