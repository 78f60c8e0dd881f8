"""What a warm Python forks is a process of its own, as one that was started by itself."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement import forked
from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec
from tests.warm import fork_servers
from tests.warm.python import WAIT_S, Forked, WarmPython

SAYS: Final = """
import json, os, sys
streams = [(stream.fileno(), stream.isatty()) for stream in (sys.stdin, sys.stdout, sys.stderr)]
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), streams, os.listdir("/proc/self/fd")]))
"""


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmPython]:
    """One that has imported a module which no other Python has at its start."""
    made = WarmPython("import sqlite3.dump")
    yield made
    made.close()


def started(warm: WarmPython, *arguments: str, directory: Path) -> tuple[Forked, Path]:
    """The process, and the file to which it writes."""
    output = directory / "output"
    with output.open("wb") as file, Path(os.devnull).open("rb") as nothing:
        streams = (nothing.fileno(), file.fileno(), file.fileno())
        return warm.start(arguments, streams, cwd=directory, env={"NAME": "\udcff"}), output


def test_it_has_its_own_arguments_environment_directory_and_streams(warm: WarmPython, tmp_path: Path) -> None:
    """And no descriptor beside them but the one by which it looks."""
    process, output = started(warm, "-c", SAYS, "given", directory=tmp_path)
    assert process.wait(WAIT_S) == 0
    streams = [[0, False], [1, False], [2, False]]
    said = [["-c", "given"], str(tmp_path), {"NAME": "\udcff"}, streams, ["0", "1", "2", "3"]]
    assert json.loads(output.read_text()) == said


def test_it_has_its_imports_and_nothing_that_another_did(warm: WarmPython, tmp_path: Path) -> None:
    """Each begins as the first did."""
    code = "import sys; print('sqlite3.dump' in sys.modules, hasattr(sys, 'left')); sys.left = 1"
    for _ in range(2):
        process, output = started(warm, "-c", code, directory=tmp_path)
        assert (process.wait(WAIT_S), output.read_text()) == (0, "True False\n")


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import os; os._exit(8)", 8, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import atexit, threading; atexit.register(print, 'last'); threading.Thread(target=print).start()", 0, "last"),
    ],
)
def test_its_end_is_told_as_it_was(warm: WarmPython, tmp_path: Path, code: str, status: int, said: str) -> None:
    """By the interpreter's own end, with what that does."""
    process, output = started(warm, "-c", code, directory=tmp_path)
    assert process.wait(WAIT_S) == status
    assert process.poll() == process.returncode == status
    assert said in output.read_text()


def test_it_takes_signals_and_is_waited_for(warm: WarmPython, tmp_path: Path) -> None:
    """No longer than asked; a signal to one that has ended reaches nobody."""
    process, _ = started(warm, "-c", "import signal; signal.pause()", directory=tmp_path)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0)
    process.kill()
    assert process.wait(WAIT_S) == -signal.SIGKILL
    process.terminate()


def test_a_file_and_a_module_are_run_as_programs(warm: WarmPython, tmp_path: Path) -> None:
    """With the arguments behind their names."""
    (tmp_path / "program.py").write_text("import sys; print(__name__, sys.argv[1:])")
    for arguments in (["program.py", "a"], ["-m", "this"]):
        process, output = started(warm, *arguments, directory=tmp_path)
        assert process.wait(WAIT_S) == 0
        assert output.read_text().startswith("__main__ ['a']" if arguments[0] != "-m" else "The Zen of Python")


def test_it_has_the_terminal_that_it_is_given(warm: WarmPython, tmp_path: Path) -> None:
    """Ctrl-C there interrupts it."""
    ours, theirs = pty.openpty()
    code = "import time; print('begun', flush=True); time.sleep(600)"
    process = warm.start(["-c", code], (theirs, theirs, theirs), kind="terminal")
    os.close(theirs)
    assert os.read(ours, 7) == b"begun\r\n"
    os.write(ours, b"\x03")
    assert process.wait(WAIT_S) == -signal.SIGINT
    os.close(ours)


def test_a_program_that_becomes_another_python_has_its_imports_too(warm: WarmPython, tmp_path: Path) -> None:
    """As `rlm-kernel-mcp attach` becomes a console; that never returns."""
    other = "import sys; print('sqlite3.dump' in sys.modules, sys.argv)"
    code = f"import os, sys; os.execv(sys.executable, [sys.executable, '-P', '-c', {other!r}, 'x']); print('returned')"
    process, output = started(warm, "-c", code, directory=tmp_path)
    assert (process.wait(WAIT_S), output.read_text()) == (0, "True ['-c', 'x']\n")


def test_it_outlives_nobody(tmp_path: Path) -> None:
    """The warm Python ends with the test's own process; what it forked ends by itself."""
    warm = WarmPython("")
    process, _ = started(warm, "-c", "import os; os.read(0, 1)", directory=tmp_path)
    assert process.wait(WAIT_S) == 0
    warm.close()
    assert warm._process.returncode == 0


@pytest.fixture
def forked_fork_servers() -> Iterator[None]:
    """As in a worker of `bin/test`, outside one too."""
    with fork_servers.forking():
        yield


@pytest.mark.anyio
@pytest.mark.usefixtures("forked_fork_servers")
async def test_a_fork_server_that_is_forked_is_one_of_its_own_and_ends_when_it_is_told() -> None:
    """In a session of its own, with the streams that it makes itself, and not the one that another has."""
    policy = locked_kernelspec("rlm-python") / "policy.json"
    one, other = [await forked.ForkServer.start(forked.default_python(), policy) for _ in range(2)]
    try:
        assert os.getsid(one.pid) == one.pid != other.pid == os.getsid(other.pid)
        assert {Path(f"/proc/{one.pid}/fd/{number}").readlink() for number in (0, 1, 2)} == {Path(os.devnull)}
        one.stop()
        assert (one.alive, other.alive) == (False, True)
    finally:
        other.stop()


@pytest.mark.anyio
@pytest.mark.usefixtures("forked_fork_servers")
async def test_a_fork_server_that_is_forked_tells_why_it_ended(tmp_path: Path) -> None:
    """As one that was started does."""
    with pytest.raises(KernelStartFailed, match="FileNotFoundError"):
        await forked.ForkServer.start(forked.default_python(), tmp_path / "no-policy.json")
