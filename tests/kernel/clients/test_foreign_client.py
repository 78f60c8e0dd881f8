"""Any other Jupyter client that starts the installed kernelspec gets the same locked kernel."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from rlm_kernel_mcp.errors import KernelStartFailed, RlmError
from rlm_kernel_mcp.kernel.placement.kernelspec import install_kernelspec
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import load_settings
from tests.processes import command_lines_below, left_over
from tests.sessions import WAIT_S, SessionDriver, at_rest
from tests.specs import write_spec

pytestmark = pytest.mark.anyio


@pytest.fixture
def runtime(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where run directories are made."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_dir))
    return short_dir / "rlm"


@asynccontextmanager
async def started(
    prefix: Path, start: dict[str, Any] | None = None, **traits: Any
) -> AsyncIterator[tuple[AsyncKernelManager, AsyncKernelClient]]:
    """The installed kernelspec, started as JupyterLab or nbclient would; `start`: what the client gives with it."""
    install_kernelspec(prefix)
    specs = KernelSpecManager(kernel_dirs=[str(prefix / "share" / "jupyter" / "kernels")], ensure_native_kernel=False)
    manager = AsyncKernelManager(kernel_name="rlm-python", kernel_spec_manager=specs, **traits)
    async with managed(manager, start or {}) as client:
        yield manager, client


@asynccontextmanager
async def managed(manager: AsyncKernelManager, start: dict[str, Any]) -> AsyncIterator[AsyncKernelClient]:
    """A client of the manager's kernel, which lives meanwhile."""
    await manager.start_kernel(**start)
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=WAIT_S)
        yield client
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        client.context.destroy(linger=0)


def inside(directory: Path) -> list[Path]:
    return list(directory.iterdir())


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
        for directory in (runtime, *inside(runtime)):
            assert directory.stat().st_mode & 0o777 == 0o700


async def test_it_can_be_interrupted_restarted_and_shut_down(tmp_path: Path, runtime: Path) -> None:
    """By the client that started it; nothing of it is left then, neither process nor directory."""
    await at_rest()
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


async def test_a_cell_that_is_sent_once_the_error_before_is_heard_runs(tmp_path: Path, runtime: Path) -> None:
    """However soon: only what waited behind the error is aborted."""
    async with started(tmp_path) as (_, client):
        for number in range(40):
            assert (await run(client, "1 / 0"))[0]["status"] == "error"
            content, printed = await run(client, f"print({number})")
            assert (content["status"], printed) == ("ok", f"{number}\n")


@pytest.mark.slow
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


def runtime_directory(directory: Path) -> Path:
    """As Jupyter's own: this user's alone."""
    (directory / "runtime").mkdir(mode=0o700)
    return directory / "runtime" / "kernel-1.json"


def temporary_directory(directory: Path) -> Path:
    """As jupyter_client makes one for a client that names none: beside everybody's files."""
    (directory / "tmp").mkdir()
    (directory / "tmp").chmod(0o1777)
    return directory / "tmp" / "tmpx.json"


def long_path(directory: Path) -> Path:
    """Longer than a socket's path may be."""
    deep = directory / ("d" * (199 - len(os.fsencode(directory)) - len("/k.json")))
    deep.mkdir()
    assert len(os.fsencode(deep / "k.json")) == 200
    return deep / "k.json"


def directory_of_others(directory: Path) -> Path:
    """Where everybody may write and remove."""
    (directory / "shared").mkdir()
    (directory / "shared").chmod(0o777)
    return directory / "shared" / "kernel.json"


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(runtime_directory, marks=pytest.mark.slow),
        pytest.param(temporary_directory, marks=pytest.mark.slow),
        pytest.param(long_path, marks=pytest.mark.slow),
        pytest.param(directory_of_others, marks=pytest.mark.slow),
    ],
)
async def test_it_starts_wherever_the_connection_file_lies_and_sees_nothing_of_that_folder(
    tmp_path: Path, runtime: Path, place: Callable[[Path], Path]
) -> None:
    """Not even that it is there; a restart keeps the file, and the end removes it."""
    connection_file = place(tmp_path)
    (connection_file.parent / "stranger").write_text("a stranger's secret", encoding="utf-8")
    look = (
        f"import os\n[os.path.exists(p) for p in ({str(connection_file)!r}, {str(connection_file.parent)!r}, scratch)]"
    )
    write = "import pathlib\npathlib.Path(scratch, 'kept').write_text('x' * 70_000)"
    any_import = {"env": {**os.environ, "RLM_IMPORT_POLICY": "any"}}
    async with started(tmp_path, any_import, connection_file=str(connection_file)) as (manager, client):
        told = json.loads(connection_file.read_text(encoding="utf-8"))
        for _ in range(2):
            assert told["transport"] == manager.transport == "ipc"
            assert Path(told["ip"]).is_relative_to(runtime)
            seen = await client.execute_interactive(f"{look} == [False, False, True] or 1/0", timeout=WAIT_S)
            assert seen["content"]["status"] == "ok", seen["content"]
            assert (await run(client, write))[0]["status"] == "ok"
            await manager.restart_kernel()
            await client.wait_for_ready(timeout=WAIT_S)
            assert json.loads(connection_file.read_text(encoding="utf-8")) == told
    assert inside(runtime) == []
    assert inside(connection_file.parent) == [connection_file.parent / "stranger"]


