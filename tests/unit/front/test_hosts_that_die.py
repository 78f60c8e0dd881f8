"""A front whose hosts die again and again does not start them for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from rlm_kernel_mcp.front import front
from tests.parts import ROOT

Deaths = list[tuple[float, int]]
LEFT = front.ours("left")
IN_A_ROW, IN_A_ROW_S = LEFT["IN_A_ROW"], LEFT["IN_A_ROW_S"]


@pytest.fixture
def page() -> Iterator[int]:
    made = os.memfd_create("page")
    yield made
    os.close(made)


def settle(page: int, deaths: Deaths) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    LEFT["settle"](page, null, null, deaths)
    os.close(null)


def read_on(page: int, bytes_read: int) -> None:
    """What a host does that gets to something of its client's."""
    os.ftruncate(page, LEFT["SIZE"])
    os.pwrite(page, LEFT["MAGIC"], 0)
    os.pwrite(page, LEFT["INPUT"].pack(bytes_read, 0, 0, 0, 0), LEFT["INPUT_AT"])


def test_hosts_that_die_in_a_row_with_nothing_done_are_bounded(page: int) -> None:
    deaths: Deaths = []
    for _ in range(IN_A_ROW - 1):
        settle(page, deaths)
    with pytest.raises(front.NoHost, match=f"{IN_A_ROW} hosts have died in a row"):
        settle(page, deaths)


def test_a_client_whose_hosts_get_on_has_as_many_as_it_needs(page: int) -> None:
    deaths: Deaths = []
    for turn in range(3 * IN_A_ROW):
        read_on(page, turn)
        settle(page, deaths)
        assert len(deaths) == 1


def test_a_host_that_lived_for_a_while_begins_a_new_row(page: int) -> None:
    deaths: Deaths = []
    for _ in range(3 * IN_A_ROW):
        settle(page, deaths)
        assert len(deaths) == 1
        deaths[-1] = (deaths[-1][0] - IN_A_ROW_S - 1, deaths[-1][1])


PROGRAM = """
import os, socket, sys
from rlm_kernel_mcp.front import front

def attach(*_):
    ours, theirs = socket.socketpair()
    theirs.close()
    connections.append(ours)
    return ours

def ours(name, real=front.ours):
    if name != "becoming":
        return real(name)
    def become_server(argv, reason, handed=()):
        print(len(connections), reason)
        sys.stdout.flush()
        return 7
    return {"become_server": become_server}

connections = []
front.attach, front.ours = attach, ours
sys.argv[1:] = []
os._exit(front.main())
"""


def test_a_front_whose_hosts_die_in_a_row_becomes_the_server_and_says_why(tmp_path: Any) -> None:
    env = {**os.environ, "RLM_HOST": "auto", "RLM_STATE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith(f"{IN_A_ROW} the host has ended, and there is no other: {IN_A_ROW} hosts have died")
