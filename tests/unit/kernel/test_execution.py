"""When an execution counts as done: both halves, or one of them and nothing more for a while, or a kernel's death."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel import client
from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from tests.sessions import WAIT_S

pytestmark = pytest.mark.anyio


def message(msg_type: str, content: dict[str, Any]) -> Message:
    return Message(msg_type=msg_type, parent_id="m", parent_session="s", content=content, buffers=())


IDLE = ("status", {"execution_state": "idle"})
REPLY = ("execute_reply", {"status": "ok", "execution_count": 1})
PRINTED = ("stream", {"name": "stdout", "text": "late"})


@pytest.mark.parametrize("order", [(REPLY, IDLE), (IDLE, REPLY)])
async def test_both_halves_end_it_at_once(order: tuple[tuple[str, dict[str, Any]], ...]) -> None:
    """Whichever comes first."""
    execution = Execution("m")
    for msg_type, content in order:
        assert not execution.done.done()
        execution.feed(message(msg_type, content))
    assert execution.done.result() == "complete"


@pytest.mark.parametrize("half", [REPLY, IDLE], ids=["idle was lost", "reply was lost"])
async def test_one_half_alone_counts_after_a_grace(
    half: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ipykernel can lose the reply in an interrupt's race; a step that waits for it would never end."""
    monkeypatch.setattr("rlm_kernel_mcp.kernel.execution.REPLY_GRACE_S", 0.02)
    execution = Execution("m")
    execution.feed(message(*half))
    assert not execution.done.done()
    async with asyncio.timeout(WAIT_S):
        assert await execution.done == "half"


async def test_a_lost_reply_takes_the_snapshot_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have followed: whoever waits for it is told that it does not come."""
    monkeypatch.setattr("rlm_kernel_mcp.kernel.execution.REPLY_GRACE_S", 0.02)
    execution = Execution("m")
    execution.snapshot = asyncio.get_running_loop().create_future()
    execution.feed(message(*IDLE))
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(KernelDied, match="without a reply"):
            await execution.snapshot


async def test_what_is_still_printed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grace begins anew with every message; the other half within it ends it whole."""
    monkeypatch.setattr("rlm_kernel_mcp.kernel.execution.REPLY_GRACE_S", WAIT_S)
    execution = Execution("m")
    execution.feed(message(*REPLY))
    execution.feed(message(*PRINTED))
    assert not execution.done.done()
    execution.feed(message(*IDLE))
    assert execution.done.result() == "complete"
    assert execution.reply.stdout.text() == "late"


async def test_a_busy_kernel_is_waited_for_without_end() -> None:
    """Output and the busy status are not an end."""
    execution = Execution("m")
    execution.feed(message("status", {"execution_state": "busy"}))
    execution.feed(message(*PRINTED))
    assert not execution.done.done()
    execution.finish("its process was ended by SIGKILL")
    assert execution.done.result() == "its process was ended by SIGKILL"
    execution.feed(message(*IDLE))
    execution.feed(message(*REPLY))
    assert execution.done.result() == "its process was ended by SIGKILL"


async def test_a_console_s_cell_counts_from_when_it_was_first_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its end never comes, as of one that was made up; its end counts anew."""
    now_s = 1_000.0
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: now_s))
    kernel = client.KernelClient(b"")
    assert not kernel.console_within(600)
    echo = Message("execute_input", "of a console", "another", {"code": "1", "execution_count": 1}, ())
    kernel._on_console_message(echo)
    now_s = 1_500.0
    kernel._on_console_message(echo)
    assert kernel.console_within(600)
    now_s = 1_601.0
    assert not kernel.console_within(600)
    kernel._on_console_message(Message("status", "of a console", "another", {"execution_state": "idle"}, ()))
    assert kernel.console_within(600)
