"""Whether a host serves or the process that the client started: what a client and a person see is the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.front.hosts import FRONT, HERE, Hosts
from tests.mcp.line_client import WAIT_S, LineClient
from tests.parts import ROOT

WAYS: Final = ("auto", "off")
CONSOLE_SCRIPT: Final = (str(Path(sys.executable).with_name("rlm-kernel-mcp")),)
STARTS: Final = {"bin/rlm-mcp": (str(ROOT / "bin" / "rlm-mcp"),), "the console script": CONSOLE_SCRIPT}


def ended(
    hosts: Hosts, way: str, shell: str = "", *options: str, env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Status and output of a client's process that is sent nothing. `shell`: what is done before and to its streams."""
    work = hosts.directory / "work"
    work.mkdir(exist_ok=True)
    before, _, streams = shell.rpartition(";")
    done = subprocess.run(
        ["/bin/sh", "-c", f'{before or ":"}; exec "$0" "$@" {streams}', *FRONT, *options],
        cwd=work,
        env={**os.environ, **hosts.env, "RLM_HOST": way, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


REFUSED: Final[dict[str, tuple[str, tuple[str, ...], dict[str, str]]]] = {
    "a value that is no number": ("", (), {"RLM_MAX_SESSIONS": "many"}),
    "the same as an option": ("", ("--max-sessions", "many"), {}),
    "a kernelspec without a policy": ("", (), {"RLM_KERNEL": "python3"}),
    "a root that is not there": ("", (), {"RLM_CONTEXT_ROOTS": "/nowhere"}),
    "an option that there is not": ("", ("--frob", "1"), {}),
    "an option without its value": ("", ("--max-sessions",), {}),
    "an option in the place of a value": ("", ("--state-dir", "--kernel"), {}),
    "an idle time of a host that is none": ("", (), {"RLM_HOST_IDLE_S": "soon"}),
    "a working directory that is gone": ('rmdir "$PWD";', (), {}),
    "a closed input": ("<&-", (), {}),
    "a closed output": (">&-", (), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_refused_in_the_same_words_with_the_same_status(hosts: Hosts, what: str) -> None:
    shell, options, env = REFUSED[what]
    by_host, alone = (ended(hosts, way, shell, *options, env=env) for way in WAYS)
    assert by_host == alone
    assert by_host[0] == 2
    assert by_host[2]


@pytest.mark.parametrize("value", [pytest.param("always", marks=pytest.mark.slow), "OFF"])
def test_a_value_of_rlm_host_that_is_not_known_is_refused_with_the_known_ones(hosts: Hosts, value: str) -> None:
    status, out, said = ended(hosts, value)
    assert (status, out) == (2, "")
    assert said.startswith(f"rlm-kernel-mcp: RLM_HOST={value!r} is not known; known values: auto, off.")
    assert hosts.everyone() == []


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGINT, signal.SIGHUP))],
)
@pytest.mark.parametrize("way", ["auto", pytest.param("off", marks=pytest.mark.slow)])
def test_a_signal_ends_a_client_s_process_with_status_0(hosts: Hosts, way: str, number: signal.Signals) -> None:
    client = hosts.client(env={"RLM_HOST": way})
    client.initialize()
    client.process.send_signal(number)
    assert client.process.wait(WAIT_S) == 0
    assert client.stdout.read() == b""
    assert "Traceback" not in client.log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_each_answer_and_each_line_of_the_log_is_the_same(hosts: Hosts) -> None:
    told = []
    for way in WAYS:
        client = hosts.client(way, env={"RLM_HOST": way, "RLM_MAX_SESIONS": "3"})
        answers = [
            client.initialize(),
            client.request("tools/list"),
            client.request("tools/none"),
            client.call("rlm_run_repl", session_id="s_nobody22", code="1"),
            client.call("rlm_init_context", context_paths=["/etc/hostname"]),
            client.call("rlm_init_context", context_paths=["none.txt"]),
            client.request("tools/call", {"name": "rlm_fly", "arguments": {}}),
        ]
        assert client.end() == 0
        log = re.sub(r"(?m)^[\d-]+ [\d:,]+ (\w+) [\w.]+:", r"\1", client.log.read_text(encoding="utf-8"))
        told.append(repr((answers, log)).replace(str(client.directory), ""))
    assert told[0] == told[1]
    assert "did you mean RLM_MAX_SESSIONS?" in told[0]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_options_count_both_ways(hosts: Hosts, way: str) -> None:
    other = hosts.directory / "other"
    other.mkdir()
    (other / "a.txt").write_text("far away", encoding="utf-8")
    options = (*FRONT, "--context-roots", str(other))
    client = LineClient(hosts.directory, {**hosts.env, "RLM_HOST": way}, options, warm=False)
    hosts.clients.append(client)
    client.initialize()
    opened = client.data("rlm_init_context", context_paths=[str(other / "a.txt")])
    assert opened["context"]["head"] == "far away"
    assert client.error("rlm_init_context", context_paths=["/etc/hostname"])["code"] == "CONTEXT_DENIED"
    assert bool(hosts.everyone()) == (way == "auto")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_client_without_stderr_is_served(hosts: Hosts, way: str) -> None:
    client = hosts.client(before=("/bin/sh", "-c", 'exec "$0" "$@" 2>&-'), env={"RLM_HOST": way})
    client.initialize()
    assert client.error("rlm_run_repl", session_id="s_nobody22", code="1")["code"] == "SESSION_NOT_FOUND"
    assert client.end() == 0
    assert bool(hosts.everyone()) == (way == "auto")


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_what_a_client_starts_without_a_command_is_a_front_and_serve_is_the_server(hosts: Hosts, start: str) -> None:
    """Whatever lies in the working directory."""
    env = {name: value for name, value in hosts.env.items() if name != "RLM_HOST"}
    work = hosts.directory / "work"
    work.mkdir()
    (work / "json.py").write_text("raise SystemExit('imported from the working directory')", encoding="utf-8")
    if start == "bin/rlm-mcp":
        env["PYTHONPATH"] = str(work)
    for command, there_is_one in (((), True), (("serve",), False)):
        client = LineClient(work, env, (*STARTS[start], *command), warm=False)
        hosts.clients.append(client)
        client.initialize()
        line = Path(f"/proc/{client.process.pid}/cmdline").read_bytes().split(b"\0")
        assert (line[3].endswith(b"/front/run.py"), line[-2] == b"serve") == (there_is_one, not there_is_one)
        assert client.end() == 0
        assert HERE not in client.log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_containers_are_no_matter_of_a_host_and_nothing_is_said_of_it(hosts: Hosts) -> None:
    client = hosts.client(env={"RLM_SANDBOX_MODE": "container"})
    client.initialize()
    assert client.end() == 0
    assert client.log.read_text(encoding="utf-8") == ""
    assert hosts.everyone() == []


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_log_that_nobody_reads_keeps_no_client_waiting_after_its_host_s_death_either(hosts: Hosts, way: str) -> None:
    """The pipe is full by then."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    client = LineClient(hosts.directory, {**hosts.env, "RLM_HOST": way}, FRONT, writing, warm=False)
    hosts.clients.append(client)
    client.initialize()
    while True:
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    for _ in range(2):
        assert client.error("rlm_run_repl", session_id="s_nobody22", code="1")["code"] == "SESSION_NOT_FOUND"
        hosts.sockets.chmod(0o755)  # where others may enter no host is looked for: the reason is said
        for pid in hosts.everyone():
            os.kill(pid, signal.SIGKILL)
            hosts.wait_for_end(pid)
    for descriptor in (reading, writing):
        os.close(descriptor)
