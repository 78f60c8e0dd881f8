"""JupyterLab's own server starts the locked kernel as it starts any other, and its page finds what it looks for."""

from __future__ import annotations

import asyncio

import pytest

from tests.lab.home import LOCKED, STOCK, Home
from tests.lab.lab_server import LabKernel, lab_server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def texts(said: list[dict[str, object]]) -> str:
    """What a cell printed."""
    return "".join(str(one["content"]["text"]) for one in said if one["header"]["msg_type"] == "stream")  # type: ignore[index]


async def works(kernel: LabKernel) -> None:
    """What the page does with a kernel between its start and its end."""
    said, reply = await kernel.execute("kept = 41\nprint('hello')\nkept + 1")
    assert reply["status"] == "ok"
    assert texts(said) == "hello\n"
    (result,) = (one["content"] for one in said if one["header"]["msg_type"] == "execute_result")
    assert result["data"]["text/plain"] == "42"
    completed = await kernel.ask("complete_request", code="kep", cursor_pos=3)
    assert "kept" in completed["matches"]
    inspected = await kernel.ask("inspect_request", code="kept", cursor_pos=2, detail_level=0)
    assert inspected["found"]
    assert "int" in inspected["data"]["text/plain"]
    said, reply = await kernel.execute("1/0")
    assert (reply["status"], reply["ename"]) == ("error", "ZeroDivisionError")
    assert [one["header"]["msg_type"] for one in said].count("error") == 1
    said, reply = await kernel.execute("answer = input('Your name? ')\nanswer")
    assert reply["status"] == "ok"
    (result,) = (one["content"] for one in said if one["header"]["msg_type"] == "execute_result")
    assert result["data"]["text/plain"] == "'typed'"


async def is_interrupted(kernel: LabKernel) -> None:
    """By the page's button; the kernel keeps what it had."""
    endless = await kernel.send("execute_request", {"code": "print('begun', flush=True)\nwhile True: len('')"})
    async for message in kernel.messages_of(endless):
        if message["header"]["msg_type"] == "stream":
            break
    await kernel.server.ask("POST", f"kernels/{kernel.kernel_id}/interrupt")
    _, reply = await kernel.whole(endless)
    assert reply["ename"] == "KeyboardInterrupt"
    _, reply = await kernel.execute("kept")
    assert reply["status"] == "ok"


async def is_restarted(kernel: LabKernel) -> None:
    """By the page's button, twice, on the same WebSocket: what was bound is gone."""
    for _ in range(2):
        await kernel.server.ask("POST", f"kernels/{kernel.kernel_id}/restart")
        kernel.close()
        await kernel.connect()
        _, reply = await kernel.execute("kept")
        assert reply["ename"] == "NameError"
        _, reply = await kernel.execute("kept = 1")
        assert reply["status"] == "ok"


async def test_a_kernel_is_started_used_interrupted_restarted_and_shut_down(any_home: Home) -> None:
    """In a fresh home, as the test's own user and as another; the stock kernel is the control."""
    async with lab_server(any_home) as server:
        assert LOCKED in (await server.ask("GET", "kernelspecs"))["kernelspecs"]
        for name in (LOCKED, STOCK):
            async with server.kernel(name) as kernel:
                await works(kernel)
                await is_interrupted(kernel)
                await is_restarted(kernel)
        async with server.kernel(LOCKED) as kernel:
            _, reply = await kernel.execute("open('/etc/passwd')")
            assert reply["status"] == "error"
            _, reply = await kernel.execute("import os")
            assert reply["ename"] == "ImportRefused"


async def test_kernels_side_by_side_know_nothing_of_each_other(home: Home) -> None:
    """Two started at once."""
    async with lab_server(home) as server, server.kernel(LOCKED) as one, server.kernel(LOCKED) as other:
        first, second = await asyncio.gather(one.execute("mine = 1"), other.execute("mine"))
        assert first[1]["status"] == "ok"
        assert second[1]["ename"] == "NameError"
