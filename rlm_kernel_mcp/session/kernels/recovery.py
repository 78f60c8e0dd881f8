"""Gives a session a kernel with its context in it: the first one, and a fresh one after a loss.

Is: which contexts it gets, and the honest account of what a fresh kernel does not have. Is not: the decision to replace
a kernel (`session_kernel.py`), nor the first one of a session (`session/opening.py`). Above: `session_kernel.py`.
Below: `context_loading.py`, `kernel/pool.py`, `session/snapshots/`. A step is never run again by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context_wire import LoadContextReply
from rlm_kernel_mcp.errors import KernelDied, RequestRefused
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.carrying.durable import Durable
from rlm_kernel_mcp.session.kernels.answering import Answering, Nobody
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook
from rlm_kernel_mcp.session.kernels.context_loading import FIRST_KEY, load_nothing, load_whole, offered_names
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.session.reports import LossReport, Variable
from rlm_kernel_mcp.session.snapshots.restoring import Effort, Losses, SnapshotRestorer
from rlm_kernel_mcp.session.snapshots.states import Restoring, RestoringEvent
from rlm_kernel_mcp.session.snapshots.taking import SnapshotTaker
from rlm_kernel_mcp.telemetry.spans import restoring
from rlm_kernel_mcp.text.markup import code
from rlm_kernel_mcp.text.safe_text import safe_text

if TYPE_CHECKING:
    from rlm_kernel_mcp.telemetry.recording import SessionSpans

NAMES_KEPT_MAX: Final = 2_000
NOT_LOADED_YET: Final = "it is not loaded yet"
AS_GIVEN: Final = "it is there again, as it was given; what steps have changed in it since, if anything, is not kept"


class OpenPayload(Protocol):
    """Opens a context again."""

    def __call__(self, *, copy: bool) -> Awaitable[Payload]:
        """`copy`: as `build_payload`. Raises an RlmError if it is not what it was."""


@dataclass(frozen=True, slots=True)
class ContextToLoad:
    """A context that a fresh kernel gets."""

    name: str
    open: OpenPayload
    is_json: bool = False
    """Whether steps can have changed it in place."""
    at_step: int = 0
    """The last step that had begun when it came."""
    loaded: Callable[[Payload, LoadContextReply], str | None] = lambda payload, reply: None
    """Told that a kernel has it; what has become of it, where it is not quite what it was."""


class HasContexts(Protocol):
    """Who has the contexts of a session."""

    @property
    def first_name(self) -> str:
        """What the first one is called, whether it is there or not."""

    def to_load(self) -> Sequence[ContextToLoad]:
        """Those that the session has, in the order in which they came."""


@dataclass(slots=True)
class Recovery:
    """What a session needs to get a kernel."""

    pool: KernelPool
    policy: Policy
    snapshots: SnapshotTaker
    restorer: SnapshotRestorer
    slots: KernelSlots
    contexts: HasContexts
    names: OrderedDict[str, tuple[str, int]] = field(default_factory=OrderedDict)
    """Names that steps have bound, with type and step: what a kernel takes with it before it was snapshotted."""

    offered: tuple[str, ...] = ()
    """The names that the session's kernels offer by themselves, as the last one said."""
    gone: dict[str, str] = field(default_factory=dict)
    """What became of each name that a kernel took with it and that no step has bound since."""
    others: dict[str, str] = field(default_factory=dict)
    """The contexts that are not what they were, and how, until that is told: also where a second kernel is had."""
    evidence: EvidenceBook = field(default_factory=EvidenceBook)
    """What the session's kernels have claimed."""
    answering: Answering = field(default_factory=Nobody)
    """Who answers what the session's code asks."""
    is_first: bool = False
    """Whether the next kernel replaces none."""
    spans: SessionSpans | None = None
    durable: Durable | None = None
    """Who is told that a step begins, where others are to have the session if this server is lost."""

    def note_bound(self, step: int, updated: Iterable[Variable]) -> None:
        """Remember what a step bound."""
        for variable in updated:
            self.names[variable.name] = (variable.type, step)
            self.names.move_to_end(variable.name)
            self.gone.pop(variable.name, None)
        while len(self.names) > NAMES_KEPT_MAX:
            self.names.popitem(last=False)

    async def fresh_kernel(self, reason: str, last_step: int, effort: Effort) -> tuple[Kernel, LossReport]:
        """A kernel with the context and what the snapshots have, and the account of the rest.

        `last_step`: index of the last step that ended with the kernel alive. `effort`: what may be done for the values.

        Raises:
            KernelStartFailed, SandboxUnavailable, KernelDied.
            RestoreStopped: the caller gave up the values' return.
        """
        with restoring(None if self.is_first else self.spans) as told:
            kernel, loss = await self._fresh_kernel(reason, last_step, effort)
            told(len(loss.names), len(loss.restored))
        return kernel, loss

    async def _fresh_kernel(self, reason: str, last_step: int, effort: Effort) -> tuple[Kernel, LossReport]:
        await self.snapshots.settle()
        try:
            kernel, filled = await self._filled(last_step, effort)
        except BaseException:
            effort.on(RestoringEvent.CUT_OFF)
            raise
        self.others = {}
        effort.on(RestoringEvent.FILLED)
        told = {name for name, _ in filled.lost}.union(filled.names)
        unkept = [
            (name, f"its value ({kind}) was not kept")
            for name, (kind, step) in self.names.items()
            if name not in told and (step > self.snapshots.step or self.restorer.left_out)
        ]
        lost = filled.gone + filled.lost + unkept
        self.gone |= {
            name: f"it was lost when the kernel was replaced after step {last_step} ({code(why)})" for name, why in lost
        }
        return kernel, LossReport(safe_text(reason), tuple(lost), tuple(filled.back + filled.names))

    async def _filled(self, last_step: int, effort: Effort) -> tuple[Kernel, _Filled]:
        async def fill(fresh: Kernel) -> _Filled:
            effort.on(RestoringEvent.KERNEL_CAME)
            return await self._fill(fresh, last_step, effort)

        try:
            return await self.pool.take(fill)
        except KernelDied:
            if effort.state is Restoring.NO_KERNEL:
                raise
        # Values can be made to end whoever restores them: the session goes on without them.
        effort.on(RestoringEvent.TRIES_ENDED)
        return await self.pool.take(fill)

    async def _fill(self, kernel: Kernel, last_step: int, effort: Effort) -> _Filled:
        """Put the contexts and the snapshots into a fresh kernel; the contexts alone where the effort is at BARE."""
        back, gone = await self._load(kernel)
        names, lost = list[str](), Losses()
        if effort.state is Restoring.BARE:
            lost = self.restorer.all_lost("no fresh kernel survived the restoring of the values")
        else:
            names, lost = await self.restorer.restore(kernel, last_step, effort)
        as_given = {one.name for one in self.contexts.to_load() if one.is_json and one.name in back} - {*names}
        changed = {one.name for one in self.contexts.to_load() if one.name in as_given and one.at_step < last_step}
        back = [name for name in back if name not in {*changed, *names, *self.others}]
        lost = [row for row in lost if row[0] not in as_given] + [(name, AS_GIVEN) for name in sorted(changed)]
        lost += self.others.items()
        return _Filled(back, gone, names, lost)

    async def _load(self, kernel: Kernel) -> tuple[list[str], Losses]:
        """Load the contexts again; the session's names that are back, and (name, why not) of the others."""
        kernel.claims_before = self.evidence.numbers_to
        contexts, first_name = list(self.contexts.to_load()), self.contexts.first_name
        first = next((one for one in contexts if one.name == first_name), None)
        why = NOT_LOADED_YET if first is None else await self._loaded_again(kernel, first, add=False)
        unbound: list[str] = []
        if why is not None:
            left = await load_nothing(kernel, first_name)
            self.offered, unbound = offered_names(left["names"], first_name), left["unbound"]
            unbound = [first_name if key == FIRST_KEY else key for key in unbound]
        back = [name for name in self.offered if name not in unbound]
        gone = [(name, why) for name in unbound] if first is not None and why is not None else []
        for one in contexts:
            if one is not first:
                why = await self._loaded_again(kernel, one, add=True)
                back += [one.name] if why is None else []
                gone += [(one.name, why)] if why is not None else []
        return back, gone

    async def _loaded_again(self, kernel: Kernel, context: ContextToLoad, *, add: bool) -> str | None:
        """Load one context again; None, or why that cannot be."""
        try:
            with ExitStack() as opened:
                payload = opened.enter_context(await context.open(copy=False))

                async def copied() -> Payload:
                    nonlocal payload
                    payload = opened.enter_context(await context.open(copy=True))
                    return payload

                loaded = await load_whole(kernel, payload, copied, context.name, add=add)
                told = context.loaded(payload, loaded)
        except RequestRefused as error:
            return error.message
        if told is not None:
            self.others[context.name] = told
        if not add:
            self.offered = offered_names(loaded["names"], context.name)
        return None

    def everything_lost(self, reason: str) -> LossReport:
        """The account when no fresh kernel could be started."""
        contexts = (one.name for one in self.contexts.to_load())
        names = dict.fromkeys((*self.offered, *contexts, *self.restorer.names, *self.names))
        gone = [(name, "no kernel to hold it; the next use tries again") for name in names]
        return LossReport(safe_text(reason), tuple(gone), ())


@dataclass(frozen=True, slots=True)
class _Filled:
    """What a fresh kernel has of the session."""

    back: list[str]
    """The session's own names."""
    gone: Losses
    names: list[str]
    """The user's names."""
    lost: Losses


def joined(earlier: LossReport | None, later: LossReport | None) -> LossReport | None:
    """Two losses that no reply has reported yet, as one: what came back with the later one is not lost any more."""
    if earlier is None or later is None:
        return later or earlier
    later_names = {name for name, _ in later.names}.union(later.restored)
    kept = tuple(row for row in earlier.names if row[0] not in later_names)
    return LossReport(f"{earlier.reason}; then {later.reason}", kept + later.names, later.restored)
