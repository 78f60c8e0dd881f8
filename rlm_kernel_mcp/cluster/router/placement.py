"""Where a session goes: by what is free of each node's memory as it was last told, less what was placed there since.

Is: the choice, and the numbers where there is none. Is not: asking a node (`looks.py`). Nothing here waits, nor knows
the time. Above: `looks.py`, `router.py`. Below: `cluster/node/messages.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

from rlm_kernel_mcp.cluster.node.messages import Load
from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.text.wording import counted

NEAR_SESSIONS: Final = 2
"""Nodes with as much free as this many sessions may take, more or less, are alike: what sessions have not taken yet is
free, and differs by what else a machine does. Of such nodes the one with the fewest kernels for its size is taken, or
one that has the context and fewer than so many kernels more."""
AGAIN: Final = "Call again when sessions have ended (rlm_finalize ends one), or tell the user to add a node or memory."


class Placement:
    """What one router knows of how full the nodes are. Nothing is lost with it: another one asks anew."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """`chance`: decides between equals, so that several routers do not all take the same one."""
        self._chance = chance
        self._loads: dict[str, Load] = {}
        self._under_way = Counter[str]()
        self._ended = Counter[str]()
        """Sessions that this router has placed since it began: those that a node's next word counts are before that."""
        self._counted = Counter[str]()

    def mark(self, name: str) -> int:
        """What has been placed at a node by now, for `told`: take it before the node is asked."""
        return self._ended[name]

    def told(self, name: str, load: Load, mark: int) -> None:
        """A node says how full it is."""
        self._loads[name], self._counted[name] = load, mark

    def forget(self, name: str) -> None:
        """It is gone."""
        self._loads.pop(name, None)

    @contextmanager
    def placing(self, name: str) -> Iterator[None]:
        """While a session is opened or restored there, and after that until the node's next word, it takes room."""
        self._under_way[name] += 1
        try:
            yield
            self._ended[name] += 1
        finally:
            self._under_way[name] -= 1

    def choose(self, known: Collection[str], refused: Collection[str] = (), context: str | None = None) -> str:
        """The node that a session is to be opened or restored at.

        Args:
            known: those that there are.
            refused: those that have refused it.
            context: the hash of its manifest, if it has one.

        Raises:
            SessionBusy: no node has room for it; the message has the numbers.
        """
        rows = {name: self._loads[name] for name in known if name in self._loads}
        free = {name: self.free_mb(name) for name, load in rows.items() if takes(load) and name not in refused}
        free = {name: size for name, size in free.items() if size >= rows[name].session_mb}
        if not free:
            raise SessionBusy(self._full(known, refused), AGAIN)
        most = max(free.values())
        near = [name for name, size in free.items() if size >= most - NEAR_SESSIONS * rows[name].session_mb]
        fewest = min(map(self._kernels, near)) + NEAR_SESSIONS
        having = [name for name in near if context in rows[name].contexts and self._kernels(name) < fewest]
        return min(
            having or near, key=lambda one: (self._kernels(one) / rows[one].memory_mb, -free[one], self._chance())
        )

    def takes(self, name: str) -> bool:
        """Whether a node takes sessions, as far as it has said anything."""
        return name in self._loads and takes(self._loads[name])

    def free_mb(self, name: str) -> int:
        """What is free there, less what was placed since it was told."""
        load = self._loads[name]
        return load.memory_free_mb - self._since(name) * load.session_mb

    def _kernels(self, name: str) -> int:
        return self._loads[name].live_kernels + self._since(name)

    def _since(self, name: str) -> int:
        """Sessions that have been placed there, or just are, which its last word does not count."""
        return self._ended[name] - self._counted[name] + self._under_way[name]

    def _full(self, known: Collection[str], refused: Collection[str]) -> str:
        if not known:
            return "No session can be opened: the cluster has no node."
        rows = []
        for name in sorted(known):
            load = self._loads.get(name)
            if load is None:
                rows.append(f"{name} does not answer")
            elif not takes(load):
                rows.append(f"{name} {'is draining' if load.draining else 'lacks a wall that its policy requires'}")
            else:
                full = ", and refused" if name in refused else ""
                rows.append(
                    f"{name} has {max(0, self.free_mb(name)):,} of {load.memory_mb:,} MB free and "
                    f"{counted(load.sessions + self._since(name), 'session')}{full}"
                )
        size = max((load.session_mb for name, load in self._loads.items() if name in known), default=0)
        return f"No node has room for a session, which may take {size:,} MB: {'; '.join(rows)}."


def takes(load: Load) -> bool:
    """Whether a node takes any session: it says no tier where its walls do not hold what its policy requires."""
    return not load.draining and bool(load.tier)
