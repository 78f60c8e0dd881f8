"""A kernel that turns on what it holds itself: its descriptors, its sockets, its connection file, its own process."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.escape.canaries import PROGRAM
from tests.escape.kernels.kernel_server import CHANNELS, KernelServer
from tests.mcp.line_client import SERVE

MARK: Final = "MARK-OF-THE-KERNEL"
RUINS: Final = {
    "garbage to every descriptor": f"""
for fd in range(300):
    try: os.write(fd, b'{MARK}' * 10_000)
    except OSError: pass
""",
    "JSON lines to every descriptor": """
line = b'{"jsonrpc":"2.0","id":1,"result":{"MARK-OF-THE-KERNEL":1}}\\n'
for fd in range(300):
    try: os.write(fd, line)
    except OSError: pass
""",
    "every descriptor closed": "for fd in range(300):\n    try: os.close(fd)\n    except OSError: pass",
    "every descriptor the null device": """
null = os.open('/dev/null', os.O_RDWR)
for fd in range(300):
    if fd != null:
        try: os.dup2(null, fd)
        except OSError: pass
""",
    "sockets in each other's place": """
import stat
def is_socket(fd):
    try: return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError: return False
sockets = [fd for fd in range(300) if is_socket(fd)]
saved = [os.dup(fd) for fd in sockets]
for fd, other in zip(sockets, saved[1:] + saved[:1]): os.dup2(other, fd)
""",
    "nothing is read any more": "kernel.shell_stream.close(); kernel.control_stream.close()",
    "the loop stopped": "import atexit\natexit.register(print, 1)\nkernel.io_loop.stop()",
    "SIGKILL to itself": "os.kill(os.getpid(), 9)",
    "SIGSTOP to itself": "import signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "SIGSTOP to its thread": "import signal\nsignal.pthread_kill(threading.main_thread().ident, signal.SIGSTOP)",
    "SIGSTOP to its group": "import signal\nos.kill(0, signal.SIGSTOP)",
    "SIGKILL to its group": "os.killpg(os.getpgid(0), 9)",
    "an abort": "os.abort()",
}


WITHOUT_NAMESPACES: Final = (sys.executable, "-I", str(PROGRAM / "serve_without_namespaces.py"), "serve")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SERVE, id="all walls"),
        pytest.param(WITHOUT_NAMESPACES, id="without namespaces", marks=pytest.mark.slow),
    ],
)
def kernel_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelServer]:
    """Also where a kernel has the machine's process numbers and directories before its eyes."""
    made = KernelServer(tmp_path_factory.mktemp("own"), "any", argv=request.param)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("ruin", RUINS.values(), ids=RUINS)
def test_a_kernel_that_ruins_itself_ruins_nothing_else(kernel_server: KernelServer, ruin: str) -> None:
    """Whatever is left of it, the session has a kernel that works with the next steps, and its context."""
    session = kernel_server.open()
    with kernel_server.bounded_memory():
        kernel_server.run(session, CHANNELS + ruin, timeout_ms=300)
        kernel_server.check_neighbour()
        kernel_server.run(session, "1", timeout_ms=300)
        data = kernel_server.client.run(session, "context")
    assert (data["status"], data["result"]) == ("ok", "'some text'")
    kernel_server.give_up(session)


def test_no_byte_of_a_kernel_stands_on_stdout_outside_a_result(kernel_server: KernelServer) -> None:
    """What it wrote to its descriptors came nowhere; what it printed came in the answer to its step alone."""
    session = kernel_server.open()
    lines: list[bytes] = []
    heard, kernel_server.client.on_line = kernel_server.client.on_line, lines.append
    try:
        kernel_server.run(session, CHANNELS + RUINS["garbage to every descriptor"], timeout_ms=300)
        request = kernel_server.begin(session, f"print('{MARK}')")
        kernel_server.client.result(request)
        kernel_server.check_neighbour()
    finally:
        kernel_server.client.on_line = heard
    for line in lines:
        heard(line)
    assert [json.loads(line)["id"] for line in lines if MARK.encode() in line] == [request]
    assert MARK not in kernel_server.client.log.read_text(encoding="utf-8")
    kernel_server.give_up(session)


