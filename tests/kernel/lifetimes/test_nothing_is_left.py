"""What fails on the way to a session is given back at once: run directory, sockets, lock, kernel, place."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest

from rlm_kernel_mcp.errors import InvalidInput, KernelStartFailed
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.store.store import Store
from tests.parts import ROOT
from tests.processes import left_over
from tests.rights import in_own_mounts
from tests.sessions import WAIT_S, SessionDriver, at_rest, open_registry, until
from tests.specs import write_spec

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("started_fork_servers")]


@pytest.fixture
def runtime(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where run directories lie in this test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_dir))
    return short_dir / "rlm"


def descriptors() -> set[str]:
    """What this process has open, by what it is."""
    found = set()
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:
            continue  # the listing's own
    return found


@asynccontextmanager
async def nothing_stays(runtime: Path) -> AsyncIterator[None]:
    """No run directory, no descriptor and no process more than before."""
    await at_rest()
    before, processes = descriptors(), set(psutil.Process().children(recursive=True))
    yield
    assert list(runtime.iterdir()) == []
    assert descriptors() - before == set()
    assert left_over(set(psutil.Process().children(recursive=True)) - processes, WAIT_S) == []


async def test_a_kernelspec_without_a_policy_leaves_no_run_folder(tmp_path: Path, runtime: Path) -> None:
    """The directory is made before the kernelspec is read."""
    async with nothing_stays(runtime):
        with pytest.raises(InvalidInput, match="not a kernelspec"):
            await Registry.open(load_settings(Path.cwd(), {"RLM_STATE_DIR": str(tmp_path), "RLM_KERNEL": "no-such"}))


async def test_a_defect_behind_the_store_closes_it_too(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is."""
    monkeypatch.setattr("rlm_kernel_mcp.session.registry.KernelSlots", lambda limit: 1 / 0)
    async with nothing_stays(runtime):
        with pytest.raises(ZeroDivisionError):
            await Registry.open(load_settings(Path.cwd(), {"RLM_STATE_DIR": str(tmp_path / "state")}))


async def test_a_start_that_is_cut_off_leaves_no_run_folder(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that makes it goes on, and finds that nobody waits."""
    made = asyncio.Event()
    loop, create, settings = (
        asyncio.get_running_loop(),
        RunDir.create,
        load_settings(Path.cwd(), {"RLM_STATE_DIR": str(tmp_path)}),
    )

    def slowly(**_: object) -> RunDir:
        run_dir = create()
        loop.call_soon_threadsafe(made.set)
        loop.call_soon_threadsafe(opening.cancel)
        return run_dir

    monkeypatch.setattr(RunDir, "create", slowly)
    opening = asyncio.create_task(Registry.open(settings))
    async with asyncio.timeout(WAIT_S):
        await made.wait()
        with pytest.raises(asyncio.CancelledError):
            await opening
    await until(lambda: list(runtime.iterdir()) == [])


@pytest.mark.parametrize(
    "what",
    ["sys.exit(5)", pytest.param("import time; time.sleep(3_600)", marks=pytest.mark.slow)],
    ids=["dies", "hangs"],
)
async def test_a_kernel_that_never_is_ready_leaves_nothing(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Neither its directory nor its place: the next one can be tried."""
    write_spec(tmp_path, "bad", {"pool": {"spare_kernels": 0}, "start_timeout_ms": 1_000})
    spec = tmp_path / "kernels" / "bad" / "kernel.json"
    kernel = json.loads(spec.read_text(encoding="utf-8"))
    kernel["argv"] = [sys.executable, "-c", f"import sys; {what}", *kernel["argv"][4:]]
    spec.write_text(json.dumps(kernel), encoding="utf-8")
    monkeypatch.setattr("rlm_kernel_mcp.kernel.placement.forked.ForkServer.start", no_fork_server)
    state = tmp_path / "state"
    async with open_registry(state, RLM_KERNEL="bad", RLM_MAX_SESSIONS="1", JUPYTER_PATH=str(tmp_path)) as registry:
        [directory] = runtime.iterdir()
        await at_rest()
        before, processes = (sorted(directory.iterdir()), descriptors()), set(psutil.Process().children(recursive=True))
        for _ in range(2):
            with pytest.raises(KernelStartFailed):
                await SessionDriver.open(registry)
        (directory / "policy.json").unlink()
        assert (sorted(directory.iterdir()), descriptors()) == before
        assert left_over(set(psutil.Process().children(recursive=True)) - processes, WAIT_S) == []


@pytest.fixture
async def opened(tmp_path: Path, runtime: Path) -> AsyncIterator[Registry]:
    """A registry without spare kernels, in a run directory of the test's own."""
    async with open_registry(tmp_path / "state", policy={"pool": {"spare_kernels": 0}}, RLM_MAX_SESSIONS="1") as found:
        yield found


@pytest.mark.slow
async def test_a_process_without_descriptors_starts_no_kernel_and_then_one(opened: Registry, runtime: Path) -> None:
    """A clear error, no directory left, and the session is had when there are some again."""
    await (await SessionDriver.open(opened)).finalize(text="warm")
    [directory] = runtime.iterdir()
    before = sorted(directory.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for room in range(8):
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, limits[1]))
        try:
            with pytest.raises(KernelStartFailed, match="Too many open files"):
                await SessionDriver.open(opened)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert sorted(directory.iterdir()) == before
    assert (await (await SessionDriver.open(opened)).ok("1 + 1")).result == "2"


