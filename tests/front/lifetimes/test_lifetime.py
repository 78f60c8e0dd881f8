"""How a host begins, ends, and is found again; who comes at the edge is served."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from rlm_kernel_mcp.front import front
from tests.front.hosts import HERE, Hosts
from tests.front.lifetimes.edges import edges
from tests.front.lifetimes.installation import Installation

pytestmark = pytest.mark.slow

EDGES = 20


def test_a_host_ends_when_nobody_has_used_it_for_a_while_and_leaves_nothing(hosts: Hosts) -> None:
    hosts.env["RLM_HOST_IDLE_S"] = "0"
    client = hosts.client()
    client.initialize()
    session_id = client.open_session()
    client.run(session_id, "x = 41")
    (pid,) = hosts.everyone()
    client.end()
    hosts.wait_for_end(pid)
    assert {path.suffix for path in hosts.sockets.iterdir()} == {".log"}
    again = hosts.client("again")
    again.initialize()
    assert again.run(session_id, "x + 1")["result"] == "42"


def test_who_comes_as_a_host_ends_is_served(hosts: Hosts) -> None:
    hosts.env["RLM_HOST_IDLE_S"] = "0"
    edges(hosts, EDGES, random.Random(EDGES))


def test_a_host_that_was_killed_is_followed_by_another(hosts: Hosts) -> None:
    client = hosts.client()
    client.initialize()
    session_id = client.open_session()
    client.run(session_id, "x = 41")
    hosts.wait_until_kept(session_id, client)
    client.end()
    (pid,) = hosts.everyone()
    os.kill(pid, signal.SIGKILL)
    hosts.wait_for_end(pid)
    assert Path(hosts.place.socket).is_socket()
    again = hosts.client("again")
    again.initialize()
    assert again.run(session_id, "x + 1")["result"] == "42"
    assert HERE not in again.log.read_text(encoding="utf-8")


def test_a_host_that_is_killed_before_it_listens_is_followed_by_another(hosts: Hosts, tmp_path: Path) -> None:
    """By whatever ends the largest process of a machine without memory, for example."""
    installation, begun = Installation(tmp_path / "installation"), tmp_path / "begun"
    main = installation.package / "host" / "main.py"
    before = "    seat = Seat("
    dies = f"    place = {str(begun)!r}\n    os.path.exists(place) or os.mkdir(place) or os.kill(os.getpid(), 9)\n"
    text = main.read_text("utf-8")
    assert text.count(before) == 1
    main.unlink()
    main.write_text(text.replace(before, dies + before), "utf-8")
    hosts.front = installation.front
    client = hosts.client()
    client.initialize()
    assert begun.is_dir()
    assert HERE not in client.log.read_text(encoding="utf-8")
    assert len(hosts.everyone()) == 1


def test_a_host_whose_socket_was_cleaned_away_is_found_again(hosts: Hosts) -> None:
    first, second = hosts.client("a"), hosts.client("b")
    first.initialize()
    second.initialize()
    (pid,) = hosts.everyone()
    Path(hosts.place.socket).unlink()
    first.end()  # each change of its clients is a reason to look
    third = hosts.client("c")
    third.initialize()
    assert hosts.everyone() == [pid]


def test_a_host_whose_lock_was_taken_away_keeps_its_clients_and_takes_no_other(hosts: Hosts) -> None:
    first, second = hosts.client("a"), hosts.client("b")
    first.initialize()
    second.initialize()
    (pid,) = hosts.everyone()
    Path(hosts.place.lock).unlink()
    first.end()
    hosts.wait_until_unfound(second)
    third = hosts.client("c")
    third.initialize()
    assert len(hosts.everyone()) == 2
    assert "result" in second.request("ping")
    second.end()
    hosts.wait_for_end(pid)
    assert "result" in third.request("ping")


def test_a_host_that_cannot_begin_is_not_tried_for_ever(hosts: Hosts) -> None:
    hosts.env["RLM_HOST_DIR"] = str(hosts.directory / ("long" * 40))
    client = hosts.client()
    client.initialize()
    assert "none can be started" in client.logged(HERE)


@pytest.mark.parametrize("kind", ["link", "open to others", "a file"])
def test_a_directory_that_is_not_ours_alone_is_left_as_it_is(hosts: Hosts, kind: str) -> None:
    place = hosts.directory / "place"
    if kind == "link":
        place.symlink_to(hosts.sockets)
    elif kind == "a file":
        place.touch()
    else:
        place.mkdir(mode=0o755)
    before = place.lstat()
    hosts.env["RLM_HOST_DIR"] = str(place)
    client = hosts.client()
    client.initialize()
    assert "is not a directory of this user alone" in client.logged(HERE)
    assert (place.lstat().st_ino, place.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert hosts.everyone() == []


def test_what_lies_at_a_socket_s_place_is_not_removed(hosts: Hosts) -> None:
    Path(hosts.place.socket).write_text("something of the user's", encoding="ascii")
    client = hosts.client()
    client.initialize()
    assert "is not a socket of this user" in client.logged(HERE)
    assert Path(hosts.place.socket).read_text(encoding="ascii") == "something of the user's"


def test_a_host_has_the_confinement_and_the_records_of_its_clients_and_nothing_else_of_the_first(hosts: Hosts) -> None:
    client = hosts.client(env={"SECRET_OF_THE_FIRST": "1", "TMPDIR": str(hosts.directory), "RLM_IMPORTS": "sqlite3"})
    client.initialize()
    (pid,) = hosts.everyone()
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    assert not any(name in environ for name in (b"SECRET_OF_THE_FIRST", b"TMPDIR", b"RLM_IMPORTS"))
    assert front.confinement(pid) == front.confinement("self")
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
