"""Which clients of one process share kernels and a record: those whose settings say so, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed, SessionBusy
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.callers.profiles import Profiles
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import Settings, load_settings
from tests.fake_kernel import FOREVER, fakes_of
from tests.sessions import AMPLE, WAIT_S, SessionDriver

pytestmark = pytest.mark.anyio


async def open_fake(settings: Settings, slots: KernelSlots) -> Registry:
    await asyncio.sleep(0)  # others may ask meanwhile
    return fakes_of(settings, slots).registry


@pytest.fixture
async def profiles() -> AsyncIterator[Profiles[Registry]]:
    """Those of a process, with eight slots over all."""
    made = Profiles(open_fake, max_sessions_in_sum=8)
    yield made
    async with asyncio.timeout(WAIT_S):
        await made.close()


def client(directory: Path, name: str = "a client", working_dir: str = "/", **variables: str) -> Caller:
    return Caller.of(name, load_settings(working_dir, {"RLM_STATE_DIR": str(directory / "s"), **variables}))


async def opened(profiles: Profiles[Registry], by: Caller) -> SessionDriver:
    registry = await profiles.registry(by.settings)
    report = await registry.init_context(context_text="text", context_paths=None, limits=AMPLE, caller=by)
    return SessionDriver(registry, report.session_id)


def parts(registry: Registry) -> tuple[object, ...]:
    return registry._pool, registry._starter, registry._run_dir, registry.store, registry._shared.loaders


@pytest.mark.parametrize(
    "variables",
    [
        {"RLM_IMPORT_POLICY": "any"},
        {"RLM_IMPORT_POLICY": "allowlist"},
        {"RLM_IMPORTS": "sched"},
        {"RLM_MEMORY_LIMIT_MB": "512"},
        {"RLM_MEMORY_LIMIT_MB": "1024"},
        {"RLM_SANDBOX_FALLBACK": "process"},
        {"RLM_SPOOL_GB": "3"},
        {"RLM_IDLE_TIMEOUT_S": "7"},
        {"TZ": "Asia/Tokyo"},
        {"JUPYTER_PATH": "/specs"},
        {"RLM_STATE_DIR": "/nonexistent/rlm"},
    ],
    ids=lambda variables: "-".join(f"{name}={value}".replace("/", "") for name, value in variables.items()),
)
async def test_clients_whose_settings_make_other_kernels_or_records_share_no_part(
    profiles: Profiles[Registry], tmp_path: Path, variables: dict[str, str]
) -> None:
    """Neither starter nor pool, with its fork server and spare kernel, nor record, nor spool."""
    variables = {name: value.replace("/nonexistent", str(tmp_path)) for name, value in variables.items()}
    plain = await profiles.registry(client(tmp_path).settings)
    other = await profiles.registry(client(tmp_path, **variables).settings)
    assert plain is not other
    assert not set(map(id, parts(plain))) & set(map(id, parts(other)))


async def test_clients_that_differ_in_what_is_their_own_share_all_of_it(
    profiles: Profiles[Registry], tmp_path: Path
) -> None:
    """Roots, working directory and limit of sessions come with each call; it is made once, whoever asks meanwhile."""
    (tmp_path / "link").symlink_to("s")
    same: list[dict[str, Any]] = [
        {},
        {"working_dir": str(tmp_path)},
        {"RLM_CONTEXT_ROOTS": str(tmp_path)},
        {"RLM_MAX_SESSIONS": "3"},
        {"RLM_STATE_DIR": str(tmp_path / "link")},
    ]
    found = await asyncio.gather(*(profiles.registry(client(tmp_path, **one).settings) for one in same))
    assert len(set(map(id, found))) == 1
    first = await profiles.registry(client(tmp_path, RLM_IMPORTS="sched,json").settings)
    assert first is await profiles.registry(client(tmp_path, RLM_IMPORTS="json, sched,json").settings)


async def test_a_handle_leads_to_the_kernels_that_its_session_has(profiles: Profiles[Registry], tmp_path: Path) -> None:
    """Whatever policy its holder has; in another state directory there is no such session."""
    owner, guest = client(tmp_path, "owner"), client(tmp_path, "guest", RLM_IMPORT_POLICY="any")
    session = await opened(profiles, owner)
    assert await profiles.of_session(guest.settings, session.session_id) is session.registry
    assert await profiles.of_session(guest.settings, "s_22222222") is await profiles.registry(guest.settings)
    stranger = client(tmp_path, "stranger", RLM_STATE_DIR=str(tmp_path / "elsewhere"))
    found = await profiles.of_session(stranger.settings, session.session_id)
    assert found is await profiles.registry(stranger.settings)
    await session.finalize(text="done")
    assert await profiles.of_session(guest.settings, session.session_id) is await profiles.registry(guest.settings)


async def test_the_slots_of_all_registries_are_counted_together(profiles: Profiles[Registry], tmp_path: Path) -> None:
    """And of each client alone: one with 32 of its own gets six of eight, the others the rest."""
    greedy, late = client(tmp_path, "greedy"), client(tmp_path, "late", RLM_IMPORT_POLICY="any")
    sessions = []

    async def take(by: Caller) -> None:
        sessions.append(await opened(profiles, by))
        await sessions[-1].begin(FOREVER)

    for _ in range(6):
        await take(greedy)
    with pytest.raises(SessionBusy, match="All 6 sessions that may have a kernel are running a step"):
        await take(greedy)
    for _ in range(2):
        await take(late)
    with pytest.raises(SessionBusy, match="All 8 sessions that may have a kernel, of all clients together"):
        await take(late)
    for session in sessions:
        await session.registry.interrupt(session.session_id)


async def test_an_opening_that_failed_is_tried_again(tmp_path: Path) -> None:
    """By the next call; and one that is under way at the end is given up."""
    tries: list[Settings] = []
    going_on = asyncio.Event()

    async def fail_first(settings: Settings, slots: KernelSlots) -> Registry:
        tries.append(settings)
        if len(tries) == 1:
            raise KernelStartFailed("The first one fails.")
        if len(tries) == 2:
            return await open_fake(settings, slots)
        going_on.set()
        await asyncio.Event().wait()
        raise AssertionError

    profiles, settings = Profiles(fail_first), client(tmp_path).settings
    with pytest.raises(KernelStartFailed):
        await profiles.registry(settings)
    registry = await profiles.registry(settings)
    other = asyncio.create_task(profiles.registry(client(tmp_path, RLM_IMPORTS="sched").settings))
    async with asyncio.timeout(WAIT_S):
        await going_on.wait()
        await profiles.close()
        await profiles.close()
        await asyncio.wait({other})
    assert other.cancelled()
    assert registry._closed
