"""Comes in at a host's door as a front does, under a front's command line, and hands over what a front never would.

hostile_front.py JSON: {"kind", "socket", "said": [version, package, state, variables...], "shows": a front's command
line, "root"}. Prints as JSON what the host said, and what came of a request.
"""

import array
import contextlib
import ctypes
import json
import os
import random
import resource
import select
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

WAIT_S = 60
PING = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n'
SEALS, SHRINK, GROW, WRITE = 1033, 2, 4, 8
Found = dict[str, Any]


def show(command: list[str]) -> None:
    """Have this command line in /proc, where every process can write its own."""
    with open("/proc/self/stat", encoding="ascii") as file:
        start, end = (int(word) for word in file.read().rpartition(")")[2].split()[45:47])
    line = "\0".join([*command, ""]).encode()
    assert len(line) < end - start, "the real command line is too short"
    ctypes.memmove(start, line.ljust(end - start - 1, b"\0") + b"\0", end - start)


class Visit:
    """One connection to the host, up to the point where it serves."""

    def __init__(self, order: dict[str, str]) -> None:
        self.order = order
        self.peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.peer.settimeout(WAIT_S)
        while True:
            try:
                self.peer.connect(order["socket"])
            except BlockingIOError:  # as many wait there as may
                continue
            return

    def secret(self) -> bytes:
        """Let the host look at us; returns what we see of it."""
        own = os.memfd_create("rlm-0123456789abcdef")
        self.peer.send(b"rlm-host 1\0hello\0%d" % own)
        answer = self.peer.recv(4096).split(b"\0")
        os.close(own)
        if answer[1] == b"no":
            raise ConnectionRefusedError(answer[2].decode())
        pid = int.from_bytes(self.peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
        return os.readlink(f"/proc/{pid}/fd/{int(answer[3])}")[11:43].encode()

    def hand_over(self, descriptors: list[int]) -> None:
        """Ask to be served. Raises: ConnectionRefusedError, with the host's reason."""
        said = [b"rlm-host 1", b"serve", self.secret(), *map(os.fsencode, self.order["said"])]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self.peer.sendmsg([b"\0".join(said)], rights)
        answer = self.peer.recv(4096).split(b"\0")
        if answer[1:2] != [b"served"]:
            raise ConnectionRefusedError(answer[2].decode() if len(answer) > 2 else "it hung up")
        self.peer.send(b"rlm-host 1\0go")


class Client:
    """What an honest client has, of which an attack exchanges one part."""

    def __init__(self, order: dict[str, str]) -> None:
        self.order = order
        self.theirs_in, self.ours_in = os.pipe()
        self.ours_out, self.theirs_out = os.pipe()
        self.err = os.open(os.devnull, os.O_WRONLY)
        self.page = os.memfd_create("page")
        self.proof = os.open(order["said"][2] + "/host.proof", os.O_RDWR)
        self.cwd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        self.roots = [os.open(order["root"], os.O_RDONLY | os.O_DIRECTORY)]
        self.visit = Visit(order)
        self.number = 0

    def go(self) -> None:
        streams = [self.theirs_in, self.theirs_out, self.err, self.page, self.proof, self.cwd]
        self.visit.hand_over([*streams, *self.roots])

    def say(self, line: bytes) -> None:
        os.write(self.ours_in, line)

    def ping(self) -> str:
        """Whether it is answered, or the connection is over."""
        self.number += 1
        self.say(PING % self.number)
        return self.heard()

    def heard(self) -> str:
        ready, _, _ = select.select([self.ours_out, self.visit.peer.fileno()], [], [], WAIT_S)
        if self.ours_out in ready:
            return "answered" if b'"result"' in os.read(self.ours_out, 1 << 16) else "refused"
        return "ended" if ready else "silent"

    def call(self, tool: str, **arguments: object) -> Found:
        """The result of a tool."""
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        for number, method, params in (
            (1, "initialize", hello),
            (None, "notifications/initialized", {}),
            (2, "tools/call", {"name": tool, "arguments": arguments}),
        ):
            body = {"jsonrpc": "2.0", "method": method, "params": params}
            self.say(json.dumps(body if number is None else {**body, "id": number}).encode() + b"\n")
        with open(self.ours_out, "rb", closefd=False) as lines:
            for line in lines:
                if (message := json.loads(line)).get("id") == 2:
                    found: Found = message["result"]["structuredContent"]
                    return found
        return {}


# Descriptors of the wrong kind. Each exchanges a part, and says which.


def pipe_as_root(client: Client) -> None:
    client.roots = [client.theirs_in]


def place_as_root(client: Client) -> None:
    client.roots = [os.open(client.order["root"], os.O_PATH | os.O_DIRECTORY)]


def place_as_working_directory(client: Client) -> None:
    client.cwd = os.open("/", os.O_PATH | os.O_DIRECTORY)


def file_as_root(client: Client) -> None:
    client.roots = [os.open("/etc/passwd", os.O_RDONLY)]


def memory_as_root(client: Client) -> None:
    client.roots = [client.page]


def socket_as_root(client: Client) -> None:
    client.roots = [client.visit.peer.fileno()]


def no_roots(client: Client) -> None:
    client.roots = []


def sixty_five_roots(client: Client) -> None:
    client.roots *= 65


def as_many_descriptors_as_fit(client: Client) -> None:
    client.roots *= 247


def another_file_as_proof(client: Client) -> None:
    with tempfile.TemporaryDirectory() as directory:
        client.proof = os.open(directory + "/host.proof", os.O_RDWR | os.O_CREAT)


def proof_for_reading(client: Client) -> None:
    client.proof = os.open(client.order["said"][2] + "/host.proof", os.O_RDONLY)


def place_as_proof(client: Client) -> None:
    client.proof = os.open(client.order["said"][2] + "/host.proof", os.O_PATH)


def pipe_as_page(client: Client) -> None:
    client.page = client.theirs_in


def file_as_page(client: Client) -> None:
    with tempfile.TemporaryFile(dir="/tmp") as file:
        client.page = os.dup(file.fileno())


def sealed_page(client: Client) -> None:
    client.page = os.memfd_create("page", os.MFD_ALLOW_SEALING)
    _seal(client.page, SHRINK | GROW | WRITE)


def counter_as_stdin(client: Client) -> None:
    client.theirs_in = os.eventfd(0)


def full_counter_as_stdout(client: Client) -> None:
    """Who writes there more than it takes waits until somebody reads."""
    client.theirs_out = os.eventfd(0)
    os.write(client.theirs_out, (2**64 - 3).to_bytes(8, sys.byteorder))


def full_counter_as_stderr(client: Client) -> None:
    client.err = os.eventfd(0)
    os.write(client.err, (2**64 - 3).to_bytes(8, sys.byteorder))


def poll_as_stdin(client: Client) -> None:
    poll = select.epoll()
    client.theirs_in = os.dup(poll.fileno())


def directory_as_stdin(client: Client) -> None:
    client.theirs_in = client.cwd


def listener_as_stdin(client: Client) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0rlm-attack-{os.getpid()}")
    listener.listen()
    client.theirs_in = listener.detach()


def ends_exchanged(client: Client) -> None:
    client.theirs_in, client.theirs_out = client.theirs_out, client.theirs_in


# A page that changes while the host uses it.


def _seal(page: int, seals: int) -> None:
    import fcntl

    fcntl.fcntl(page, SEALS, seals)


def _disturbed(client: Client, disturb: Callable[[int], object]) -> Found:
    client.go()
    found: dict[str, int] = {}
    for _ in range(50):
        disturb(client.page)
        try:
            outcome = client.ping()
        except BrokenPipeError:
            outcome = "ended"
        found[outcome] = found.get(outcome, 0) + 1
        if outcome != "answered":
            break
    return found


def page_cut_off(client: Client) -> Found:
    return _disturbed(client, lambda page: os.ftruncate(page, 0))


def page_cut_in_the_middle(client: Client) -> Found:
    return _disturbed(client, lambda page: os.ftruncate(page, 160_000))


def page_written_at_random(client: Client) -> Found:
    chance = random.Random(7)

    def disturb(page: int) -> None:
        for _ in range(20):
            os.pwrite(page, chance.randbytes(chance.randrange(1, 300)), chance.choice([0, 16, 64, 96, 4096, 151552]))

    return _disturbed(client, disturb)


def page_sealed_later(client: Client) -> Found:
    client.page = os.memfd_create("page", os.MFD_ALLOW_SEALING)
    return _disturbed(client, lambda page: _seal(page, 0x10))  # F_SEAL_FUTURE_WRITE


def page_resized_all_the_time(client: Client) -> Found:
    ends = threading.Event()

    def resize() -> None:
        while not ends.is_set():
            with contextlib.suppress(OSError):
                os.ftruncate(client.page, random.choice([0, 16, 70, 4_096, 100_000, 151_552, 200_000, 1 << 40]))

    threading.Thread(target=resize, daemon=True).start()
    try:
        return _disturbed(client, lambda _page: None)
    finally:
        ends.set()


def page_that_another_host_left(client: Client) -> Found:
    """Of which nothing is true."""
    chance = random.Random(11)
    os.pwrite(client.page, b"rlm-page-1\0\0\0\0\0\0" + chance.randbytes(300_000), 0)
    return _disturbed(client, lambda _page: None)


def page_that_ends_in_its_header(client: Client) -> Found:
    os.pwrite(client.page, b"rlm-page-1\0\0\0\0\0\0", 0)
    return page_resized_all_the_time(client)


# What is asked by way of what was handed over.


def proc_as_root(client: Client) -> Found:
    client.roots = [os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)]
    client.go()
    return client.call("rlm_init_context", context_paths=["/proc/self/environ"])


