"""A server whose client's sessions are in a cluster: what it asks for, and what it says where there is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from mcp.types import CallToolResult, TextContent

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.server import tools
from rlm_kernel_mcp.server.elsewhere import in_cluster
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import ENTRANCE, Settings, load_settings

pytestmark = pytest.mark.anyio


class FakeRouted:
    """What stands for a registry."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def call_tool(self, name: str, request: Any, arguments: dict[str, Any], _caller: object) -> CallToolResult:
        if request.session_id == "s_none":
            raise InvalidInput("It is none.")
        said = json.dumps([name, request.wait_ms, arguments, self.settings.cluster])
        return CallToolResult(content=[TextContent(type="text", text=said)])


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    async def routed(settings: Settings) -> Registry:
        return cast(Registry, FakeRouted(settings))

    module = ModuleType(ENTRANCE)
    vars(module)["routed"] = routed
    monkeypatch.setitem(sys.modules, ENTRANCE, module)
    return load_settings(tmp_path, {"HOME": str(tmp_path), "RLM_CLUSTER": "auto"})


async def test_a_tool_is_checked_here_and_done_there_with_its_arguments_as_they_came(settings: Settings) -> None:
    registry = await in_cluster.opened(settings)

    async def get(_session_id: str | None) -> Registry:
        return registry

    async def call(**arguments: Any) -> Any:
        row, caller = tools.BY_NAME["rlm_run_repl"], Caller.of("stdio", settings)
        result = await tools.answer(row, get, caller, arguments, do=in_cluster.do)
        return json.loads(cast(TextContent, result.content[0]).text)

    arguments = {"session_id": "s_1", "code": "1"}
    assert await call(**arguments) == ["rlm_run_repl", 45_000, arguments, "auto"]
    assert (await call(session_id="s_none", code="1"))["error"]["message"] == "It is none."
    assert (await call(session_id="s_1"))["error"]["code"] == "INVALID_INPUT"
