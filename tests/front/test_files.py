"""A person lists what a session's code has written, and takes it out, beside the client whose session it is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.front.hosts import Hosts
from tests.mcp.line_client import LineClient
from tests.warm.python import run_python

WRITES = """
with open(scratch + '/table.csv', 'w') as file:
    file.write('a,b\\n1,2\\n')
with open(scratch + '/large.bin', 'wb') as file:
    file.write(bytes(range(256)) * 10_000)
"""


def command(hosts: Hosts, *words: str) -> subprocess.CompletedProcess[str]:
    return run_python(["-m", "rlm_kernel_mcp", *words], {**os.environ, **hosts.env})


def opened(hosts: Hosts, env: dict[str, str] | None = None) -> tuple[LineClient, str]:
    client = hosts.client(env=env or {})
    client.initialize()
    return client, client.open_session("some text")


def test_what_a_step_has_written_can_be_listed_and_taken_out(hosts: Hosts, tmp_path: Path) -> None:
    """Also while another step runs; the session is as it was."""
    client, session_id = opened(hosts)
    assert command(hosts, "files", session_id).stdout == f"Session {session_id} has no file in its scratch directory.\n"
    assert client.run(session_id, WRITES)["status"] == "ok"
    step = client.begin("rlm_run_repl", {"session_id": session_id, "code": "begun = 1\nwhile True: pass"})
    client.wait_for_name(session_id, "begun")
    told = command(hosts, "files", session_id)
    assert (told.returncode, told.stdout) == (0, "NAME       BYTES\nlarge.bin  2,560,000\ntable.csv  8\n")
    out = tmp_path / "out"
    told = command(hosts, "files", session_id, "--out", str(out))
    assert told.returncode == 0, told
    assert (out / "table.csv").read_text(encoding="utf-8") == "a,b\n1,2\n"
    assert (out / "large.bin").read_bytes() == bytes(range(256)) * 10_000
    again = command(hosts, "files", session_id, "--out", str(out), "--json")
    assert again.returncode == 1
    assert all("nothing was written over" in row["why"] for row in json.loads(again.stdout)["files"])
    client.data("rlm_interrupt", session_id=session_id)
    assert client.result(step)["structuredContent"]["data"]["status"] == "interrupted"
    assert client.run(session_id, "begun")["result"] == "1"


@pytest.mark.slow
def test_of_a_session_whose_kernel_has_ended_there_is_nothing(hosts: Hosts) -> None:
    """It says so, and starts none."""
    client, session_id = opened(hosts)
    assert client.run(session_id, WRITES)["status"] == "ok"
    hosts.wait_until_kept(session_id, client)
    assert command(hosts, "kill", session_id).returncode == 0
    told = command(hosts, "files", session_id)
    assert (told.returncode, "ended with the last one" in told.stderr) == (1, True)


@pytest.mark.slow
def test_of_a_server_without_a_host_nobody_can_be_asked(hosts: Hosts) -> None:
    client, session_id = opened(hosts, {"RLM_HOST": "off"})
    told = command(hosts, "files", session_id)
    assert (told.returncode, str(client.process.pid) in told.stderr) == (1, True)
