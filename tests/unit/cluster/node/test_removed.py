"""A session that could not be opened is removed from the shared store; another's of the same name is not."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rlm_kernel_mcp.cluster.node.kept import removed
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.protocol import Claim


def test_a_session_of_another_node_is_not_removed(tmp_path: Path) -> None:
    async def play() -> None:
        store = open_store(str(tmp_path / "store"), within_s=60)
        await store.claim("s_theirs", 1, "theirs")
        await store.claim("s_ours", 1, "ours")
        for session_id in ("s_theirs", "s_ours", "s_nobodys"):
            await removed(store, Claim(session_id, 1, "ours"))
        assert await store.sessions() == [Claim("s_theirs", 1, "theirs")]
        await store.close()

    asyncio.run(play())