SIGNALLED: Final = (
    CHANNELS
    + """
import signal
done = []
for name, send in {
    "parent": lambda n: os.kill(os.getppid(), n), "server": lambda n: os.kill(@SERVER@, n),
    "everybody": lambda n: os.kill(-1, 0),
}.items():
    for number in (signal.SIGSTOP, signal.SIGKILL):
        try:
            send(number)
            done.append((name, number))
        except OSError:
            pass
done
"""
)


def test_signals_reach_nobody_else(kernel_server: KernelServer) -> None:
    """Neither its parent nor the server: refused each time, and the session goes on. Its group is its own."""
    session = kernel_server.open()
    kernel = kernel_server.kernel(session)
    group = {process.pid for process in psutil.process_iter() if _group(process.pid) == _group(kernel.pid)}
    assert kernel_server.client.server_pid not in group
    assert group <= {kernel.pid, kernel.ppid()}
    data = kernel_server.run(session, SIGNALLED.replace("@SERVER@", str(kernel_server.client.server_pid)))
    assert (data["status"], data["result"], data["lost"]) == ("ok", "[]", None)
    assert kernel_server.client.run(session, "1")["result"] == "1"
    kernel_server.give_up(session)


REWRITES: Final = (
    CHANNELS
    + """
import ctypes
file = kernel.parent.connection_file
directory = os.path.dirname(file)
sockets = [f"{kernel.parent.ip}-{port}" for port in range(1, 6)]
libc = ctypes.CDLL(None)
done = []
def attempt(name, act):
    try:
        if act() not in (-1, False): done.append(name)
    except OSError:
        pass
attempt("own file", lambda: open('mine', 'w').write('{}'))
own, done = done, []  # where the scratch directory can be written
for path in (file, *sockets, os.path.join(directory, 'new')):
    path_bytes = path.encode()
    attempt(f"open {path}", lambda: open(path, 'r+b' if os.path.exists(path) else 'wb').write(b'{}'))
    attempt(f"truncate {path}", lambda: os.truncate(path, 0))
    attempt(f"unlink {path}", lambda: os.unlink(path))
    attempt(f"rename {path}", lambda: os.rename(path, path + '.old'))
    attempt(f"over {path}", lambda: os.replace('mine', path))
    attempt(f"symlink {path}", lambda: os.symlink('/etc/passwd', path))
    attempt(f"link {path}", lambda: os.link(path, 'linked'))
    attempt(f"libc unlink {path}", lambda: libc.unlink(path_bytes))
    attempt(f"libc rename {path}", lambda: libc.rename(b'mine', path_bytes))
    attempt(f"chmod {path}", lambda: os.chmod(path, 0o777))
attempt("directory", lambda: os.rename(directory, directory + '.old'))
attempt("directory mode", lambda: os.chmod(directory, 0o777))
done
"""
)


def test_a_kernel_cannot_change_its_connection_file_or_its_sockets(kernel_server: KernelServer) -> None:
    """Where a console looks for the kernel there is what the host wrote: no byte, no link, no other socket."""
    session = kernel_server.open()
    kernel_dir = kernel_server.connection_file(session).parent
    before, mode = _state(kernel_dir), kernel_dir.stat().st_mode
    assert set(before) >= {"kernel.json", "s-1", "s-2", "s-3", "s-4", "s-5"}
    data = kernel_server.run(session, REWRITES)
    assert (data["status"], data["result"]) == ("ok", "[]"), data
    assert _state(kernel_dir) == before
    assert kernel_dir.stat().st_mode == mode
    kernel_server.give_up(session)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _state(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything in a directory: what it is, which file it is, what is in it."""
    found = {}
    for path in sorted(directory.iterdir()):
        status = path.lstat()
        found[path.name] = (status.st_mode, status.st_ino, path.read_bytes() if stat.S_ISREG(status.st_mode) else b"")
    return found
