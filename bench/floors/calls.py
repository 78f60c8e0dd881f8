"""What a call of a program's function takes at the least, beside ours: JSON, its checks and the hand-overs alone.

Is: a process that calls as a kernel does and one that answers, with the frames and the checks of `kernel/untrusted/`,
without limits, clock, step or trace: by a thread that reads and calls, by an event loop and a thread, and by way of
another process. Is not: a bar (`bench/bars/host_functions.py`).
"""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench.bars.host_functions import TIMED, plain, session_of
from bench.bars.subcalls import echoed
from bench.measure import Amounts, Figures, Row
from rlm_kernel_mcp.kernel.untrusted.question_frames import Ask, QuestionReader
from rlm_kernel_mcp.kernel.untrusted.values import plain_json, plain_object
from rlm_kernel_mcp.session.answering.questions import Answered
from rlm_kernel_mcp.session.asking.sending import framed, row_of

CALLER = """
import itertools, json, socket, sys, time
wire, ids, took = socket.socket(fileno=int(sys.argv[1])), itertools.count(1), []
written = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
def call(**args):
    ask = {"step": "1", "opts": {"batch": 0, "kind": "function"}, "items": [[next(ids), "plain", written(args)]]}
    data = written({"ask": ask}).encode()
    wire.send(len(data).to_bytes(4, "big") + data)
    return json.loads(json.loads(wire.recv(65536)[4:])["got"][0][2])
for n in range(int(sys.argv[2])):
    begin = time.perf_counter()
    call(n=n, text="x" * 150)
    took.append((time.perf_counter() - begin) * 1e6)
print(sorted(took)[len(took) // 2])
"""
"""A kernel, as far as a call goes: it asks, and reads its answer itself."""
_written = json.JSONEncoder(separators=(",", ":")).encode
Took = Callable[[int], Awaitable[float]]


def _asked(reader: QuestionReader, data: bytes) -> tuple[int, str]:
    """The call in a frame: its number and its arguments, looked at and written anew."""
    reader.feed(data)
    frame = reader.next_frame()
    assert isinstance(frame, Ask)
    (item,) = frame.items
    return item.id, plain_object(item.text or "")


def _called(arguments: str) -> str:
    return _written(plain(**json.loads(arguments)))


def _answer(number: int, text: str) -> bytes:
    return framed([row_of(number, Answered(plain_json(text)))])


async def _timed(theirs: socket.socket, count: int) -> float:
    """The median of so many calls, in us."""
    with theirs:
        argv = [sys.executable, "-I", "-c", CALLER, str(theirs.fileno()), str(count)]
        child = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()])
    said, _ = await child.communicate()
    return float(said)


async def by_a_thread(count: int) -> float:
    """One thread reads, calls and answers: two hand-overs, as an echo has."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        reader = QuestionReader()
        while data := ours.recv(1 << 16):
            number, arguments = _asked(reader, data)
            ours.send(_answer(number, _called(arguments)))

    with ours:
        thread = threading.Thread(target=serve)
        thread.start()
        median = await _timed(theirs, count)
        await asyncio.to_thread(thread.join)
    return median


async def by_a_loop(count: int) -> float:
    """A loop reads and looks, a thread calls and answers: three hand-overs."""
    ours, theirs = socket.socketpair()
    loop, reader = asyncio.get_running_loop(), QuestionReader()
    asked: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()

    def serve() -> None:
        while (one := asked.get()) is not None:
            ours.send(_answer(one[0], _called(one[1])))

    def read() -> None:
        if data := ours.recv(1 << 16):
            asked.put(_asked(reader, data))
        else:
            loop.remove_reader(ours)

    with ours:
        thread = threading.Thread(target=serve)
        thread.start()
        loop.add_reader(ours, read)
        median = await _timed(theirs, count)
        loop.remove_reader(ours)
        asked.put(None)
        await asyncio.to_thread(thread.join)
    return median


PROGRAM = """
import asyncio, queue, socket, sys, threading
from bench.floors.calls import served
asyncio.run(served(socket.socket(fileno=int(sys.argv[1]))))
"""


async def served(wire: socket.socket) -> None:
    """A program: its loop reads what a host asks, and a thread calls and answers."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            one = asked.get()
            wire.send(_written({"gave": one["call"], "text": _called(one["arguments"])}).encode())

    def read() -> None:
        if data := wire.recv(1 << 16):
            asked.put(json.loads(data))
        else:
            over.set()

    threading.Thread(target=serve, daemon=True).start()
    loop.add_reader(wire, read)
    await over.wait()


async def by_a_host(count: int) -> float:
    """This loop is a host's: it looks at what goes to a program and at what comes back; five hand-overs."""
    ours, theirs = socket.socketpair()
    mine, program = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    loop, reader = asyncio.get_running_loop(), QuestionReader()

    def from_kernel() -> None:
        if data := ours.recv(1 << 16):
            number, arguments = _asked(reader, data)
            mine.send(_written({"call": number, "name": "plain", "arguments": arguments}).encode())
        else:
            loop.remove_reader(ours)

    def from_program() -> None:
        said = json.loads(mine.recv(1 << 16))
        ours.send(_answer(said["gave"], said["text"]))

    with ours, mine:
        with program:
            argv = [sys.executable, "-c", PROGRAM, str(program.fileno())]
            child = await asyncio.create_subprocess_exec(*argv, pass_fds=[program.fileno()])
        loop.add_reader(ours, from_kernel)
        loop.add_reader(mine, from_program)
        median = await _timed(theirs, count)
        loop.remove_reader(ours)
        loop.remove_reader(mine)
    await child.wait()
    return median


async def calls(amounts: Amounts) -> list[Row]:
    """All ways in turn, each beside the echo of its round."""
    count = 20 if amounts.smoke else 400
    with ExitStack() as ends:
        sessions = {host: ends.enter_context(await asyncio.to_thread(session_of, host)) for host in ("off", "required")}

        async def ours(host: str, calls: int) -> float:
            code = TIMED.replace("__NAME__", "plain").replace("__COUNT__", str(calls))
            report = await asyncio.to_thread(sessions[host].run, code)
            return float((report.result or "").strip("()").split(",")[0])

        async def echo(calls: int) -> float:
            return (await echoed(calls))[0]

        ways: dict[str, Took] = {
            "the least: a thread reads, calls and answers": by_a_thread,
            "the least: a loop reads, a thread calls and answers": by_a_loop,
            "host_call in the program's process": partial(ours, "off"),
            "the least by way of a host": by_a_host,
            "host_call by way of a host": partial(ours, "required"),
        }
        for way in ways.values():
            await way(20)
        samples: dict[str, list[float]] = {what: [] for what in ways}
        bare: list[float] = []
        for _ in range(amounts.times(9)):
            bare.append(await echo(count))
            for what, way in ways.items():
                samples[what].append(await way(count))
    against = Figures(tuple(bare))
    return [
        Row(f"{what}: median", Figures(tuple(found)), "a bare socket pair's echo: median", against, "us")
        for what, found in samples.items()
    ]
