"""Questions that wait for an answer, and which of them somebody has taken for a while. Sans-I/O.

Is: the order in which they are shown, leases that run out, and until when each may wait, on moments that the caller
reads. Is not: a timer (`desk.py`), a page of them (`pages.py`), or what an answer does.
Above: `desk.py`, `pages.py`. Below: `reports.py`.

A lease is nobody's by name: it keeps others from being shown the same question. Whoever knows a question's number may
answer it, leased or not, and the first answer counts. So a lease that is lost with its holder costs its time alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final

from rlm_kernel_mcp.questions_wire import Kind
from rlm_kernel_mcp.session.parked.reports import AnswerGiven

LEASE_S: Final = 300.0
"""How long a question that was taken is shown to nobody else."""
PATIENCE_S: Final = 1_800.0
"""How long a question may wait for its answer."""
IDS_OF_A_STEP: Final = 10_000
"""The numbers of a step's questions begin at its index times this: a server that opens the session again runs no step
with an index of before, and so takes no answer to an earlier server's question for one of its own."""

OnEnd = Callable[[AnswerGiven | None, str], None]
"""Takes the answer and who gave it; None: nobody did in time."""


@dataclass(eq=False, slots=True)
class Parked:
    """One question, raw."""

    id: int
    prompt: str
    text: str | None
    schema: str | None
    until_s: float
    """The moment at which nobody waits for it any more."""
    on_end: OnEnd
    kind: Kind = "llm"
    shown_s: float | None = None
    """When somebody was first shown it."""
    taken_by: str = ""
    """Who took it last."""
    child: str = ""
    """The session in which it is to be answered, if it has one."""
    told: str = ""
    """What an agent is shown in the place of prompt and text, where that is something else: it has tools."""

    @property
    def for_agents(self) -> Parked:
        """As somebody with tools is shown it."""
        return replace(self, prompt=self.told, text=None) if self.told else self

    @property
    def chars(self) -> int:
        return sum(len(part) for part in (self.prompt, self.text) if part is not None)


class Pile:
    """One session's."""

    def __init__(self, lease_s: float = LEASE_S, patience_s: float = PATIENCE_S) -> None:
        self._lease_s, self._patience_s = lease_s, patience_s
        self._last_id = 0
        self._all: dict[int, Parked] = {}
        """In the order of their numbers, in which their time runs out too."""
        self._free: dict[int, Parked] = {}
        """Those that nobody has taken, in the same order."""
        self._calls: dict[int, Parked] = {}
        """Calls of functions, which nobody takes: whoever drives the session has those, and no sub-agent."""
        self._leases: dict[int, float] = {}
        """By number until when the others are taken, the first to run out first."""

    @property
    def waiting(self) -> int:
        """How many nobody has taken."""
        return len(self._free) + len(self._calls)

    @property
    def for_others(self) -> int:
        """How many of them others may take."""
        return len(self._free)

    @property
    def leased(self) -> int:
        return len(self._leases)

    @property
    def free(self) -> Iterable[Parked]:
        """Those that may be taken."""
        return self._free.values()

    @property
    def shown(self) -> Iterable[Parked]:
        """Those that nobody has taken: first what no other can do."""
        return chain(self._calls.values(), self._free.values())

    def put(  # noqa: PLR0913 (what a question is made of)
        self,
        prompt: str,
        text: str | None,
        schema: str | None,
        *,
        step_index: int,
        now_s: float,
        on_end: OnEnd,
        kind: Kind = "llm",
        child: str = "",
        told: str = "",
    ) -> Parked:
        """A question begins to wait."""
        self._last_id = max(self._last_id, step_index * IDS_OF_A_STEP) + 1
        one = Parked(
            self._last_id, prompt, text, schema, now_s + self._patience_s, on_end, kind, child=child, told=told
        )
        self._all[one.id] = one
        (self._calls if kind == "function" else self._free)[one.id] = one
        return one

    def get(self, number: int) -> Parked | None:
        """One that waits, leased or not."""
        return self._all.get(number)

    def take_out(self, number: int) -> Parked | None:
        """It has an answer, or needs none any more. None: it does not wait."""
        for some in (self._free, self._calls, self._leases):
            some.pop(number, None)
        return self._all.pop(number, None)

    @property
    def taken(self) -> Iterable[Parked]:
        """Those that somebody has taken."""
        return (self._all[number] for number in self._leases)

    def lease(self, numbers: Iterable[int], now_s: float, by: str = "") -> None:
        """These are taken from now on. `by`: who takes them."""
        for number in numbers:
            self._free.pop(number).taken_by = by
            self._leases[number] = now_s + self._lease_s

    def renew(self, number: int, now_s: float) -> None:
        """If it is taken, it is for as long again from now on."""
        if self._leases.pop(number, None) is not None:
            self._leases[number] = now_s + self._lease_s

    def give_back(self, now_s: float) -> int:
        """Have those shown again whose lease has run out; how many there are."""
        lost = [number for number, until_s in self._leases.items() if until_s <= now_s]
        for number in lost:
            del self._leases[number]
            self._free[number] = self._all[number]
        if lost:
            self._free = dict(sorted(self._free.items()))  # they have waited longest
        return len(lost)

    def overdue(self, now_s: float) -> list[Parked]:
        """Take out those whose time is over."""
        over = []
        for one in self._all.values():
            if one.until_s > now_s:
                break
            over.append(one)
        for one in over:
            self.take_out(one.id)
        return over

    def next_s(self) -> float | None:
        """When `give_back` or `overdue` will have something, if nothing else happens; None: never."""
        first = [one.until_s for one in islice(self._all.values(), 1)]
        return min([*first, *islice(self._leases.values(), 1)], default=None)
