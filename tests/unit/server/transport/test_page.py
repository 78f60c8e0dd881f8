"""A host that is killed at any moment leaves a page by which every request gets a true answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.types import INTERNAL_ERROR, INVALID_REQUEST

from rlm_kernel_mcp.front import left
from rlm_kernel_mcp.server.transport.page import Page
from tests.parts import ROOT
from tests.sessions import WAIT_S
from tests.unit.server.transport.clients import Client, served
from tests.unit.server.transport.killed_hosts import CASES, INITIALIZE

pytestmark = pytest.mark.anyio


@pytest.fixture
def memfd() -> Iterator[int]:
    descriptor = os.memfd_create("a page", os.MFD_CLOEXEC)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def page(memfd: int) -> Iterator[Page]:
    with contextlib.closing(Page(memfd)) as page:
        yield page


def settled(memfd: int) -> tuple[list[Any], str]:
    """What a front says of a page, to its client and on stderr: by a Python that has nothing but its library."""
    (out_read, out), (err_read, err) = os.pipe(), os.pipe()
    program = f"names = {{}}; exec(compile(open({left.__file__!r}).read(), 'left.py', 'exec'), names); "
    program += f"names['settle']({memfd}, {out}, {err})"
    subprocess.run([sys.executable, "-I", "-S", "-c", program], pass_fds=(memfd, out, err), check=True, timeout=WAIT_S)
    os.close(out)
    os.close(err)
    with os.fdopen(out_read) as answers, os.fdopen(err_read) as said:
        return [json.loads(line) for line in answers], said.read()


def lives(case: str) -> Iterator[dict[str, Any]]:
    """What became of every request, for each moment at which the host was killed."""
    program = [sys.executable, "-m", "tests.unit.server.transport.killed_hosts", case]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    return (json.loads(line) for line in ended.stdout.splitlines())


def asked_in(said: bytes) -> list[Any]:
    bodies = [json.loads(line) for line in said.splitlines() if line]
    return [body["id"] for body in (one[0] if isinstance(one, list) else one for one in bodies) if "id" in body]


SHORT, REFUSED = "short", "refused"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_request_gets_one_true_answer_and_is_served_at_most_once(case: str) -> None:
    """Killed before each call to the operating system in turn, and followed by another host on the same pipes."""
    moments = 0
    for became in lives(case):
        moments += 1
        answers: dict[Any, list[Any]] = {request_id: [] for request_id in asked_in(CASES[case])}
        for line in became["lines"]:
            answer = json.loads(line)
            if answer not in answers[answer["id"]]:
                answers[answer["id"]].append(answer)
        served = [one for one in became["served"] if one != INITIALIZE]
        assert len(served) == len(set(served)), became["moment"]
        assert became["said"] == [""], became["moment"]
        for request_id, found in answers.items():
            assert len(found) == 1, (became["moment"], request_id, found)
            if "error" in found[0]:
                if case == REFUSED and found[0]["error"]["code"] == INVALID_REQUEST:
                    assert request_id in (1.5, 2)
                    continue
                assert found[0]["error"]["code"] == INTERNAL_ERROR
                assert ("may have run" in found[0]["error"]["message"]) or request_id not in served
            else:
                assert found[0]["result"]["of"] == request_id
                assert case != REFUSED or request_id in (0, 3)
    assert moments > 15


def test_a_line_that_was_half_written_is_finished_with_its_own_bytes() -> None:
    """The client had not read; when it does, the answers are there, and none of them is cut."""
    (became,) = lives("blocked")
    answers = {answer["id"]: answer for answer in map(json.loads, became["lines"])}
    assert sorted(answers) == [0, 1, 2, 3]
    assert len(became["lines"]) == 4
    assert len(answers[1]["result"]["text"]) == 60_000
    assert became["said"] == [""]


async def test_the_next_host_knows_its_client_without_being_told_again(memfd: int) -> None:
    """A client says `initialize` once; its answer is not written twice."""
    client = Client("pipes")
    first = asyncio.create_task(client.serve(page=memfd))
    await client.begin()
    assert await client.ask("ping") == {}
    first.cancel()
    await asyncio.wait([first], timeout=WAIT_S)
    left.settle(memfd, client.server_out, client.server_err)
    second = asyncio.create_task(client.serve(page=memfd))
    assert (await client.ask("tools/list"))["tools"]
    client.end_input()
    await asyncio.wait([second], timeout=WAIT_S)
    assert second.done()
    client.close()


def test_an_initialize_that_is_too_long_is_kept_in_what_matters(memfd: int, page: Page) -> None:
    """Its version and who its client is."""
    info = {"name": "n" * 9_000, "version": "1", "icons": ["x" * 9_000]}
    page.keep_hello({"protocolVersion": "2025-06-18", "capabilities": {"a": {}}, "clientInfo": info})
    with contextlib.closing(Page(memfd)) as next_page:
        kept = {"name": "n" * 200, "version": "1"}
        assert next_page.hello() == {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": kept}


def test_ids_that_have_no_place_are_counted_and_said(memfd: int, page: Page) -> None:
    """Too long ones, and more than there are slots; none is passed over in silence."""
    slots = page.note(["x" * 300, *range(left.SLOTS + 5)], 0)
    assert slots.count(None) == 6
    page.free([slots[0], slots[1]])
    answers, said = settled(memfd)
    assert [answer["id"] for answer in answers] == list(range(1, left.SLOTS))
    assert {answer["error"]["code"] for answer in answers} == {-32603}
    assert "rlm_get_trace" in answers[0]["error"]["message"]
    assert (
        said
        == "rlm-kernel-mcp: requests that cannot be answered, since their ids are too long or they were too many: 5\n"
    )
    assert settled(memfd) == ([], "")


def test_a_page_of_another_version_is_left_alone_and_that_is_said(memfd: int) -> None:
    """An old front may meet a newer host's."""
    os.pwrite(memfd, b"rlm-page-9" + b"x" * 100, 0)
    answers, said = settled(memfd)
    assert answers == []
    assert "another version" in said
    with contextlib.closing(Page(memfd)) as page:
        assert page.left_over() == (0, b"")