def descriptors_as_root(client: Client) -> Found:
    client.roots = [os.open(f"/proc/{os.getpid()}/fd", os.O_RDONLY | os.O_DIRECTORY)]
    client.go()
    return client.call("rlm_init_context", context_paths=[f"/proc/{os.getpid()}/fd/0"])


def confined_after_the_handshake(client: Client) -> Found:
    """It keeps what it had, and gets nothing more."""
    client.go()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    if os.getuid() == 0:
        assert libc.unshare(0x00020000 | 0x40000000) == 0
        os.chroot(client.order["root"])
        os.chdir("/")
    return client.call("rlm_init_context", context_paths=["/etc/passwd"])


# The handshake itself.


def says_more_than_it_may(client: Client) -> Found:
    """A gigabyte in messages that are allowed; the host reads two of them."""
    client.visit.peer.settimeout(0.2)
    sent, piece = 0, b"rlm-host 1\0" + bytes(100_000)
    with contextlib.suppress(OSError):
        while sent < 1 << 30:
            sent += client.visit.peer.send(piece)
    return {"within bounds": int(sent < 1 << 27)}


def descriptors_without_end(client: Client) -> Found:
    """In each message as many as the system lets pass, none of which the host wants."""
    told: dict[str, int] = {}
    for _ in range(300):
        visit = Visit(client.order)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [client.cwd] * 253))]
        try:
            visit.peer.sendmsg([b"rlm-host 1\0hello\x000"], rights)
            answer = visit.peer.recv(4096).split(b"\0")[1:2]
        except OSError as error:
            answer = [(error.strerror or "").encode()]
        word = answer[0].decode() if answer else "hung up"
        told[word] = told.get(word, 0) + 1
        visit.peer.close()
    return told


