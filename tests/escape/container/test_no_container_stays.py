"""However a server ends, no container of it stays, and nobody else's goes."""

from __future__ import annotations

import signal
import subprocess

import psutil
import pytest

from tests.escape.container.runtimes import ContainerServer, ask, image_in
from tests.mcp.line_client import WAIT_S
from tests.processes import left_over

pytestmark = pytest.mark.slow

WAYS = {"EOF": None, "SIGTERM": signal.SIGTERM}


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_ends_takes_its_containers_along(own_server: ContainerServer, way: str) -> None:
    """A step is running, and the spare kernel is there; status 0, no process, no container, no directory."""
    client = own_server.client
    session_id = client.open_session()
    client.begin("rlm_run_repl", {"session_id": session_id, "code": "while True: pass"})
    client.wait_until_running(session_id)
    (run_dir,) = own_server.run_dirs
    own_server.wait_for_containers(run_dir, 2)
    processes = psutil.Process(client.process.pid).children(recursive=True)
    number = WAYS[way]
    if number is None:
        assert client.end() == 0
    else:
        client.process.send_signal(number)
        assert client.process.wait(WAIT_S) == 0
    assert own_server.containers(run_dir) == []
    assert left_over(processes, WAIT_S) == []
    assert own_server.run_dirs == []


def test_a_server_that_is_killed_is_tidied_up_after_at_once(own_server: ContainerServer) -> None:
    """SIGKILL leaves it no time; its reaper, a process of its own, sees the pipe close."""
    own_server.client.open_session()
    (run_dir,) = own_server.run_dirs
    own_server.wait_for_containers(run_dir, 2)
    own_server.client.process.kill()
    own_server.client.process.wait()
    own_server.wait_for_containers(run_dir, 0)


def test_what_a_server_and_its_undertaker_leave_goes_at_the_next_start_and_nothing_else(
    own_server: ContainerServer, runtime: str
) -> None:
    """Both are killed. The next server finds the dead one by its lock, and its containers by their label."""
    client = own_server.client
    client.open_session()
    (run_dir,) = own_server.run_dirs
    left = own_server.wait_for_containers(run_dir, 2)
    reaper = next(
        process
        for process in psutil.Process(client.process.pid).children()
        if process.cmdline()[:2] == ["/bin/sh", "-c"]
    )
    reaper.kill()
    client.process.kill()
    client.process.wait()
    assert sorted(own_server.containers(run_dir)) == sorted(left)
    # A container with a name like ours, of somebody else's.
    stranger = f"rlm-{run_dir.name}-stranger"
    ask(runtime, "create", "--name", stranger, "--network", "none", "--ulimit", "nofile=64:64", image_in(runtime))
    try:
        own_server.start().open_session()
        assert own_server.containers(run_dir) == []
        assert not run_dir.exists()
        assert ask(runtime, "container", "inspect", "--format", "{{.Name}}", stranger).strip().lstrip("/") == stranger
    finally:
        subprocess.run([runtime, "rm", "-f", stranger], capture_output=True, check=False)


def test_a_container_that_is_removed_behind_our_back_is_a_dead_kernel_and_not_a_dead_server(
    own_server: ContainerServer,
) -> None:
    """The session says so and gets another."""
    client = own_server.client
    session_id = client.open_session("some text")
    (run_dir,) = own_server.run_dirs
    for container in own_server.wait_for_containers(run_dir, 2):
        subprocess.run([own_server.runtime, "rm", "-f", container], capture_output=True, check=True)
    done = client.run(session_id, "len(context)")
    assert done["status"] in ("ok", "kernel_died")
    assert done["lost"]["reason"]
    assert client.run(session_id, "len(context)")["result"] == "9"
