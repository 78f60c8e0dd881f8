"""What ipykernel does that walls would turn into an abort or a hole, and that our application therefore leaves out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.bare_kernel import BareKernel, bare_kernel
from tests.sessions import SessionDriver


@pytest.fixture(scope="module")
def kernel() -> Iterator[BareKernel]:
    """A kernel without a wall that might refuse, and so hide, what is looked for; a start-up file lies in wait."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as environment:
        startup = Path(directory) / "startup.py"
        startup.write_text("started_up = True\n", encoding="utf-8")
        environment.setenv("PYTHONSTARTUP", str(startup))
        below = Path(directory) / "k"
        below.mkdir()
        with bare_kernel(below, "any") as started:
            yield started


def test_no_tcp_port_is_opened(kernel: BareKernel) -> None:
    """ipykernel's iopub thread listens on 127.0.0.1 for forked children's output, with ipc transport as well."""
    pid = kernel.run("import os; os.getpid()").result
    assert pid is not None
    assert psutil.Process(int(pid)).net_connections(kind="inet") == []


def test_the_kernel_connects_to_nothing(kernel: BareKernel) -> None:
    """ipykernel's debugger connects to the kernel's own shell channel."""
    assert kernel.run("get_ipython().kernel.debug_shell_socket.closed").result == "True"


def test_no_profile_history_or_startup_file_is_touched(kernel: BareKernel) -> None:
    """They would be made in, or run from, places that a session does not have."""
    assert kernel.run("started_up").ename == "NameError"
    assert kernel.run("get_ipython().ipython_dir, get_ipython().history_manager.enabled").result == "('', False)"
    assert list(kernel.scratch.iterdir()) == []


@pytest.mark.anyio
async def test_no_module_is_taken_from_the_scratch_folder(any_registry: Registry) -> None:
    """The working directory, which code can write to, is not on the path."""
    session = await SessionDriver.open(any_registry)
    report = await session.ok("import sys, os; [p for p in sys.path if p in ('', '.', os.getcwd())]")
    assert report.result == "[]"