async def test_it_reads_the_settings_of_the_client_s_environment(tmp_path: Path, runtime: Path) -> None:
    """The ones that concern a kernel, as the server does; what is wrong is said, and nothing is left."""
    asked = {**os.environ, "RLM_IMPORTS": "sched", "RLM_MEMORY_LIMIT_MB": "128", "RLM_CONTEXT_ROOTS": "/no/such"}
    async with started(tmp_path, {"env": asked}) as (_, client):
        assert (await run(client, "import sched"))[0]["status"] == "ok"
        assert (await run(client, "import os"))[0]["ename"] == "ImportRefused"
        assert (await run(client, "held = bytearray(200 << 20)"))[0]["ename"] == "MemoryError"
    for wrong, said in [
        ({"RLM_MEMORY_LIMIT_MB": "much"}, "RLM_MEMORY_LIMIT_MB='much'"),
        ({"RLM_SANDBOX_MODE": "container"}, "RLM_SANDBOX_FALLBACK=process"),
    ]:
        with pytest.raises(RlmError, match=said):
            async with started(tmp_path, {"env": {**os.environ, **wrong}}):
                pass
    assert inside(runtime) == [] if runtime.exists() else True


MANAGER: Final = """
import atexit, os, signal, sys, threading
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
specs = KernelSpecManager(kernel_dirs=[sys.argv[1]], ensure_native_kernel=False)
km = KernelManager(kernel_name="rlm-python", kernel_spec_manager=specs)
"""


def client_argv(prefix: Path, code: str) -> list[str]:
    """A program that is another Jupyter client: `km` is its kernel's manager."""
    install_kernelspec(prefix)
    return [sys.executable, "-c", MANAGER + code, str(prefix / "share" / "jupyter" / "kernels")]


SHUT_DOWN: Final = "atexit.register(lambda: km.shutdown_kernel(now=True))"
START: Final = "km.start_kernel()"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((SHUT_DOWN, START), id="registered_before", marks=pytest.mark.slow),
        pytest.param((START, SHUT_DOWN), id="registered_after"),
        pytest.param((START,), id="never", marks=pytest.mark.slow),
    ],
)
def test_a_program_that_ends_with_its_kernel_ends_without_a_word(
    tmp_path: Path, runtime: Path, lines: tuple[str, ...]
) -> None:
    """It shuts it down at exit, registered before or after the start, or it does not care."""
    argv = client_argv(tmp_path, "\n".join([*lines, "print('started')"]))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "")
    assert inside(runtime) == []


def test_a_killed_client_leaves_nothing(tmp_path: Path, runtime: Path) -> None:
    """Neither kernel nor monitor nor directory; only its connection file, which was its own to remove."""
    code = f"{START}\nprint(km.connection_file, flush=True)\nsys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(client_argv(tmp_path, code), **pipes) as client:  # type: ignore[call-overload]
        connection_file = Path(client.stdout.readline().decode().strip())
        below = command_lines_below(client.pid)
        assert any("rlm_kernel_mcp.in_kernel" in line for line in below.values())
        assert inside(runtime)
        client.kill()
    assert left_over(below, WAIT_S) == []
    assert inside(runtime) == []
    connection_file.unlink()


IN_THREADS: Final = """
def in_a_thread(act):
    found = []
    thread = threading.Thread(target=lambda: found.append(act()))
    thread.start()
    thread.join()
    return found

in_a_thread(km.start_kernel)
kc = km.client()
kc.start_channels()
kc.wait_for_ready(timeout=60)
print(in_a_thread(km.is_alive), kc.execute_interactive("kept = 1", timeout=60)["content"]["status"])
in_a_thread(lambda: km.restart_kernel(now=True))
kc.wait_for_ready(timeout=60)
print(kc.execute_interactive("kept", timeout=60)["content"]["ename"])
kc.stop_channels()
os.kill(km.provisioner.pid, signal.SIGKILL)
print(km.provisioner.process.wait(60), km.is_alive(), in_a_thread(km.is_alive))
in_a_thread(km.shutdown_kernel)
print(km.has_kernel)
"""


