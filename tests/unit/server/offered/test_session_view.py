"""The page for clients of MCP Apps: whom it is told of, and that nobody else's tools or answers are others for it."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest
from mcp import Client
from mcp.client.extension import ClientExtension, advertise
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.types import ClientCapabilities, ListToolsResult, PaginatedRequestParams

from rlm_kernel_mcp.server import tools
from rlm_kernel_mcp.server.mcp_server import LazyRegistry, build_server, offer_resources
from rlm_kernel_mcp.server.offered import session_view
from rlm_kernel_mcp.session.trace.reports import TraceEvent, TracePage
from rlm_kernel_mcp.telemetry.spans import Spans
from tests.parts import ROOT
from tests.sessions import WAIT_S

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

pytestmark = pytest.mark.anyio
PAGE = TracePage((TraceEvent("2026-11-30T10:00:00.000Z", 1, "run_repl", "mcp", "ok", "1 + 1", 3, {}),), 500)


class OneTrace:
    """Stands where the session layer stands, and has one page of a trace."""

    def __init__(self) -> None:
        self.spans = Spans()

    def load_progress(self, session_id: str) -> None:
        """Nothing is being loaded."""

    async def get_trace(self, _session_id: str, **_: Any) -> TracePage:
        return PAGE

    async def close(self) -> None:
        """There is nothing to end."""


def offering(*, asks_models: bool = False, is_answered: bool = False) -> Server[LazyRegistry]:
    """The real server, with its resources."""

    async def open_registry() -> Registry:
        return cast("Registry", OneTrace())

    server = build_server(open_registry, asks_models=asks_models, is_answered=is_answered)
    offer_resources(server, lambda _ctx: None, no_notebook)
    return server


async def no_notebook(_registry: Registry, _session_id: str) -> tuple[str, int]:
    raise AssertionError


def bare(*, asks_models: bool, is_answered: bool) -> Server[Any]:
    """A server that has the tools and has never heard of pages or resources."""
    rows = [row.listed(asks_models=asks_models, is_answered=is_answered) for row in tools.TABLE]

    async def listed(_ctx: ServerRequestContext[Any], _params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=rows)

    return Server("rlm-kernel-mcp", on_list_tools=listed)


def extensions(*, told: bool) -> Sequence[ClientExtension]:
    return [advertise(session_view.EXTENSION, {"mimeTypes": [session_view.MIME_TYPE]})] if told else []


async def tools_as_bytes(server: Server[Any], mode: str, *, told: bool) -> bytes:
    """`tools/list` as a client has it."""
    async with asyncio.timeout(WAIT_S), Client(server, mode=mode, extensions=extensions(told=told)) as client:
        listed = await client.list_tools()
    return b"\n".join(one.model_dump_json(by_alias=True).encode() for one in listed.tools)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("asks_models", [False, True])
@pytest.mark.parametrize("is_answered", [False, True])
async def test_the_tools_are_the_same_byte_for_byte_for_a_client_that_shows_no_pages(
    mode: str, *, asks_models: bool, is_answered: bool
) -> None:
    """As they are from a server that has neither resources nor a page."""
    options = {"asks_models": asks_models, "is_answered": is_answered}
    ours = await tools_as_bytes(offering(**options), mode, told=False)
    assert ours == await tools_as_bytes(bare(**options), mode, told=False)
    assert b"ui://" not in ours


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_that_shows_pages_is_told_of_one_with_one_tool_and_nothing_else_differs(mode: str) -> None:
    plain = await tools_as_bytes(offering(), mode, told=False)
    shown = await tools_as_bytes(offering(), mode, told=True)
    named = b'"_meta":{"ui":{"resourceUri":"ui://rlm/session"}}'
    differ = [(one, other) for one, other in zip(plain.split(b"\n"), shown.split(b"\n"), strict=True) if one != other]
    assert [one.replace(b'"_meta":null', named) for one, _ in differ] == [other for _, other in differ]
    assert [b'"name":"rlm_get_trace"' in one for one, _ in differ] == [True]


async def test_the_extension_is_announced_where_the_protocol_has_a_place_for_it() -> None:
    """To every client of that era: it is the server's word, and no tool differs for it."""
    async with asyncio.timeout(WAIT_S), Client(offering(), mode="auto") as client:
        said = client.server_capabilities.extensions
    assert said == {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}


@pytest.mark.parametrize("form", ["json", "markdown"])
async def test_what_a_tool_answers_is_the_same_for_every_client(form: str) -> None:
    """Byte for byte, in both eras, whether it shows pages or not."""
    asked = {"session_id": "s_1", "response_format": form}
    found: dict[str, set[str]] = {}
    for mode, told in itertools.product(("legacy", "auto"), (False, True)):
        ours = Client(offering(), mode=mode, extensions=extensions(told=told))
        async with asyncio.timeout(WAIT_S), ours as client:
            result = await client.call_tool("rlm_get_trace", asked)
        found.setdefault(mode, set()).add(result.model_dump_json(by_alias=True))
    assert [len(results) for results in found.values()] == [1, 1]


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        {"mimeTypes": None},
        {"mimeTypes": []},
        {"mimeTypes": "text/html;profile=mcp-app"},
        {"mimeTypes": ["text/html"]},
        {"mimeTypes": {"text/html;profile=mcp-app": True}},
        {"mimetypes": ["text/html;profile=mcp-app"]},
    ],
)
def test_a_client_that_says_it_in_another_form_shows_no_pages(said: dict[str, Any] | None) -> None:
    """What is not said as the extension has it is not said."""
    known = None if said is None else {session_view.EXTENSION: said}
    assert not session_view.is_shown_by(ClientCapabilities(extensions=known))
    assert not session_view.is_shown_by(ClientCapabilities(extensions={"com.example/ui": said or {}}))


def test_a_client_that_shows_more_than_our_type_shows_it_too() -> None:
    types = ["text/uri-list", session_view.MIME_TYPE]
    assert session_view.is_shown_by(ClientCapabilities(extensions={session_view.EXTENSION: {"mimeTypes": types}}))
    assert not session_view.is_shown_by(None)


def test_the_page_is_one_file_that_names_no_place_and_makes_no_markup_of_a_text() -> None:
    """Whatever it is given becomes text nodes; what it may do its policy says too."""
    contents = session_view.contents()
    assert (contents.uri, contents.mime_type) == ("ui://rlm/session", "text/html;profile=mcp-app")
    assert contents.meta == {"ui": {"csp": {}, "prefersBorder": True}}
    text = contents.text
    acting = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|setAttribute|createRange|DOMParser"
    assert re.findall(rf"{acting}|\b(?:src|href|srcdoc|on\w+)\s*=|https?:|@import|url\(", text) == []
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    wanted = {"default-src 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'", "base-uri 'none'"}
    assert wanted <= {*policy.split("; ")}
    assert text.index("Content-Security-Policy") < text.index("<style")


def test_what_is_odd_in_a_text_is_the_same_on_the_live_page() -> None:
    """In the same lines, since this page is one file that loads nothing."""
    live = (ROOT / "rlm_kernel_mcp/watching/static/ground/foreign.js").read_text(encoding="utf-8")
    lines = re.search(r"^const SPELLS = .*?\.join\(\"\|\"\);$", live, re.MULTILINE | re.DOTALL)
    assert lines is not None
    assert lines[0] in session_view.contents().text
