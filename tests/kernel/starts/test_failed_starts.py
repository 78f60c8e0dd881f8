"""A kernel that cannot start: why reaches the host, whatever ipykernel has put in stderr's place by then."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from jupyter_client.connect import write_connection_file

from rlm_kernel_mcp.errors import KernelStartFailed, RlmError, SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket
from tests.sessions import WAIT_S, SessionDriver, open_registry
from tests.specs import SHIPPED, write_spec

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("started_fork_servers")]


async def failed_start(policy: dict[str, Any]) -> tuple[RlmError, str, int]:
    """Start a kernel of a policy that it cannot use: the host's error, its standard error, its exit status."""
    status = StatusSocket()
    with TemporaryDirectory() as name:  # pytest's directories have names too long for sockets
        directory = Path(name)
        (directory / "w").mkdir()
        (directory / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
        connection, _ = write_connection_file(str(directory / "k.json"), transport="ipc", ip=str(directory / "k"))
        argv = [sys.executable, "-I", "-m", "rlm_kernel_mcp.in_kernel", "-f", connection]
        argv += ["--policy", str(directory / "policy.json"), "--scratch", str(directory / "w")]
        argv += ["--status-fd", str(status.theirs.fileno())]
        passed = [status.theirs.fileno()]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, pass_fds=passed) as process:  # noqa: ASYNC220
            status.close_theirs()
            with pytest.raises((KernelStartFailed, SandboxUnavailable)) as caught:
                async with asyncio.timeout(WAIT_S):
                    await status.wait_ready()
            errors = process.communicate(timeout=WAIT_S)[1].decode()
    status.close()
    return caught.value, errors, process.returncode


async def test_what_fails_behind_ipykernel_s_streams_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The host's error has the reason; its log, and standard error, have the place too."""
    policy = json.loads((SHIPPED / "policy.json").read_text(encoding="utf-8"))
    del policy["snapshots"]
    policy["walls"] = {"required": [], "wanted": []}
    with caplog.at_level(logging.ERROR):
        error, errors, code = await failed_start(policy)
    assert "KeyError: 'snapshots'" in error.message
    assert "Traceback" not in error.message
    assert "in make_app" in caplog.text
    assert "in make_app" in errors
    assert code == 1


async def test_a_kernel_that_nobody_made_a_folder_for_is_refused() -> None:
    """A client that knows no provisioners runs the kernelspec's argv as it is.

    What lies around its connection file, other kernels' keys among it, is not to be granted.
    """
    error, _, code = await failed_start(json.loads((SHIPPED / "policy.json").read_text(encoding="utf-8")))
    assert "nobody made a directory" in error.message
    assert "install rlm-kernel-mcp where the client runs" in error.next_step
    assert code == 3


async def test_a_policy_that_a_cold_start_cannot_read_is_told() -> None:
    """Before anything of ipykernel is there."""
    error, errors, _ = await failed_start({})
    assert "KeyError" in error.message
    assert "in preload" in errors


async def test_an_interpreter_that_ends_before_it_is_a_kernel_leaves_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernelspec whose program is another one: its end and its words are the error's."""
    write_spec(tmp_path, "other", {"pool": {"spare_kernels": 0}})
    spec = tmp_path / "kernels" / "other" / "kernel.json"
    kernel = json.loads(spec.read_text(encoding="utf-8"))
    code = "import sys; print('no such thing here', file=sys.stderr); sys.exit(5)"
    kernel["argv"] = [sys.executable, "-c", code, *kernel["argv"][4:]]
    spec.write_text(json.dumps(kernel), encoding="utf-8")
    monkeypatch.setattr("rlm_kernel_mcp.kernel.placement.forked.ForkServer.start", _no_fork_server)
    async with open_registry(tmp_path / "state", RLM_KERNEL="other", JUPYTER_PATH=str(tmp_path)) as registry:
        with pytest.raises(KernelStartFailed, match=r"ended with exit status 5 .*: no such thing here"):
            await SessionDriver.open(registry)


async def test_a_program_that_is_not_there_is_a_start_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no defect of the server."""
    write_spec(tmp_path, "gone", {"pool": {"spare_kernels": 0}})
    spec = tmp_path / "kernels" / "gone" / "kernel.json"
    kernel = json.loads(spec.read_text(encoding="utf-8"))
    kernel["argv"][0] = str(tmp_path / "no-python")
    spec.write_text(json.dumps(kernel), encoding="utf-8")
    monkeypatch.setattr("rlm_kernel_mcp.kernel.placement.forked.ForkServer.start", _no_fork_server)
    async with open_registry(tmp_path / "state", RLM_KERNEL="gone", JUPYTER_PATH=str(tmp_path)) as registry:
        with pytest.raises(KernelStartFailed, match="No such file or directory") as caught:
            await SessionDriver.open(registry)
    assert str(tmp_path) not in caught.value.message


async def _no_fork_server(*_: object) -> None:
    raise KernelStartFailed("There is none in this test.")