@pytest.mark.slow
def test_a_client_may_start_use_and_end_its_kernel_in_threads_that_end(tmp_path: Path, runtime: Path) -> None:
    """A parent-death signal comes when a thread ends, an event loop is a thread's: neither is the kernel's end."""
    done = subprocess.run(
        client_argv(tmp_path, IN_THREADS), capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.stdout.splitlines() == ["[True] ok", "NameError", "-9 False [False]", "False"], done.stderr
    assert inside(runtime) == []


INHERITED: Final = f"""
{START}
kc = km.client()
kc.start_channels()
kc.wait_for_ready(timeout=60)
code = "import signal, os; print(signal.getsignal(signal.SIGHUP) == 0, len(os.environ) < 20, os.umask(0o77) == 0o77)"
kc.execute_interactive(code, timeout=60)
endless = kc.execute("print('on', flush=True)\\nwhile True: len('')")
while kc.get_iopub_msg(timeout=60)["content"].get("text") != "on\\n":  # an interrupt is for code that runs
    pass
km.interrupt_kernel()
print(kc.get_shell_msg(timeout=60)["content"]["ename"], flush=True)
kc.stop_channels()
km.shutdown_kernel(now=True)
"""


@pytest.mark.slow
def test_what_a_client_inherited_changes_nothing(tmp_path: Path, runtime: Path) -> None:
    """Ignored and blocked signals, an open umask, no standard input, a full environment."""
    argv = client_argv(tmp_path, INHERITED)
    shell = "trap '' HUP INT QUIT TERM USR1 USR2 CHLD; umask 0; exec \"$@\" <&-"
    full = {f"VARIABLE_{number}": "x" * 1_000 for number in range(500)}
    environment = {**os.environ, **full, "RLM_IMPORT_POLICY": "any"}
    done = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", *argv],
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.stdout.splitlines() == ["True True True", "KeyboardInterrupt"], done.stderr
    assert inside(runtime) == []


async def test_a_start_that_fails_leaves_nothing(tmp_path: Path, runtime: Path) -> None:
    """Many a client calls no clean-up then: no directory, no process, no descriptor; the reason is the error's."""
    install_kernelspec(tmp_path)
    spec = tmp_path / "share" / "jupyter" / "kernels" / "rlm-python" / "kernel.json"
    told = json.loads(spec.read_text(encoding="utf-8"))
    told["argv"] = [sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(5)"]
    spec.write_text(json.dumps(told), encoding="utf-8")
    specs = KernelSpecManager(kernel_dirs=[str(spec.parent.parent)], ensure_native_kernel=False)
    await at_rest()
    before = set(command_lines_below(os.getpid()))
    for _ in range(3):
        open_before = len(list(Path("/proc/self/fd").iterdir()))
        manager = AsyncKernelManager(kernel_name="rlm-python", kernel_spec_manager=specs)
        with pytest.raises(KernelStartFailed, match="ended with exit status 5 before it was ready: no such thing"):
            await manager.start_kernel()
        assert inside(runtime) == []
        assert left_over(set(command_lines_below(os.getpid())) - before, WAIT_S) == []
        assert len(list(Path("/proc/self/fd").iterdir())) == open_before


async def test_a_client_s_arguments_are_left_out_and_it_is_told(
    tmp_path: Path, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """None of them may name other directories, or make it a session's kernel."""
    given = ["--owned", "--scratch=/", "--sockets", "/tmp", "--IPKernelApp.quiet=False"]
    async with started(tmp_path, {"extra_arguments": given}) as (_, client):
        content, printed = await run(client, "print(scratch)")
        assert (content["status"], Path(printed.strip()).is_relative_to(runtime)) == ("ok", True)
    assert "--owned --scratch=/ --sockets /tmp --IPKernelApp.quiet=False" in caplog.text


@pytest.mark.slow
async def test_a_kernelspec_s_policy_and_the_settings_mean_the_same_in_both_worlds(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the policy has holds where no setting says otherwise; a doubtful setting is said in both."""
    write_spec(tmp_path, "own", {"imports": {"mode": "any"}, "limits": {"memory_mb": 128}})
    taking = "held = None\nheld = bytearray(200 << 20)"
    for variables, ends in [({}, "MemoryError"), ({"RLM_MEMORY_LIMIT_MB": "512", "RLM_IMPORT": "sched"}, "")]:
        settings = load_settings(
            tmp_path,
            {"RLM_KERNEL": "own", "JUPYTER_PATH": str(tmp_path), "RLM_STATE_DIR": str(tmp_path / "state"), **variables},
        )
        async with asyncio.timeout(WAIT_S):
            registry = await Registry.open(settings)
        try:
            driver = await SessionDriver.open(registry)
            assert (await driver.ok("import os; os.sep")).result == "'/'"
            step = await driver.run(taking)
            assert (step.error.ename if step.error else "") == ends
        finally:
            await registry.close()
        specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "kernels")], ensure_native_kernel=False)
        manager = AsyncKernelManager(kernel_name="own", kernel_spec_manager=specs)
        async with managed(manager, {"env": {**os.environ, **variables}}) as client:
            assert (await run(client, "import os; os.sep"))[0]["status"] == "ok"
            assert (await run(client, taking))[0].get("ename", "") == ends
    assert "RLM_IMPORT is set, but there is no such setting; did you mean RLM_IMPORTS?" in caplog.text


async def test_the_exploring_functions_look_in_the_text_that_a_person_binds(tmp_path: Path, runtime: Path) -> None:
    """No context was loaded into such a kernel: they say what to do, and it does."""
    del runtime
    async with started(tmp_path) as (_, client):
        reply, _ = await run(client, "search('x')")
        assert reply["ename"] == "NoText"
        assert "bind a str to `context`" in reply["evalue"]
        _, printed = await run(
            client, "context = 'a\\nx y'; print(search('x')[0].line, look().lines, rank('y')[0].text)"
        )
        assert printed == "2 2 a\nx y\n"
