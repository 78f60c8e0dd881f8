"""A kernel that does with its channel what it likes: it ends itself, or wastes its own questions, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest

from rlm_kernel_mcp.questions_wire import BATCH_MAX, FRAME_ITEMS_MAX
from rlm_kernel_mcp.session.answering.questions import Answered
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.asking.conftest import Pair, answered_by
from tests.kernel.asking.scripted import ScriptedBoard, nothing
from tests.sessions import SessionDriver, end_session, until

pytestmark = pytest.mark.anyio

RAW: Final = """
import gc, json, os, socket, threading, time
asking = next(one for one in gc.get_objects() if type(one).__name__ == "Channel" and hasattr(one, "_outgoing"))
fd, step, opts = asking._socket.fileno(), asking._step_of(), {"batch": 1}

def frame(said):
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return len(data).to_bytes(4, "big") + data

def write(data):
    while data:
        data = data[os.write(fd, data):]

def ask(*items):
    return frame({"ask": {"step": step, "opts": opts, "items": list(items)}})
"""
FOR_EVER: Final = "\nthreading.Event().wait()"
ENDS: Final = {
    "garbage": "write(b'\\xff' * 1000)",
    "a frame of 2 GB": "write((2**31).to_bytes(4, 'big'))",
    "what is no JSON": "write(frame(b'nope'))",
    "JSON of any depth": "write(frame(b'[' * 100_000))",
    "a number of any length": "write(frame(b'{\"budget\": ' + b'9' * 100_000 + b'}'))",
    "another shape": "write(frame({'ask': 5}))",
    "an id for the second time": "write(ask([1_000, 'p', None]) + ask([1_000, 'p', None]))",
    "an answer to itself": "write(frame({'got': [[1, True, 'yes']]}))",
    "the cancelling of what cannot be asked": "write(frame({'cancel': [0]}))",
    "a lone surrogate": "write(ask([1_000, '\\ud800', None]))",
}


@pytest.fixture
async def hostile(any_registry: Registry) -> AsyncIterator[Pair]:
    """A session whose code may import everything."""
    board = ScriptedBoard()
    with answered_by(any_registry, board):
        session = await SessionDriver.open(any_registry)
    yield Pair(session, board.of[session.session_id])
    await end_session(session)


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS.keys())
async def test_what_is_no_frame_ends_the_kernel_with_the_reason(hostile: Pair, code: str) -> None:
    """And the session goes on with another, which asks as the one before did."""
    report = await hostile.session.run(f"{RAW}{code}{FOR_EVER}")
    assert (report.status, hostile.answers.open) == ("kernel_died", {})
    assert report.lost is not None
    assert "on the channel of its questions" in report.lost.reason
    assert (await hostile.session.ok("llm_query('p')")).result == "'p|None'"


async def test_a_question_for_another_request_is_not_asked(hostile: Pair) -> None:
    """Whichever it names: nobody hears of it."""
    code = """
step = "another"
write(ask([1_000, "forged", None]))
asking._ids = __import__("itertools").count(2_000)
llm_query("honest")
"""
    assert (await hostile.session.ok(RAW + code)).result == "'honest|None'"
    assert [one.prompt for one in hostile.answers.asked] == ["honest"]


async def test_nothing_can_be_passed_out_over_the_channel_nor_another_one_made(hostile: Pair) -> None:
    """The walls are what they are without it."""
    code = """
said = []
for tried in (
    lambda: socket.send_fds(asking._socket, [b"x"], [0]),
    lambda: asking._socket.sendmsg([b"x"]),
    lambda: socket.socket(),
    lambda: socket.socket(socket.AF_UNIX),
    lambda: asking._socket.connect("/tmp/x"),
    lambda: asking._socket.accept(),
):
    try: said.append(tried())
    except OSError as error: said.append(error.errno)
said
"""
    report = await hostile.session.ok(RAW + code)
    assert report.result is not None
    refused = {number.strip() for number in report.result.strip("[]").split(",")}
    assert refused <= {"1", "13", "22", "95", "106"}


@pytest.mark.parametrize("code", ["os.close(fd)", "asking._socket.shutdown(2)"])
async def test_a_channel_that_is_closed_is_gone(hostile: Pair, code: str) -> None:
    """What waits then, and is asked after that, fails; the kernel goes on."""
    tries = """
said = []
for _ in range(2):
    try: llm_query("p")
    except SubcallError as error: said.append(error.code)
said
"""
    assert (await hostile.session.ok(f"{RAW}{code}{tries}")).result == "['gone', 'gone']"
    assert hostile.answers.open == {}
    assert (await hostile.session.ok("1 + 1")).result == "2"


async def test_a_second_reader_takes_answers_from_its_own_session_alone(hostile: Pair) -> None:
    """The step waits for what it has thrown away, until it is stopped."""
    hostile.answers.rule = lambda one: Answered("x" * 100_000)
    code = """
def steal():
    while True: os.read(fd, 1)
threading.Thread(target=steal, daemon=True).start()
while True: llm_query("p")
"""
    report = await hostile.session.run(RAW + code, timeout_ms=500)
    assert report.status in ("timeout", "kernel_died", "error")
    assert (await hostile.session.run("1 + 1")).status in ("ok", "kernel_died")
    assert hostile.answers.open == {}


async def test_a_flood_of_questions_waits_in_the_kernel(hostile: Pair, any_registry: Registry) -> None:
    """No more of them are open than may be, and another session is served meanwhile."""
    hostile.answers.rule = nothing
    code = """
number = 1_000
while True:
    write(ask(*([number + at, "p" * 1_000, None] for at in range(64))))
    number += 64
"""
    begun = await hostile.session.begin(RAW + code)
    await hostile.answers.until_open(BATCH_MAX)
    other = await SessionDriver.open(any_registry)
    assert (await other.ok("6 * 7")).result == "42"
    await end_session(other)
    assert len(hostile.answers.open) <= BATCH_MAX + FRAME_ITEMS_MAX
    await hostile.session.interrupt()
    report = await hostile.session.end_of(begun.step_index)
    assert report.status in ("interrupted", "kernel_died")
    await until(lambda: hostile.answers.open == {})  # thousands are ended in portions


@pytest.mark.parametrize(
    "code",
    [
        "write(ask([1_000, 'p', None]))\nwhile True: write(frame({'cancel': [1_000]}))",
        "number = 1_000\nwhile True:\n    write(frame({'budget': number}))\n    number += 1",
    ],
    ids=["cancels", "budgets that are not read"],
)
async def test_a_flood_of_anything_else_ends_with_its_step(hostile: Pair, code: str) -> None:
    """Answers that nobody reads wait in bounds, and the rest in the kernel."""
    hostile.answers.rule = nothing
    report = await hostile.session.run(f"{RAW}{code}", timeout_ms=500)
    assert report.status in ("timeout", "kernel_died")
    await until(lambda: hostile.answers.open == {})
    assert (await hostile.session.run("1 + 1")).status in ("ok", "kernel_died")
