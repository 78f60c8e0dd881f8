"""The limit of one channel's messages is raised for a request that needs it, and put back by that request's end."""

from __future__ import annotations

import asyncio

import pytest

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.client import MESSAGE_BYTES_MAX, KernelClient

pytestmark = pytest.mark.anyio

LARGE = 24 << 20


async def begin(client: KernelClient, reply_bytes_max: int = MESSAGE_BYTES_MAX) -> asyncio.Task[object]:
    asking = asyncio.create_task(client.request("get_var", {}, reply_bytes_max=reply_bytes_max))
    await asyncio.sleep(0)
    return asking


async def test_a_request_that_is_cut_off_puts_its_limit_back_while_others_go_on() -> None:
    """Whichever ends first."""
    client = KernelClient(b"key")
    reader = client._control.reader
    small, large, larger = await begin(client), await begin(client, LARGE), await begin(client, 2 * LARGE)
    assert reader.message_bytes_max == 2 * LARGE
    for ends, left in ((larger, LARGE), (large, MESSAGE_BYTES_MAX)):
        ends.cancel()
        await asyncio.wait({ends})
        assert reader.message_bytes_max == left
    assert client._shell.reader.message_bytes_max == MESSAGE_BYTES_MAX
    assert not small.done()
    client.close()
    await asyncio.wait({small})
    assert isinstance(small.exception(), KernelDied)
