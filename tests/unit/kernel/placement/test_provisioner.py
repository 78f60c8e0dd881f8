"""An order goes by jupyter_client's manager and our provisioner to its placement, whichever that is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.base import Command, HostPlacement, Order, StartedKernel
from rlm_kernel_mcp.kernel.placement.builder import effective_policy, use_sockets
from rlm_kernel_mcp.kernel.placement.choice import placement_of
from rlm_kernel_mcp.kernel.placement.contained import ContainerPlacement
from rlm_kernel_mcp.kernel.placement.forked import ForkedPlacement
from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec, spec_manager
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
from rlm_kernel_mcp.kernel.start import Begun, Launch
from rlm_kernel_mcp.settings import load_settings
from tests.fake_kernel import FakeKernel
from tests.sessions import WAIT_S

pytestmark = pytest.mark.anyio
POLICY = effective_policy(locked_kernelspec("rlm-python"), load_settings(Path.cwd(), {}).of_kernel())


class Elsewhere:
    """`base.HostPlacement` that has its kernels nowhere: what a new placement has to have, and no more."""

    starts_max = 1
    named_within_s = 0.0

    def __init__(self) -> None:
        self.asked: list[tuple[Order, Command]] = []
        self.kernel = FakeKernel()

    async def take(self) -> FakeKernel:
        return self.kernel

    async def start(self, order: Order, command: Command) -> StartedKernel:
        self.asked.append((order, command))
        return self.kernel

    async def loader(self, file_mb: int, cpu_s: int, value_mb: int = 0) -> None:
        """It has none."""

    def fallback(self, why: SandboxUnavailable) -> tuple[HostPlacement, dict[str, Any]]:
        raise why

    def stop(self) -> None:
        """Its starts wait for nothing."""

    def close(self) -> None:
        """It has nothing."""


def begun_at(placement: Elsewhere, directory: Path) -> Begun:
    """A start of ours, as `KernelStarter` begins one."""
    directories = KernelDir(directory / "k")
    directories.path.mkdir()
    directories.make()
    manager = Launch(
        kernel_name="rlm-python", kernel_spec_manager=spec_manager(), connection_file=str(directories.connection_file)
    )
    use_sockets(manager, directories)
    order = Order(placement, directories, POLICY, owned=True, taken=placement.kernel, time_zone="Asia/Tokyo")
    return Begun(manager, order, placement)


async def test_an_order_is_started_by_its_placement_with_the_one_builder_s_command(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directories have the kernel's files by then, and nothing of this process's environment goes along."""
    monkeypatch.setenv("SECRET", "of this process")
    monkeypatch.setenv("TZ", "of this process")
    placement = Elsewhere()
    started = await begun_at(placement, short_dir).launch()
    assert started is placement.kernel
    [(order, command)] = placement.asked
    assert order.directories.connection_file.exists()
    assert order.directories.policy_file.read_text(encoding="utf-8") == POLICY.model_dump_json()
    assert command.program[-2:] == ("-m", "rlm_kernel_mcp.in_kernel")
    assert command.arguments[-1] == "--owned"
    assert command.cwd == command.environment["HOME"] == str(order.directories.scratch)
    assert "of this process" not in command.environment.values()
    assert command.environment["TZ"] == "Asia/Tokyo"


async def test_a_start_that_is_given_up_leaves_nothing_wherever_its_kernel_is(short_dir: Path) -> None:
    """The process is ended, what was taken is given back, the directories are gone."""
    placement = Elsewhere()
    begun = begun_at(placement, short_dir)
    await begun.launch()
    await begun.undo(waited=False)
    assert placement.kernel.process.poll() == -9
    assert list(short_dir.iterdir()) == []


class Mute:
    """A client of a kernel that answers on shell, and on control when it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.control = asyncio.Event()

    async def open(self, connection: dict[str, Any]) -> None:
        """Connect to nothing."""

    async def request(self, *_asked: object, shell: bool = False) -> None:
        if not shell:
            self.asked.set()
            await self.control.wait()


async def test_a_kernel_is_ready_only_when_control_answers(short_dir: Path) -> None:
    """A session begins there: a spare that is mute on it would hold up a client, and nobody would have known."""
    begun, client = begun_at(Elsewhere(), short_dir), Mute()
    begun._client = client  # type: ignore[assignment]
    connecting = asyncio.ensure_future(begun.connect())
    async with asyncio.timeout(WAIT_S):
        await client.asked.wait()
        assert not connecting.done()
        client.control.set()
        await connecting


@pytest.mark.parametrize(("mode", "kind"), [("process", ForkedPlacement), ("container", ContainerPlacement)])
async def test_the_user_s_setting_chooses_where_kernels_are(mode: str, kind: type[object]) -> None:
    """And nothing is started by the choice; where a wall is missing on this machine there is no other place."""
    run_dir = RunDir.create()
    placement = placement_of(load_settings(Path.cwd(), {"RLM_SANDBOX_MODE": mode}), run_dir, POLICY)
    try:
        assert type(placement) is kind
        with pytest.raises(SandboxUnavailable, match="no such wall"):
            placement.fallback(SandboxUnavailable("There is no such wall."))
    finally:
        placement.close()
        run_dir.remove()
