"""Who may interrupt or take back what, where a session's host and consoles share a kernel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rlm_kernel_mcp.in_kernel.requests.client_requests import ClientRequests
from rlm_kernel_mcp.in_kernel.requests.turns import Turns
from rlm_kernel_mcp.wire import STEP_KEY, TAKE_BACK, TICKET_KEY


class Base:
    """What ipykernel does with an interrupt."""

    interrupted = 0

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        del stream, ident, parent
        self.interrupted += 1


class Kernel(ClientRequests, Base):
    """A session's kernel that sends nothing."""

    owned = True

    def __init__(self) -> None:
        self.turns = Turns()
        self.sent: list[dict[str, Any]] = []
        self.session = SimpleNamespace(send=lambda stream, name, content, parent, ident: self.sent.append(content))
        self.aborted: list[str] = []
        self._send_abort_reply = lambda stream, msg, idents: self.aborted.append(msg["header"]["msg_id"])


def cell(msg_id: str, **metadata: int | str) -> dict[str, Any]:
    header = {"session": "host", "msg_id": msg_id, "msg_type": "execute_request"}
    return {"header": header, "metadata": metadata, "content": {}}


def test_the_agents_step_is_not_taken_back_by_who_claims_its_client_s_name() -> None:
    """A console of the session has the key, and can sign in any name."""
    kernel = Kernel()
    kernel.turns.take_back("host", ["step", "cell"])
    assert kernel.should_handle(None, cell("step", **{STEP_KEY: 3}), None)
    assert not kernel.should_handle(None, cell("cell"), None)
    assert kernel.aborted == ["cell"]


@pytest.mark.anyio
async def test_a_step_is_withdrawn_by_its_ticket_until_it_begins_and_nobody_is_interrupted() -> None:
    kernel = Kernel()
    waiting, begun = (cell(name, **{STEP_KEY: 1, TICKET_KEY: name}) for name in ("waiting", "begun"))
    assert kernel.should_handle(None, begun, None)
    for ticket in ("begun", "waiting"):
        await kernel.interrupt_request(None, None, {**cell("request"), "content": {TICKET_KEY: ticket}})
    assert [content["withdrawn"] for content in kernel.sent] == [False, True]
    assert not kernel.should_handle(None, waiting, None)
    assert (kernel.aborted, kernel.interrupted) == (["waiting"], 0)


@pytest.mark.parametrize("asked", [5, True, {"a": 1}, "a", None, []])
@pytest.mark.anyio
async def test_a_request_that_names_no_cells_is_an_interrupt(asked: object) -> None:
    """It had no answer."""
    kernel = Kernel()
    await kernel.interrupt_request(None, None, {**cell("request"), "content": {TAKE_BACK: asked}})
    assert (kernel.interrupted, kernel.sent) == (1, [])
