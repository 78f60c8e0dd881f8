"""Resources of the real server, as they stand on the wire: a trace page by page, a notebook, the page of MCP Apps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.mcp.line_client import CLIENT, LineClient

pytestmark = pytest.mark.slow
STEPS = 40


def read(client: LineClient, uri: str) -> str:
    (contents,) = client.request("resources/read", {"uri": uri})["result"]["contents"]
    assert contents["uri"] == uri
    text: str = contents["text"]
    return text


def test_a_session_is_listed_and_its_trace_and_notebook_are_read(workers_client: LineClient) -> None:
    """The pages of a long trace, put together, have every step; the notebook has every cell."""
    client = workers_client
    session_id = client.open_session("alpha beta", max_steps=STEPS + 2, budget_limit=10_000_000)
    for number in range(STEPS):
        client.run(session_id, f"print({number: >3}, 'x' * 3_000)")
    listed = client.request("resources/list")["result"]["resources"]
    uris = [f"rlm://sessions/{session_id}/{kind}" for kind in ("trace", "notebook")]
    assert [one["uri"] for one in listed if session_id in one["uri"]] == uris
    pages, uri = [], uris[0]
    while uri:
        pages.append(read(client, uri))
        assert len(pages[-1]) < 60_000
        found = re.search(r"^The rest: read (\S+)\.$", pages[-1], re.MULTILINE)
        uri = found[1] if found else ""
    assert len(pages) > 2
    whole = "".join(pages)
    assert [f"print({number: >3}, 'x'" in whole for number in range(STEPS)] == [True] * STEPS
    notebook = json.loads(read(client, uris[1]))
    assert [cell["id"] for cell in notebook["cells"] if cell["id"].startswith("step-")] == [
        f"step-{number}" for number in range(1, STEPS + 1)
    ]
    unknown = client.request("resources/read", {"uri": "rlm://sessions/s_nobody/trace"})["error"]
    assert unknown["message"].startswith("SESSION_NOT_FOUND: There is no session 's_nobody'")


def test_a_client_of_mcp_apps_is_told_of_the_page_and_reads_it(tmp_path: Path) -> None:
    """By the handshake of the eras before extensions were a part of it, as clients send it."""
    directory = tmp_path / "server"
    directory.mkdir()
    client = LineClient(directory)
    try:
        shows = {"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}}
        said = client.request("initialize", {**CLIENT, "protocolVersion": "2025-11-25", "capabilities": shows})
        assert said["result"]["capabilities"]["resources"] == {"subscribe": False, "listChanged": False}
        client.notify("notifications/initialized")
        tools = client.request("tools/list")["result"]["tools"]
        (uri,) = [tool["_meta"]["ui"]["resourceUri"] for tool in tools if "_meta" in tool]
        (page,) = client.request("resources/read", {"uri": uri})["result"]["contents"]
        listed = client.request("resources/list")["result"]["resources"]
        assert page["mimeType"] == "text/html;profile=mcp-app"
        assert page["_meta"]["ui"]["csp"] == {}
        assert page["text"].startswith("<!DOCTYPE html>")
        assert [one["uri"] for one in listed] == [uri]
    finally:
        client.kill()