def test_a_client_that_has_closed_its_stdout_leaves_a_page_for_the_next_host(memfd: int, page: Page) -> None:
    """Its front goes on: what was in flight is over, and nobody can be told."""
    page.note([1], 0)
    page.begin(b"{}\n")
    reading, writing = os.pipe()
    os.close(reading)
    left.settle(memfd, writing, writing)
    os.close(writing)
    assert settled(memfd) == ([], "")


@pytest.mark.parametrize("kind", ["pipe", "file", "read only"])
def test_what_is_no_memfd_is_refused(kind: str, tmp_path: Path) -> None:
    """A write to anything else might wait, or end up on a disk."""
    reading, writing = os.pipe()
    memfd = os.memfd_create("a page")
    with (tmp_path / "file").open("w+b") as file, open(f"/proc/self/fd/{memfd}", "rb") as read_only:  # noqa: PTH123
        descriptor = {"pipe": writing, "file": file.fileno(), "read only": read_only.fileno()}[kind]
        with pytest.raises(OSError, match=r"\[Errno"):
            Page(descriptor)
    for one in (reading, writing, memfd):
        os.close(one)


@pytest.mark.parametrize(
    "damage",
    [
        lambda memfd: os.pwrite(memfd, b"\xff" * 64, left.INPUT_AT),
        lambda memfd: os.pwrite(memfd, left.INPUT.pack(0, 0, 9, 3, 0), left.INPUT_AT),
        lambda memfd: os.pwrite(memfd, left.HELLO.pack(10_000) + b"[" * 10_000, left.HELLO_AT),
        lambda memfd: os.pwrite(memfd, left.INPUT.pack(0, 1, 0, 65_536, 77), left.INPUT_AT),
        lambda memfd: os.ftruncate(memfd, 10),
    ],
    ids=["numbers beyond all bounds", "more done than read", "no JSON", "a stage that there is not", "cut off"],
)
async def test_a_page_that_a_client_has_damaged_harms_that_client_alone(memfd: int, damage: Any) -> None:
    """Its neighbour is served on; what maps the page lives, whatever the page has become."""
    page = Page(memfd)
    page.close()
    damage(memfd)
    neighbour, client = Client("pipes"), Client("pipes")
    async with served(neighbour):
        await neighbour.begin()
        serving = asyncio.create_task(client.serve(page=memfd))
        client.send("ping")
        os.ftruncate(memfd, 0)
        client.end_input()
        await asyncio.wait([serving], timeout=WAIT_S)
        assert serving.done()
        assert serving.exception() is None or isinstance(serving.exception(), OSError | ExceptionGroup)
        assert await neighbour.ask("ping") == {}
    client.close()