def countless_connections(client: Client) -> Found:
    """As many at a time as it may have open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, hard), hard))
    held, made = [], 0
    for _ in range(int(client.order["count"])):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.setblocking(False)
        try:
            peer.connect(client.order["socket"])
        except BlockingIOError:
            select.select([], [], [], 0)
            peer.close()
            continue
        made += 1
        held.append(peer)
        if len(held) >= 800:
            held.pop(0).close()
    client.visit = Visit(client.order)  # the first one had to make room
    client.go()
    return {"made": made, client.ping(): 1}


def many_with_many_roots(client: Client) -> Found:
    """As many clients as are let in, each with as many roots as it may have; they stay."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    told: dict[str, int] = {}
    for _ in range(int(client.order["count"])):
        one = Client(client.order)
        one.roots *= 64
        KEPT.append(one)
        try:
            one.go()
            word = one.ping()
        except OSError as refusal:
            word = str(refusal)
        told[word] = told.get(word, 0) + 1
    return told


KEPT: list[object] = []


def main() -> None:
    order = json.loads(sys.argv[1])
    show(order["shows"])
    client = Client(order)
    attack = globals()[order["kind"]]
    report: dict[str, object] = {}
    try:
        found = attack(client)
        if found is None:
            client.go()
            found = client.ping()
        report["came of it"] = found
    except ConnectionRefusedError as refusal:
        report["refused"] = str(refusal)
    print(json.dumps(report), flush=True)
    sys.stdin.read()


main()
