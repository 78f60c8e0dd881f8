"""Any other Jupyter client that starts the installed kernelspec gets the same locked kernel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from rlm_kernel_mcp.kernel.kernelspec import install_kernelspec
from tests.processes import command_lines_below, left_over
from tests.sessions import WAIT_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where run folders are made; short, since sockets lie below it."""
    folder = tmp_path / "r"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder / "rlm"


@asynccontextmanager
async def started(prefix: Path) -> AsyncIterator[tuple[AsyncKernelManager, AsyncKernelClient]]:
    """The installed kernelspec, started as JupyterLab or nbclient would."""
    install_kernelspec(prefix)
    specs = KernelSpecManager(kernel_dirs=[str(prefix / "share" / "jupyter" / "kernels")], ensure_native_kernel=False)
    manager = AsyncKernelManager(kernel_name="rlm-python", kernel_spec_manager=specs)
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=WAIT_S)
        yield manager, client
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        client.context.destroy(linger=0)


def inside(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def run(client: AsyncKernelClient, code: str) -> tuple[dict[str, Any], str]:
    """A cell's reply and what it printed."""
    printed: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = await client.execute_interactive(code, timeout=WAIT_S, allow_stdin=False, output_hook=collect)
    return reply["content"], "".join(printed)


async def test_the_kernel_is_locked_and_does_honest_work(tmp_path: Path, runtime: Path) -> None:
    """The policy refuses by name, the walls hold without it, and the environment is scrubbed."""
    async with started(tmp_path) as (manager, client):
        assert manager.transport == "ipc"
        content, printed = await run(client, "import statistics\nprint(statistics.mean([1, 2, 3]), context == '')")
        assert (content["status"], printed) == ("ok", "2 True\n")
        content, _ = await run(client, "import os")
        assert content["ename"] == "ImportRefused"
        for refused in ("open('/etc/passwd')", "open('../outside', 'w')", "!ls"):
            assert (await run(client, refused))[0]["status"] == "error"
        for folder in (runtime, *inside(runtime)):
            assert folder.stat().st_mode & 0o777 == 0o700


async def test_it_can_be_interrupted_restarted_and_shut_down(tmp_path: Path, runtime: Path) -> None:
    """By the client that started it; nothing of it is left then, neither process nor folder."""
    before = command_lines_below(os.getpid())
    async with started(tmp_path) as (manager, client):
        await run(client, "kept = 1")
        endless = client.execute("print('begun', flush=True)\nwhile True: len('')")
        async with asyncio.timeout(WAIT_S):
            while (await client.get_iopub_msg())["msg_type"] != "stream":
                continue
            await manager.interrupt_kernel()
            while (reply := await client.get_shell_msg())["parent_header"]["msg_id"] != endless:
                continue
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert (await run(client, "kept"))[0]["status"] == "ok"
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=WAIT_S)
        assert (await run(client, "kept"))[0]["ename"] == "NameError"
        below = {child: line for child, line in command_lines_below(os.getpid()).items() if child not in before}
        assert below
        assert await manager.is_alive()
    assert left_over(below, WAIT_S) == []
    assert inside(runtime) == []


async def test_it_shuts_down_when_it_is_asked_to(tmp_path: Path, runtime: Path) -> None:
    """A session's kernel refuses a client's shutdown request; the kernel of another Jupyter client does not."""
    async with started(tmp_path) as (manager, _):
        await manager.shutdown_kernel()
        assert not await manager.is_alive()
    assert inside(runtime) == []


async def test_a_kernel_that_dies_is_noticed(tmp_path: Path, runtime: Path) -> None:
    """As with any other kernel: `is_alive` says so."""
    async with started(tmp_path) as (manager, _):
        (pid,) = [child.pid for child, line in command_lines_below(os.getpid()).items() if str(runtime) in line][-1:]
        os.kill(pid, 9)
        async with asyncio.timeout(WAIT_S):
            assert manager.provisioner is not None
            await manager.provisioner.wait()
        assert not await manager.is_alive()
