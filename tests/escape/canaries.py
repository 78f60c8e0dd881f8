"""Canaries: a directory, sockets and a process outside the walls, and what happened to them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rlm_kernel_mcp.in_kernel import walls
from tests.mcp.line_client import WAIT_S
from tests.rights import NOBODY

PROGRAM = Path(__file__).parent / "walls" / "program"


def users() -> dict[str, int | None]:
    """The users that a cage can run as: this one, and for root also one without rights."""
    return {"root": None, "nobody": NOBODY} if os.getuid() == 0 else {"user": None}


def python_for(uid: int | None) -> str:
    """A Python that the user can read; root's own may lie in a directory of root's alone."""
    if uid is None or all(path.stat().st_mode & 0o001 for path in Path(os.__file__).parents):
        return sys.executable
    return "/usr/bin/python3"


class Canaries:
    """Made for one user; `hits()` says what was touched since they were made."""

    def __init__(self, uid: int | None) -> None:
        self.uid = uid
        self.root = Path(tempfile.mkdtemp(prefix="rlm-canary-"))
        self.root.chmod(0o755)
        self.token = secrets.token_hex(16)
        self.program = self._copy_program()
        self.directory = self._directory("canary")
        self.file = self.directory / "file"
        self.file.write_text(self.token, encoding="utf-8")
        self._own(self.file)
        self._stack = contextlib.ExitStack()
        self._listeners = self._listen()
        self.peer_token = secrets.token_hex(16)
        self._peer, self.peer_address = self._start_peer()
        self._before = self._fingerprint()
        self._peer_before = self._peer_state()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._peer.stdin is not None
        assert self._peer.stdout is not None
        self._peer.stdin.close()
        self._peer.wait(WAIT_S)
        self._peer.stdout.close()
        self._stack.close()
        shutil.rmtree(self.root)

    def directories(self) -> tuple[Path, Path]:
        """A fresh scratch directory and a fresh sockets directory with a connection file, both of the user's."""
        scratch, sockets = (self._directory(f"{kind}-{secrets.token_hex(4)}") for kind in ("w", "c"))
        connection = sockets / "kernel.json"
        connection.write_text("{}", encoding="utf-8")
        self._own(connection)
        return scratch, sockets

    def targets(self, machine: str) -> dict[str, Any]:
        """What the attacks are told."""
        return {
            "canary_dir": str(self.directory),
            "canary_file": str(self.file),
            "tcp_port": self.tcp_port,
            "udp_port": self.udp_port,
            "stream_path": str(self.root / "stream"),
            "datagram_path": str(self.root / "datagram"),
            "abstract_name": self.abstract_name,
            "peer_pid": self.peer_pid,
            "machine": machine,
        }

    def hits(self, said: str) -> list[str]:
        """Every sign since the last look that something outside was reached, and the tokens that `said` shows."""
        found = [f"{name} was reached" for name, listener in self._listeners.items() if _was_reached(listener)]
        directory, peer = self._fingerprint(), self._peer_state()
        if directory != self._before:
            found.append(f"the canary directory changed: {self._before} -> {directory}")
        if peer != self._peer_before:
            found.append(f"the peer changed: {self._peer_before} -> {peer}")
        for name, token in (("canary's", self.token), ("peer's", self.peer_token)):
            if token in said:
                found.append(f"the {name} token came out")
        self._before, self._peer_before = directory, peer
        return found

    def _copy_program(self) -> Path:
        """The attack program and the walls, in a directory that every user can read, at the places of the checkout."""
        copies = self.root / "program"
        program = copies / "tests" / "escape" / "walls" / "program"
        package = copies / "rlm_kernel_mcp" / "in_kernel" / "walls"
        for source, copy in ((PROGRAM, program), (Path(walls.__file__).parent, package)):
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (copies, *copies.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return program

    def _directory(self, name: str) -> Path:
        directory = self.root / name
        directory.mkdir(mode=0o700)
        self._own(directory)
        return directory

    def _own(self, path: Path) -> None:
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)

    def _listen(self) -> dict[str, socket.socket]:
        tcp = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.tcp_port = tcp.getsockname()[1]
        tcp6 = self._stack.enter_context(socket.create_server(("::1", self.tcp_port), family=socket.AF_INET6))
        udp = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        self.udp_port = udp.getsockname()[1]
        stream = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        datagram = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        abstract = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        self.abstract_name = f"rlm-canary-{secrets.token_hex(8)}"
        stream.bind(str(self.root / "stream"))
        datagram.bind(str(self.root / "datagram"))
        abstract.bind("\0" + self.abstract_name)
        for path in ("stream", "datagram"):
            (self.root / path).chmod(0o777)
        listeners = {"tcp": tcp, "tcp6": tcp6, "udp": udp, "stream": stream, "datagram": datagram, "abstract": abstract}
        for listener in listeners.values():
            listener.setblocking(False)
            if listener.type == socket.SOCK_STREAM:
                listener.listen()
        return listeners

    @property
    def peer_pid(self) -> int:
        """The process that attacks may aim at."""
        return self._peer.pid

    def _start_peer(self) -> tuple[subprocess.Popen[str], int]:
        peer = subprocess.Popen(
            [python_for(self.uid), "-I", str(self.program / "peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else [],
            start_new_session=True,
        )
        assert peer.stdin is not None
        assert peer.stdout is not None
        peer.stdin.write(self.peer_token + "\n")
        peer.stdin.flush()
        return peer, int(peer.stdout.readline())

    def _peer_state(self) -> dict[str, Any]:
        assert self._peer.stdin is not None
        assert self._peer.stdout is not None
        self._peer.stdin.write("\n")
        self._peer.stdin.flush()
        state: dict[str, Any] = json.loads(self._peer.stdout.readline())
        return state

    def _fingerprint(self) -> dict[str, Any]:
        found = {}
        for path in (self.directory, *sorted(self.directory.rglob("*"))):
            status = path.lstat()
            facts = (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns, status.st_nlink)
            found[path.name] = (*facts, os.listxattr(path), path.is_file() and path.read_bytes())
        return found


def _was_reached(listener: socket.socket) -> bool:
    """Whether a connection or a datagram waits; takes all that wait."""
    reached = False
    with contextlib.suppress(BlockingIOError):
        while True:
            if listener.type == socket.SOCK_STREAM:
                listener.accept()[0].close()
            else:
                listener.recv(64)
            reached = True
    return reached
