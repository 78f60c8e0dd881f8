"""The edge where exceptions become answers, through the SDK's in-memory client."""

from __future__ import annotations

import asyncio
import itertools
import json
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import pytest
from mcp import Client, MCPError
from mcp.types import Implementation

from rlm_kernel_mcp.errors import SandboxUnavailable, SessionNotFound
from rlm_kernel_mcp.server import mcp_server, tools
from rlm_kernel_mcp.server.mcp_server import build_server
from rlm_kernel_mcp.session import reports
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.trace.reports import TracePage
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.telemetry.spans import Spans
from rlm_kernel_mcp.variables.table import TABLE
from tests.sessions import WAIT_S

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry
    from rlm_kernel_mcp.session.registry import Registry as AnyRegistry

pytestmark = pytest.mark.anyio
BACKENDS: Final = next(row.choices for row in TABLE if row.variable == "RLM_SUBCALL_BACKEND")


class FailingRegistry:
    """Stands where the session layer stands, and fails in the ways that the real one cannot be made to."""

    def __init__(self) -> None:
        self.spans = Spans()
        self.closed = 0
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def list_sessions(self, **_arguments: object) -> list[reports.SessionSummary]:
        raise RuntimeError("the secret is in /a/host/path")

    def load_progress(self, session_id: str) -> None:
        """Nothing is being loaded."""

    async def interrupt(self, session_id: str, _caller: Caller | None) -> reports.StepReport:
        raise SessionNotFound(f"There is no session {session_id}.")

    async def get_trace(self, _session_id: str, **_: Any) -> TracePage:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError

    async def close(self) -> None:
        self.closed += 1


def server_over(registry: FailingRegistry, problems: list[Exception] | None = None) -> Any:
    """The real server; opening its registry first fails with each of the problems."""

    async def open_registry() -> Registry:
        if problems:
            raise problems.pop(0)
        return cast("Registry", registry)

    return build_server(open_registry)


async def test_an_unexpected_exception_becomes_an_internal_error_that_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The traceback is for the log."""
    async with asyncio.timeout(60), Client(server_over(FailingRegistry())) as client:
        result = await client.call_tool("rlm_list_sessions", {})
    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["error"]["code"] == "INTERNAL_ERROR"
    assert "secret" not in json.dumps(result.structured_content)
    assert "the secret is in /a/host/path" in caplog.text


async def test_a_refused_request_is_answered_in_the_form_it_asked_for() -> None:
    """Markdown has no structuredContent, in errors too."""
    async with asyncio.timeout(60), Client(server_over(FailingRegistry())) as client:
        plain = await client.call_tool("rlm_interrupt", {"session_id": "s_1"})
        reading = await client.call_tool("rlm_interrupt", {"session_id": "s_1", "response_format": "markdown"})
        invalid = await client.call_tool("rlm_interrupt", {"response_format": "markdown"})
    assert plain.structured_content is not None
    assert plain.structured_content["error"]["code"] == "SESSION_NOT_FOUND"
    assert reading.is_error
    assert reading.structured_content is None
    assert invalid.structured_content is None


async def test_a_registry_that_could_not_be_opened_is_tried_again() -> None:
    """A client never restarts a server: what the user mends must work in the same process."""
    problems: list[Exception] = [SandboxUnavailable("no walls")]
    async with asyncio.timeout(60), Client(server_over(FailingRegistry(), problems)) as client:
        first = await client.call_tool("rlm_interrupt", {"session_id": "s_1"})
        second = await client.call_tool("rlm_interrupt", {"session_id": "s_1"})
    assert [result.structured_content["error"]["code"] for result in (first, second) if result.structured_content] == [
        "SANDBOX_UNAVAILABLE",
        "SESSION_NOT_FOUND",
    ]


async def test_the_registry_is_not_opened_by_a_client_that_only_says_hello() -> None:
    """What opening imports must not slow down the first answer."""
    opened: list[str] = []

    async def open_registry() -> Registry:
        opened.append("opened")
        return cast("Registry", FailingRegistry())

    async with asyncio.timeout(60), Client(build_server(open_registry), mode="legacy") as client:
        assert client.server_info is not None
        assert client.server_info.name == "rlm-kernel-mcp"
        assert opened == []
        await client.list_tools()
        await client.call_tool("rlm_interrupt", {"session_id": "s_1"})
    assert opened == ["opened"]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_both_protocol_eras_list_and_call_the_same_tools_and_close_the_registry_once(mode: str) -> None:
    """Codex speaks 2025-06-18; newer clients send no handshake at all."""
    registry = FailingRegistry()
    async with asyncio.timeout(60), Client(server_over(registry), mode=mode) as client:
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools][:2] == ["rlm_init_context", "rlm_run_repl"]
        assert (await client.call_tool("rlm_interrupt", {"session_id": "s"})).is_error
    assert registry.closed == 1


async def test_an_unknown_tool_is_a_protocol_error_that_lists_the_known_ones() -> None:
    """As the specification has it; Codex shows it to the model too."""
    async with asyncio.timeout(60), Client(server_over(FailingRegistry())) as client:
        with pytest.raises(MCPError, match="the tools are: rlm_init_context, "):
            await client.call_tool("rlm_run", {})


async def test_a_caller_with_a_progress_token_is_told_that_the_server_still_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some clients give up on a silent server; a cancelled call cancels the wait."""
    monkeypatch.setattr(mcp_server, "PROGRESS_INTERVAL_S", 0.001)
    registry = FailingRegistry()
    told = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert message is not None
        assert message.startswith("waiting")
        told.set()

    async with asyncio.timeout(60), Client(server_over(registry), mode="legacy") as client:
        call = asyncio.create_task(
            client.call_tool("rlm_get_trace", {"session_id": "s"}, progress_callback=on_progress)
        )
        await told.wait()
        call.cancel()
        await registry.cancelled.wait()
        await asyncio.wait([call])
    assert call.cancelled()


