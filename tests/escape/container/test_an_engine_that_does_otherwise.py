"""An engine whose configuration overrides what it is asked: the kernel looks, and refuses or says so.

The engine is the real podman behind a wrapper that changes the options of `run`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.escape.container.runtimes import ContainerServer, ask, image_in
from tests.records import recorded_walls

pytestmark = pytest.mark.slow

WRAPPER = """#!{python} -I
import os, sys
arguments = sys.argv[1:]
if arguments[0] == "run":
    for unwanted in {removed}:
        at = next(i for i in range(len(arguments)) if arguments[i : i + len(unwanted)] == unwanted)
        del arguments[at : at + len(unwanted)]
    arguments[1:1] = {added}
os.execv({podman!r}, ["podman", *arguments])
"""

OVERRIDDEN = {
    "a read-only root": ([["--read-only"]], []),
    "no capabilities": ([["--cap-drop", "ALL"]], []),
    "no new privileges": ([["--security-opt", "no-new-privileges"]], []),
    "a user that is not root": ([["--user", "65532:65532"]], ["--user", "0:0"]),
    "processes of its own": ([], ["--pid", "host"]),
}


class Wrapped:
    """Starts servers whose podman changes the options of `run`."""

    def __init__(self, directory: Path) -> None:
        image_in("podman")
        self.directory = directory
        self.servers: list[ContainerServer] = []

    def server(self, removed: list[list[str]], added: list[str], **settings: str) -> ContainerServer:
        program = self.directory / "bin" / "podman"
        program.parent.mkdir()
        real = shutil.which("podman")
        program.write_text(WRAPPER.format(python=sys.executable, removed=removed, added=added, podman=real))
        program.chmod(0o755)
        home = self.directory / "server"
        home.mkdir()
        path = f"{program.parent}:{os.environ['PATH']}"
        self.servers.append(ContainerServer("podman", home, PATH=path, **settings))
        return self.servers[-1]


@pytest.fixture
def wrapped(tmp_path: Path) -> Iterator[Wrapped]:
    found = Wrapped(tmp_path)
    try:
        yield found
    finally:
        for server in found.servers:
            server.close()


@pytest.mark.parametrize("promise", OVERRIDDEN)
def test_a_container_that_is_not_as_asked_for_gets_no_user_code(wrapped: Wrapped, promise: str) -> None:
    """The refusal names what is missing; nothing of the container stays."""
    server = wrapped.server(*OVERRIDDEN[promise])
    error = server.client.error("rlm_init_context", context_text="x")
    assert error["code"] == "SANDBOX_UNAVAILABLE"
    assert f"this container does not have: {promise}" in error["message"]
    assert "RLM_SANDBOX_MODE=process" in error["next_step"]
    (run_dir,) = server.run_dirs
    server.wait_for_containers(run_dir, 0)


def test_an_engine_that_cannot_start_the_container_is_told_with_its_words_in_the_log(wrapped: Wrapped) -> None:
    """Not in the answer, which must hold no path of the host's."""
    server = wrapped.server([], ["--no-such-option"])
    error = server.client.error("rlm_init_context", context_text="x")
    assert error["code"] == "SANDBOX_UNAVAILABLE"
    assert "could not start the container (its exit status: 125)" in error["message"]
    assert server.client.logged("unknown flag: --no-such-option")


def test_an_engine_that_cannot_start_the_container_is_a_reason_to_fall_back_where_that_is_allowed(
    wrapped: Wrapped,
) -> None:
    """It answered every question and fails at last; the session says what holds it instead."""
    server = wrapped.server([], ["--no-such-option"], RLM_SANDBOX_FALLBACK="process")
    opened = server.client.data("rlm_init_context", context_text="x")
    missing = opened["walls_missing"][0]
    assert missing["name"] == "container"
    assert "could not start the container" in missing["reason"]
    assert "container" not in opened["walls"]
    assert "seccomp" in opened["walls"]


def test_where_the_engine_forbids_namespaces_inside_the_other_walls_hold_and_say_so(
    wrapped: Wrapped, tmp_path: Path
) -> None:
    """As docker does. No tmpfs of podman's bounds a number of files, so the scratch directory is read-only then."""
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps(without_namespaces()))
    server = wrapped.server([], ["--security-opt", f"seccomp={profile}"])
    opened = server.client.data("rlm_init_context", context_text="some text")
    assert [wall["name"] for wall in opened["walls_missing"]] == ["scratch_quota"]
    walls = {wall["name"]: wall for wall in recorded_walls(server.client, opened["session_id"])}
    assert walls["namespaces"]["detail"].startswith("the container's own")
    session_id = opened["session_id"]
    assert server.client.run(session_id, "len(context)")["result"] == "9"
    assert server.client.run(session_id, "open(scratch + '/a', 'w')")["error"]["ename"] == "PermissionError"
    stopped = server.client.run(session_id, "while True: pass", timeout_ms=300)
    assert (stopped["status"], stopped["lost"]) == ("timeout", None)


def without_namespaces() -> dict[str, object]:
    """podman's own filter without the calls that make namespaces and mounts."""
    place = ask("podman", "info", "--format", "{{.Host.Security.SECCOMPProfilePath}}").strip()
    profile: dict[str, object] = json.loads(Path(place).read_text())
    rules = profile["syscalls"]
    assert isinstance(rules, list)
    for rule in rules:
        rule["names"] = [name for name in rule["names"] if name not in ("unshare", "mount", "pivot_root", "setns")]
    return profile