@pytest.mark.parametrize("where", [pytest.param("add_session", marks=pytest.mark.slow), "put_context"])
async def test_a_session_that_cannot_be_written_down_leaves_no_kernel(
    opened: Registry, runtime: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A defect after the kernel has the context: kernel, lock and place are free for the next."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Store, where, fail)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await SessionDriver.open(opened)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime.parent))
    [directory] = runtime.iterdir()
    assert [path for path in directory.iterdir() if path.is_dir()] == []
    assert list((opened.settings.state_dir / "locks").iterdir()) == []
    assert not any(row.status == "idle" for row in (await opened.list_sessions()).rows)
    assert (await (await SessionDriver.open(opened)).ok("1 + 1")).result == "2"


FULL: Final = """
import asyncio, os, sys
from pathlib import Path
directory = Path(sys.argv[1])
os.system(f"mount -t tmpfs -o size=64k,nr_inodes=12 none {directory}")
os.environ["XDG_RUNTIME_DIR"] = str(directory)
from rlm_kernel_mcp.errors import RlmError
from tests.sessions import SessionDriver, open_registry

async def main():
    async with open_registry(Path(sys.argv[2])) as registry:
        try:
            await SessionDriver.open(registry)
        except RlmError as error:
            print(error.code, error.message, error.next_step)
        if registry._pool._filling is not None:  # the spare kernel's start fails too
            await asyncio.wait({registry._pool._filling})
        [run] = (directory / "rlm").iterdir()
        print([path.name for path in run.iterdir() if path.is_dir()])
        os.system(f"mount -o remount,size=64m,nr_inodes=4k {directory}")
        print((await (await SessionDriver.open(registry)).ok("1 + 1")).result)
    print(list((directory / "rlm").iterdir()))

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_full_run_folder_is_told_and_leaves_nothing_half_made(tmp_path: Path, short_dir: Path) -> None:
    """A tmpfs too small for a kernel's files; the session is had once there is room."""
    command = [*in_own_mounts(), sys.executable, "-c", FULL, str(short_dir), str(tmp_path / "state")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.stdout, done.stderr[-2_000:]
    told, *rest = done.stdout.splitlines()
    assert told.startswith("KERNEL_START_FAILED "), done.stderr[-2_000:]
    assert "No space left on device" in told
    assert rest == ["[]", "2", "[]"]


async def no_fork_server(*_: object) -> None:
    raise KernelStartFailed("There is none in this test.")
