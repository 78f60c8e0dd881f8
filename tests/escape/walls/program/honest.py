"""What an honest kernel does inside the walls: before user code, and in it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import json
import mmap
import os
import platform
import queue
import resource
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import zoneinfo
from pathlib import Path
from typing import Any

from tests.escape.walls.program.targets import Targets

INT80: dict[str, Any] = {}
_KEPT: list[Any] = []


def initialize(targets: Targets) -> None:
    """As the kernel app does between the locks: bind a socket, start a thread that serves it; map some code."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(targets.socket_dir + "/s-1")
    listener.listen()
    threading.Thread(target=_echo, args=(listener,), daemon=True).start()
    # As a kernel does: what it inherited is not asked.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(40 + number))
    signal.signal(signal.SIGUSR1, lambda number, _frame: os.write(1, b'"SIGUSR1"\n') and None)
    signal.signal(signal.SIGXCPU, lambda number, _frame: os.write(1, b'"SIGXCPU"\n') and None)
    if platform.machine() == "x86_64":
        _map_int80()


def _map_int80() -> None:
    # mov eax, 20 (i386's getpid); int 0x80; ret. Written, then made executable: stage A forbids both at once only.
    area = mmap.mmap(-1, 4096)
    area.write(bytes.fromhex("b814000000cd80c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(address), 4096, 5) == 0:
        INT80["address"] = address
    _KEPT.append(area)


def _echo(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.send(connection.recv(64))
        connection.close()


def work_with_threads(targets: Targets) -> int:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sum(pool.map(len, ["x"] * 100))


def run_an_event_loop(targets: Targets) -> str:
    async def talk() -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: "answered")

    return asyncio.run(talk())


def receive_a_descriptor(targets: Targets) -> str:
    """On a socket that was inherited; here on both ends of a pair that is made now."""
    ours, theirs = socket.socketpair()
    theirs.send(b"x")
    data, _, _, _ = socket.recv_fds(ours, 16, 4)
    return data.decode()


def read_the_standard_library(targets: Targets) -> str:
    import colorsys  # a module of the standard library that nothing here has imported yet

    return colorsys.__name__


def know_the_time_in_berlin(targets: Targets) -> str:
    return str(zoneinfo.ZoneInfo("Europe/Berlin"))


def interrupt_itself(targets: Targets) -> str:
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(2)
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        signal.signal(signal.SIGINT, previous)
    return "not interrupted"


def wait_on_queues_and_selects(targets: Targets) -> str:
    waiting: queue.Queue[str] = queue.Queue()
    threading.Timer(0, waiting.put, ("put",)).start()
    reader, writer = os.pipe()
    os.write(writer, b"x")
    select.select([reader], [], [], 1)
    return waiting.get(timeout=60)


def write_and_read_scratch(targets: Targets) -> str:
    path = Path(targets.scratch, "honest.txt")
    path.write_text("honest", encoding="utf-8")
    os.makedirs(targets.scratch + "/a/b/c", exist_ok=True)
    os.replace(path, targets.scratch + "/a/b/c/moved.txt")
    with tempfile.NamedTemporaryFile(dir=targets.scratch) as file:
        file.write(b"x")
    Path(targets.scratch, "honest.txt").write_text("honest", encoding="utf-8")
    return Path(targets.scratch, "a/b/c/moved.txt").read_text(encoding="utf-8")


def recurse_deeply(targets: Targets) -> str:
    def down(depth: int) -> int:
        return down(depth + 1)

    try:
        down(0)
    except RecursionError:
        return "ended"
    return "never"


def discard_output(targets: Targets) -> int:
    with open(os.devnull, "w", encoding="utf-8") as null:
        return null.write("x")


def read_the_system_clock_and_random(targets: Targets) -> int:
    time.monotonic()
    return len(os.urandom(8))


def measure_and_know_itself(targets: Targets) -> list[float]:
    """By every name that a process has for itself and its threads."""
    clocks = [~of << 3 | kind for of in (0, os.getpid()) for kind in (0, 1, 2)]
    clocks += [time.pthread_getcpuclockid(thread.ident) for thread in threading.enumerate() if thread.ident]
    assert os.getpgid(0) == os.getpgid(os.getpid()) == os.getpgrp()
    assert os.getsid(0) == os.getsid(os.getpid())
    assert os.sched_getaffinity(0) == os.sched_getaffinity(os.getpid())
    assert resource.getrlimit(resource.RLIMIT_CPU) == resource.prlimit(0, resource.RLIMIT_CPU)
    assert time.clock_getres(time.CLOCK_MONOTONIC) > 0
    return [time.process_time(), time.thread_time(), *(time.clock_gettime(clock) for clock in clocks)]


def know_its_own_limits(targets: Targets) -> str:
    names = ("NOFILE", "FSIZE", "CORE", "MEMLOCK", "MSGQUEUE", "STACK", "AS", "NPROC", "RTPRIO")
    return json.dumps({name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1] for name in names})


def know_who_it_is(targets: Targets) -> str:
    return json.dumps({"uid": os.getuid(), "pid": os.getpid(), "cwd": os.getcwd(), "host": os.uname().nodename})


def wait_for_a_line(targets: Targets) -> str:
    os.write(1, b'"waiting"\n')
    # Python's handler of a signal that comes just before a read runs after it: none may wait for ever.
    while not select.select([0], [], [], 0.05)[0]:
        pass
    return sys.stdin.readline()


def close_its_output_and_wait(targets: Targets) -> str:
    os.close(1)
    return sys.stdin.readline()