async def test_a_caller_with_a_progress_token_is_told_how_much_of_a_context_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes of bytes in all, while the call waits for it."""
    monkeypatch.setattr(mcp_server, "PROGRESS_INTERVAL_S", 0.001)
    registry = FailingRegistry()
    monkeypatch.setattr(registry, "load_progress", lambda session_id: (5_000, 20_000))
    told: asyncio.Future[tuple[float, float | None, str | None]] = asyncio.get_running_loop().create_future()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        if not told.done():
            told.set_result((progress, total, message))

    async with asyncio.timeout(WAIT_S), Client(server_over(registry), mode="legacy") as client:
        call = asyncio.create_task(
            client.call_tool("rlm_get_trace", {"session_id": "s"}, progress_callback=on_progress)
        )
        assert await told == (5_000, 20_000, "5,000 of 20,000 bytes of the context are loaded")
        call.cancel()
        await asyncio.wait([call])


async def test_neither_progress_nor_its_total_becomes_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """As MCP has it: also where few bytes come after many seconds, and where one of several contexts has come."""
    monkeypatch.setattr(mcp_server, "PROGRESS_INTERVAL_S", 0.001)
    monkeypatch.setattr(anyio, "current_time", partial(next, itertools.count(0.0, 10.0)))
    registry = FailingRegistry()
    done = itertools.chain.from_iterable((count, count) for count in itertools.count(1))
    monkeypatch.setattr(registry, "load_progress", lambda session_id: (count := next(done), 20_000 - count))
    told: list[float] = []
    totals: list[float | None] = []
    enough = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)
        totals.append(total)
        if len(told) == 6:
            enough.set()

    async with asyncio.timeout(60), Client(server_over(registry), mode="legacy") as client:
        call = asyncio.create_task(
            client.call_tool("rlm_get_trace", {"session_id": "s"}, progress_callback=on_progress)
        )
        await enough.wait()
        call.cancel()
        await asyncio.wait([call])
    assert told[:2] == [1, 11]
    assert all(earlier < later for earlier, later in pairwise(told))
    assert totals == [19_999] * len(told)


@pytest.mark.parametrize(
    ("client_info", "client"),
    [
        (Implementation(name="codex", version="1.2"), "codex 1.2"),
        (Implementation(name="\x1b[2J" * 99, version=""), None),
    ],
)
async def test_the_registry_is_told_who_opens_a_session(client_info: Implementation, client: str | None) -> None:
    """What a client calls itself is bounded and safe to show, whatever it is."""
    callers: list[Caller | None] = []

    class Registry(FailingRegistry):
        async def init_context(self, *, caller: Caller | None, **_arguments: object) -> reports.Opened:
            callers.append(caller)
            raise SandboxUnavailable("no walls")

    async def open_registry() -> AnyRegistry:
        return cast("AnyRegistry", Registry())

    caller = Caller.of("a connection", load_settings("/", {}))
    server = build_server(open_registry, caller_of=lambda _ctx: caller)
    async with asyncio.timeout(60), Client(server, client_info=client_info, mode="legacy") as opened:
        for _ in range(2):
            await opened.call_tool("rlm_init_context", {"context_text": "x"})
    assert callers == [caller, caller]
    assert caller.client == client if client else (caller.client.startswith(r"\x1b[2J") and caller.client.isprintable())


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_list_of_tools_says_of_each_backend_whether_questions_leave_the_machine(backend: str) -> None:
    """As a client sees it that has switched one on: it may ask its user before such a tool, and only then."""
    settings = load_settings(
        "/", {"RLM_SUBCALL_BACKEND": backend, "RLM_SUBCALL_MODEL": "m", "OPENAI_API_KEY": "sk-none"}
    )

    async def open_registry() -> AnyRegistry:
        return cast("AnyRegistry", FailingRegistry())

    server = build_server(open_registry, asks_models=settings.subcalls.is_open_world)
    async with asyncio.timeout(60), Client(server, mode="legacy") as client:
        listed = (await client.list_tools()).tools
    open_ones = {tool.name for tool in listed if tool.annotations is None or tool.annotations.open_world_hint}
    assert ("rlm_run_repl" in open_ones, open_ones <= {"rlm_run_repl", "rlm_answer"}) == (
        backend in ("openai", "claude"),
        True,
    )


def test_only_code_whose_questions_leave_the_machine_is_in_an_open_world() -> None:
    """And only where the user has them leave."""
    for asks_models in (False, True):
        hints = {row.name: row.listed(asks_models=asks_models).annotations for row in tools.TABLE}
        open_ones = {name for name, hint in hints.items() if hint is not None and hint.open_world_hint}
        assert open_ones == ({"rlm_run_repl", "rlm_answer"} if asks_models else set())
