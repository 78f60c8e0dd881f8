"""The hosts of a place: which there are, and what each says when it is asked.

Is: found by their sockets, of whatever version; one question and one answer, after both have looked at each other.
Is not: what a host answers (`host/kinds/`), nor starting one: who asks here is no client. Above:
`commands/looking/hosts.py`, `moving.py`, `host/upgrade.py`. Below: `front/front.py`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.front.front import NoHost, Place, check_directory, peer_of, said_by

STATUS: Final = "status"
"""What a command asks of a host, which answers by its `Condition`."""
ASIDE: Final = ".old"
"""How the name of the socket ends by which a host that takes no further client is found by other hosts."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a host says of itself."""

    clients: int
    is_draining: bool
    """Whether it takes no further client."""

    @property
    def words(self) -> tuple[str, ...]:
        """As they travel; what a later version adds is passed over by an earlier one."""
        return f"clients={self.clients}", f"drains={int(self.is_draining)}"

    @classmethod
    def of(cls, words: Sequence[str]) -> Condition:
        """Raises: NoHost: that is no host's word."""
        said = dict(word.partition("=")[::2] for word in words)
        try:
            return cls(int(said["clients"]), said["drains"] == "1")
        except (KeyError, ValueError):
            raise NoHost("what it says of itself cannot be read") from None


@dataclass(frozen=True, slots=True)
class Known:
    """A host of a place: which one it is, by its version and by where it listens."""

    place: Place
    """As the host's own fronts see it."""
    version: str
    path: str

    @classmethod
    def at(cls, place: Place, path: str) -> Known | None:
        """The host that listens there; None where the name is none of this place's."""
        name = path.removeprefix(place.stem)
        version, is_aside = name.removesuffix(".sock"), name.endswith(ASIDE)
        if is_aside:
            version = name.removesuffix(ASIDE).rpartition(".")[0]
        if not path.startswith(place.stem) or not version or version == name:
            return None
        theirs = copy.copy(place)
        theirs.at(version)
        return cls(theirs, version, path)

    @property
    def pid_aside(self) -> int | None:
        """The process, where this is the socket of one that takes no further client."""
        pid = self.path.removesuffix(ASIDE).rpartition(".")[2]
        return int(pid) if self.path.endswith(ASIDE) and pid.isdigit() else None

    def pid(self, wait_s: float) -> int:
        """The process that listens there; 0: nobody does, or it is not known. Raises: NoHost."""
        place = copy.copy(self.place)
        place.socket = self.path
        try:
            if (sock := place.connect(wait_s)) is None:
                return 0
            with closing(sock):
                pid, _, pidfd = peer_of(sock)
                os.close(pidfd)
                return pid
        except OSError:
            return 0

    def ask(self, verb: str, words: Sequence[str] = (), wait_s: float = 10) -> tuple[int, list[str]] | None:
        """Its pid, and the words of its answer; None: nobody listens there. It waits: call it in a thread.

        Raises:
            NoHost: one of us may have nothing to do with the other, or it does not know the verb; it says why.
            ConnectionError: it has ended. TimeoutError: it does not answer. OSError.
        """
        place = copy.copy(self.place)  # whose deadline is of one talk
        place.socket = self.path  # what it shows is the name that it began with
        if (sock := place.connect(wait_s)) is None:
            return None
        with closing(sock):
            pid, _, pidfd = peer_of(sock)
            os.close(pidfd)
            sock.send(b"\0".join((place.introduced(sock, verb.encode()), *map(os.fsencode, words))))
            answer = said_by(sock, place.end)
        if answer[0] != verb:
            raise NoHost(answer[-1])
        return pid, answer[1:]


def aside(place: Place, version: str, pid: int) -> str:
    """Where a host listens once it takes no further client."""
    return f"{place.stem}{version}.{pid}{ASIDE}"


def known_hosts(place: Place) -> Iterator[Known]:
    """Every host that has a socket at that place, be it alive or not.

    Raises:
        NoHost: the directory is not this user's alone. OSError.
    """
    try:
        check_directory(place.directory)
    except FileNotFoundError:
        return
    for pattern in (".sock", ASIDE):
        for path in sorted(Path(place.directory).glob(f"{Path(place.stem).name}*{pattern}")):
            if found := Known.at(place, str(path)):
                yield found


def host_of(place: Place, pid: int) -> Known | None:
    """The host of this place that a process is, as its command line says; None where it is none.

    It listens at its own socket, or aside: who asks finds out.
    """
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return None
    shown = [os.fsdecode(word) for word in argv]
    return Known.at(place, shown[4]) if shown[1:4] == place.host[1:4] and len(shown) == 5 else None
