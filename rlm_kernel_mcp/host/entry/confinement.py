"""Whether a peer may have what this process can reach: only if it is confined exactly as this process is.

Is: the wall between clients that are confined differently. Namespaces, root directory, filters, privileges, groups,
labels and hard limits are compared; what cannot be read counts as different. Landlock shows in none of these, but it
keeps its processes from seeing into others: each side has to read a secret out of the other's /proc
(`secret`). Is not: proof of which program a peer is. `shows_a_front` tells mistakes from clients; the walls are the
comparison, the secrets, and that rights come as descriptors (`rights.py`). Above: `door.py`, `verbs.py`.
Below: `front/front.py`.
"""

from __future__ import annotations

import os
import resource
import socket
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.front import front
from rlm_kernel_mcp.front.front import NoHost

LIMITS: Final = {
    "processor time": resource.RLIMIT_CPU,
    "size of files": resource.RLIMIT_FSIZE,
    "data": resource.RLIMIT_DATA,
    "address space": resource.RLIMIT_AS,
}
"""What would end or starve a host that serves others too, and what a client would be rid of with a host. A soft limit
is no wall, and a host lifts its own."""


def hard_limit(which: int) -> int:
    """Of this process."""
    return resource.getrlimit(which)[1]


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a connection, held by a descriptor, so that its number stays its own."""

    pid: int
    uid: int
    pidfd: int

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """Who connected. Raises: NoHost."""
        try:
            pid, uid, pidfd = front.peer_of(connection)
        except OSError as error:
            raise NoHost(f"it is not known who connects: {error.strerror}") from error
        return cls(pid, uid, pidfd)

    def close(self) -> None:
        os.close(self.pidfd)

    def require_the_same(self, own: dict[str, str]) -> None:
        """Raises: NoHost: it is another user's, it is confined otherwise, or that cannot be seen."""
        if self.uid != os.getuid():
            raise NoHost("the client belongs to another user")
        try:
            theirs = front.confinement(self.pid, own)
            limits = [name for name, one in LIMITS.items() if resource.prlimit(self.pid, one)[1] != hard_limit(one)]
        except OSError as error:
            raise NoHost(
                f"the host cannot see into the client ({error.strerror}): one of them is in a sandbox"
            ) from error
        self.require_alive()
        if different := front.differences(own, theirs):
            raise NoHost(f"the client is confined otherwise than the host: {different}")
        if limits:
            raise NoHost(f"the client's limits (ulimit) are other than the host's: {', '.join(limits)}")

    def require_alive(self) -> None:
        """Raises: NoHost: it has ended, so that its number may be another's by now."""
        if not front.is_still(self.pid, self.pidfd):
            raise NoHost("the client has ended")

    def secret(self, descriptor: str) -> str:
        """Its secret. Raises: NoHost: the host may not see into it."""
        try:
            return front.secret_of(self.pid, descriptor)
        except OSError as error:
            raise NoHost(
                f"the host cannot see into the client ({error.strerror}): one of them is in a sandbox"
            ) from error

    def shows_a_front(self) -> bool:
        """Whether it shows a front of this installation. The peer's memory may keep its reader waiting."""
        return self._shows(["-I", "-S", f"{front.PACKAGE}/front/run.py"])

    def shows_a_host(self) -> bool:
        """As `shows_a_front`, of a host of any version."""
        return self._shows(["-I", "-m", "rlm_kernel_mcp.host.main"])

    def _shows(self, arguments: list[str]) -> bool:
        try:
            *file, argv = front.program(self.pid)
            *own, _ = front.program("self")
        except OSError:
            return False
        return file == own and argv[:3] == arguments
