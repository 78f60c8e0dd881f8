"""A session in container mode is a session like any other, and says what holds it."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import psutil
import pytest

from tests.escape.container.runtimes import ContainerServer, ask
from tests.records import recorded_walls

pytestmark = pytest.mark.slow

STUBBORN = "from collections import deque\nfrom itertools import repeat\ndeque(repeat(0), maxlen=0)"


@pytest.fixture(scope="module")
def session(server: ContainerServer) -> str:
    """A session on a file."""
    opened = server.client.data("rlm_init_context", context_paths=["story.txt"])
    assert opened["context"]["chars"] == 26_000
    session_id: str = opened["session_id"]
    return session_id


def test_the_walls_name_the_engine_and_what_the_container_was_found_to_be(server: ContainerServer) -> None:
    """Looked at from inside before any user code; the process walls hold inside as well, every one of them."""
    opened = server.client.data("rlm_init_context", context_text="x")
    assert "walls_missing" not in opened
    walls = recorded_walls(server.client, opened["session_id"])
    assert [wall["name"] for wall in walls] == opened["walls"]
    first = walls[0]
    assert first["name"] == "container"
    assert first["holds"] is True
    assert first["detail"].startswith(server.runtime)
    for part in ("a read-only root", "no network", "no capabilities", "130 pids", "720 MB", "processors: 1"):
        assert part in first["detail"]
    assert {wall["name"]: wall["holds"] for wall in walls[1:]} == dict.fromkeys(
        [
            "rlimits",
            "no_new_privs",
            "not_dumpable",
            "capabilities",
            "landlock",
            "seccomp",
            "namespaces",
            "scratch_quota",
        ],
        True,
    )


def test_steps_run_on_a_context_that_came_as_a_file(server: ContainerServer, session: str) -> None:
    """The file is mapped through a descriptor that crossed into the container; nothing of its directory is mounted."""
    done = server.client.run(session, "words = context.split()\nprint(len(words), documents.at(30))\nwords[3]")
    assert (done["status"], done["stdout"], done["result"]) == ("ok", "6000 ('story.txt', 30)\n", "'bright'")
    assert server.client.data("rlm_get_var", session_id=session, var_name="words", limit=30)["size"] == 6000


def test_an_inline_context_arrives_too(server: ContainerServer) -> None:
    """Characters outside the ASCII as well."""
    session_id = server.client.open_session("día ☀")
    assert server.client.run(session_id, "context[-1]")["result"] == "'☀'"


def test_a_variable_is_read_while_a_step_runs(server: ContainerServer, session: str) -> None:
    """On the control channel, across the container's border."""
    step = server.client.begin("rlm_run_repl", {"session_id": session, "code": "v = 7\nwhile True: pass", "wait_ms": 0})
    assert server.client.result(step)["structuredContent"]["data"]["status"] == "running"
    server.client.wait_for_name(session, "v")
    assert server.client.data("rlm_get_var", session_id=session, var_name="context", limit=10)["value"] == "It was a b"
    assert server.client.data("rlm_interrupt", session_id=session)["status"] == "interrupted"
    assert server.client.run(session, "v")["result"] == "7"


def test_a_step_that_cannot_be_interrupted_is_killed_and_its_session_restored(
    server: ContainerServer, session: str
) -> None:
    """C code that holds the interpreter: the container goes, another comes, with the context and the values kept."""
    server.client.run(session, "numbers = [1, 2, 3]")
    before = {process.pid for process in kernels(server)}
    done = server.client.run(session, STUBBORN, timeout_ms=300)
    assert done["status"] == "timeout"
    assert done["lost"]["reason"]
    assert "numbers" in done["lost"]["restored"]
    assert server.client.run(session, "len(context), numbers")["result"] == "(26000, [1, 2, 3])"
    assert {process.pid for process in kernels(server)} != before


def test_a_step_in_a_paused_container_is_ended_and_its_session_restored(server: ContainerServer) -> None:
    """A paused process dies of no signal, not even of SIGKILL where cgroups are of version 1: its engine ends it."""
    session = server.client.open_session("the context")
    server.client.run(session, "kept = 41")
    running = server.client.data("rlm_run_repl", session_id=session, code="while True: pass", wait_ms=2_000)
    assert running["status"] == "running"
    ask(server.runtime, "pause", server.container_of(session))
    ended = server.client.data("rlm_interrupt", session_id=session)
    assert ended["status"] in ("interrupted", "kernel_died")
    after = server.client.run(session, "kept + len(context)")
    assert after["result"] == str(41 + len("the context"))


def test_a_memory_bomb_is_a_memory_error_and_the_session_lives_on(server: ContainerServer) -> None:
    """The kernel's own limit comes before the engine's, which would end the container."""
    session_id = server.client.open_session()
    done = server.client.run(session_id, "kept = 1\nx = 'a' * (900 << 20)")
    assert done["error"]["ename"] == "MemoryError"
    slow = server.client.run(session_id, "y = []\nwhile True: y.append(bytearray(1 << 20))")
    assert slow["error"]["ename"] == "MemoryError"
    assert server.client.run(session_id, "del y\nkept")["result"] == "1"


def test_the_scratch_folder_holds_what_the_policy_says_and_no_more(server: ContainerServer) -> None:
    """64 MB in all and 4,096 files, on a tmpfs."""
    session_id = server.client.open_session()
    large = "with open(scratch + '/large', 'wb') as file:\n    while True: file.write(bytes(1 << 20))"
    assert server.client.run(session_id, large)["error"]["ename"] == "OSError"
    server.client.run(session_id, "import os\nos.remove(scratch + '/large')\nn = 0")
    many = "while True:\n    open(f'{scratch}/{n}', 'w').close()\n    n += 1"
    assert server.client.run(session_id, many)["error"]["ename"] == "OSError"
    assert server.client.data("rlm_get_var", session_id=session_id, var_name="n")["value"] < 4096


def test_the_processor_time_of_a_step_is_measured_from_outside(server: ContainerServer) -> None:
    """The kernel's process is seen by the host, whoever it belongs to there."""
    session_id = server.client.open_session()
    server.client.run(session_id, "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass")
    first = psutil.Process(server.inspect(server.container_of(session_id))["State"]["Pid"])
    processes = [first, *first.children(recursive=True)]
    assert max(sum(process.cpu_times()[:2]) for process in processes) >= 0.3


def test_a_final_answer_ends_the_session_s_container_and_no_other(server: ContainerServer) -> None:
    """One container a session, and one kept ready."""
    session_id = server.client.open_session()
    other = server.client.open_session()
    (run_dir,) = server.run_dirs
    server.client.run(session_id, "answer = 6 * 7")
    before = server.containers(run_dir)
    finished = server.client.data("rlm_finalize", session_id=session_id, final_var_name="answer")
    assert finished["final_answer"] == "42"
    server.wait_for_the_end_of_one(run_dir, before)
    assert server.client.run(other, "1 + 1")["result"] == "2"


def kernels(server: ContainerServer) -> list[psutil.Process]:
    """The processes in this server's containers, as the host sees them."""
    (run_dir,) = server.run_dirs
    found = []
    for container in server.containers(run_dir):
        with suppress(subprocess.CalledProcessError, psutil.NoSuchProcess):  # one that has ended by now
            if pid := server.inspect(container)["State"]["Pid"]:
                first = psutil.Process(pid)
                found += [first, *first.children(recursive=True)]
    return found
