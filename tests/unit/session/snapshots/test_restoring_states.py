"""The values' way back goes by its table, over as many kernels as end over it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from rlm_kernel_mcp.errors import ContextNotFound, KernelDied, KernelStartFailed, RestoreStopped, RlmError
from rlm_kernel_mcp.kernel.pool import TRIES, KernelPool
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.snapshot_report import KernelReport
from rlm_kernel_mcp.session.kernels.recovery import ContextToLoad, Recovery
from rlm_kernel_mcp.session.reports import LossReport
from rlm_kernel_mcp.session.snapshots.file import SnapshotFile
from rlm_kernel_mcp.session.snapshots.restoring import Effort, SnapshotRestorer
from rlm_kernel_mcp.session.snapshots.states import RESTORING, Restoring, RestoringEvent
from rlm_kernel_mcp.session.snapshots.taking import SnapshotTaker
from rlm_kernel_mcp.session.states.machine import ImpossibleEvent
from rlm_kernel_mcp.wire import RESTORE
from tests.pictures import pairs
from tests.unit.kernel.untrusted.test_snapshot_stream import END, chunk, head
from tests.unit.session.snapshots.scripted import LIMITS, message

pytestmark = pytest.mark.anyio
R, E = Restoring, RestoringEvent


@dataclass
class Told(Effort):
    """An effort that tells what happened to it."""

    told: list[tuple[Restoring, RestoringEvent]] = field(default_factory=list)

    def on(self, event: RestoringEvent) -> None:
        before = self.state
        super().on(event)
        self.told.append((before, event))


class Kernels:
    """What a pool starts, one by one.

    `none` cannot be started, `dies` ends over its values, `back` takes them, `cut` is given up meanwhile, `bare` ends
    before it has the context.
    """

    def __init__(self, fates: Sequence[str], effort: Told) -> None:
        self.policy = SimpleNamespace(pool=SimpleNamespace(spare_kernels=0, max_age_s=60))
        self._fates = list(fates)
        self._effort = effort
        self.asked_for: list[list[str]] = []

    async def start(self) -> Any:
        fate = self._fates.pop(0)
        if fate == "none":
            raise KernelStartFailed("no kernel")
        return SimpleNamespace(
            client=SimpleNamespace(request=lambda *given, **options: self._answer(fate, *given), broken=None),
            process=SimpleNamespace(cpu_ms=lambda: 0, send_signal=lambda number: None),
            pass_descriptor=lambda descriptor, shell: None,
            kill=self._kill,
        )

    async def _kill(self, reason: str) -> None:
        assert reason

    async def _answer(self, fate: str, msg_type: str, content: dict[str, Any]) -> Message:
        if msg_type == RESTORE:
            self.asked_for.append([item["name"] for item in content["items"]])
            if fate == "cut":
                assert self._effort.stop is not None
                self._effort.stop.set_result(None)
                await asyncio.Event().wait()
            if fate == "dies":
                raise KernelDied("it ended")
            return message({"status": "ok", "names": dict.fromkeys(self.asked_for[-1])})
        if fate == "bare":
            raise KernelDied("it ended early")
        return message({"status": "ok", "names": {"context": "the text"}, "unbound": ["context"]})


async def way_back(directory: Path, fates: Sequence[str]) -> tuple[Told, Kernels, LossReport | RlmError]:
    """A session with two values, over kernels with these fates."""
    effort = Told(asyncio.get_running_loop().create_future())
    file = SnapshotFile(directory, "s_1", LIMITS)
    stream = b"".join(head(name) + chunk(b"value") + END for name in ("a", "b"))
    file.store(1, KernelReport({"a": ("int", None), "b": ("int", None)}), stream)
    kernels = Kernels(fates, effort)

    async def no_context(*, copy: bool) -> Any:
        raise ContextNotFound("it is gone")

    recovery = Recovery(
        KernelPool(cast("Any", kernels)),
        cast("Any", None),
        SnapshotTaker(file, LIMITS),
        SnapshotRestorer(file),
        cast("Any", None),
        cast("Any", SimpleNamespace(first_name="context", to_load=lambda: [ContextToLoad("context", no_context)])),
    )
    try:
        _, lost = await recovery.fresh_kernel("it was lost", 1, effort)
    except RlmError as error:
        return effort, kernels, error
    return effort, kernels, lost


WAYS: Final = {
    ("back",): (R.RESTORED, [E.KERNEL_CAME, E.FILLED]),
    ("none",) * TRIES: (R.GIVEN_UP, [E.CUT_OFF]),
    ("cut",): (R.GIVEN_UP, [E.KERNEL_CAME, E.CUT_OFF]),
    ("dies", "back"): (R.RESTORED, [E.KERNEL_CAME, E.KERNEL_CAME, E.FILLED]),
    ("dies", "cut"): (R.GIVEN_UP, [E.KERNEL_CAME, E.KERNEL_CAME, E.CUT_OFF]),
    ("dies", "dies", "back"): (R.RESTORED, [*[E.KERNEL_CAME] * 3, E.FILLED]),
    ("dies", "dies", "dies", "back"): (
        R.WITHOUT_VALUES,
        [*[E.KERNEL_CAME] * 3, E.TRIES_ENDED, E.KERNEL_CAME, E.FILLED],
    ),
    ("none", "none", "dies", "back"): (
        R.WITHOUT_VALUES,
        [E.KERNEL_CAME, E.TRIES_ENDED, E.KERNEL_CAME, E.FILLED],
    ),
    ("dies", "dies", "dies", "none", "none", "none"): (
        R.GIVEN_UP,
        [*[E.KERNEL_CAME] * 3, E.TRIES_ENDED, E.CUT_OFF],
    ),
    ("bare", "back"): (R.RESTORED, [E.KERNEL_CAME, E.KERNEL_CAME, E.FILLED]),
}
"""What becomes of the kernels, to where that leads and by which events."""


@pytest.mark.parametrize("fates", WAYS, ids="-".join)
async def test_the_way_back_goes_by_the_table(fates: tuple[str, ...], tmp_path: Path) -> None:
    """All values at once to the first kernel, one by one to the later ones, none to the last."""
    effort, kernels, answer = await way_back(tmp_path, fates)
    end, events = WAYS[fates]
    assert (effort.state, [event for _, event in effort.told]) == (end, events)
    assert isinstance(answer, LossReport) is (end is not R.GIVEN_UP)
    if fates == ("cut",):
        assert isinstance(answer, RestoreStopped)
    if fates[0] == "dies":
        assert kernels.asked_for[0] == ["a", "b"]
        assert kernels.asked_for[1] == ["a"]


async def test_every_pair_of_the_table_is_reached(tmp_path: Path) -> None:
    """By one of the ways above."""
    told = {pair for fates in WAYS for pair in (await way_back(tmp_path, fates))[0].told}
    assert told == set(pairs(RESTORING))


@pytest.mark.parametrize("state", Restoring, ids=lambda state: state.name)
def test_an_event_that_the_table_does_not_have_raises(state: Restoring) -> None:
    """And the state stays."""
    for event in set(RestoringEvent) - set(RESTORING[state]):
        effort = Effort(state=state)
        with pytest.raises(ImpossibleEvent, match=f"{event.name} in state {state.name} of Restoring"):
            effort.on(event)
        assert effort.state is state
