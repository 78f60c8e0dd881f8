"""Values over a whole session: what is kept after its steps, and what a fresh kernel has of it."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from rlm_kernel_mcp.both_sides.whole_writes import write_at
from rlm_kernel_mcp.session import session as session_module
from rlm_kernel_mcp.wire import INLINE_SNAPSHOT, RESTORE, SNAPSHOT
from tests.fake_kernel import FATAL, FakeKernel, Fakes
from tests.sessions import WAIT_S, SessionDriver, until

pytestmark = pytest.mark.anyio


async def settled(session: SessionDriver) -> None:
    """The snapshot after the last step is in the file."""
    await session.session.kernel.recovery.snapshots.settle()


async def after_a_death(session: SessionDriver, kernel: FakeKernel) -> dict[str, str]:
    """Why each name that the kernel had is not back, or not as it was."""
    kernel.process.end(3)
    lost = (await session.ok("1")).lost
    assert lost is not None
    return dict(lost.names)


@pytest.mark.parametrize("large", [False, True])
async def test_what_is_kept_comes_back(fakes: Fakes, large: bool) -> None:
    """A small one in a message, a large one by a pipe."""
    session, kernel = await fakes.open()
    kernel.large = large
    await session.ok("x, y = 1, 'two'")
    await settled(session)
    assert await after_a_death(session, kernel) == {}
    assert (SNAPSHOT in kernel.heard) is large
    assert (await session.ok("[x, y]")).result == "[1, 'two']"


def no_answer_of_the_disk(*_: object) -> None:
    raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


@pytest.mark.parametrize("large", [False, True])
async def test_a_disk_that_does_not_answer_in_time_is_not_taken_for_the_kernel(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """A network's disk raises Python's TimeoutError. It is told once, and what was not kept is sent again."""
    session, kernel = await fakes.open()
    kernel.large = large
    await session.ok("x = 1")
    await settled(session)
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.file.write_at", no_answer_of_the_disk)
    notes = [(await session.ok("x = 2")).note]  # where the disk is quicker to say it than the step to end
    await settled(session)
    monkeypatch.undo()
    notes.append((await session.ok("3")).note)
    [note] = filter(None, notes)
    assert note.startswith("The values of this session are not kept for a restart")
    await settled(session)
    assert len(fakes.kernels) == 1
    assert await after_a_death(session, kernel) == {}
    assert (await session.ok("x")).result == "2"


class FullDisk:
    """A disk that takes no bytes of values for a while, and says so when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.says_so = threading.Event(), threading.Event()
        self.is_full = True
        monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.file.write_at", self._write_at)

    def _write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        if self.is_full:
            self.asked.set()
            self.says_so.wait(WAIT_S)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_at(descriptor, data, offset)


async def test_a_step_that_was_begun_before_the_disk_failed_is_kept_all_the_same(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was asked to send may be too little by then; it is asked for everything, and not at the next step."""
    session, kernel = await fakes.open()
    await session.ok("x, y = 1, 1")
    await settled(session)
    disk = FullDisk(monkeypatch)
    await session.ok("x = 2")
    await until(disk.asked.is_set)
    await session.ok("y = 3")
    disk.is_full = False
    disk.says_so.set()
    await settled(session)
    assert session.session.kernel.recovery.snapshots.problem is None
    assert await after_a_death(session, kernel) == {}
    assert (await session.ok("[x, y]")).result == "[2, 3]"


@pytest.mark.parametrize("has_room", [True, False])
async def test_what_a_full_disk_did_not_take_is_sent_once_more_before_the_kernel_is_ended(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, has_room: bool
) -> None:
    """The last step's values are there for the next server, where the disk has room by then; else the loss is told."""
    session, _ = await fakes.open()
    await session.ok("x = 1")
    await settled(session)
    disk = FullDisk(monkeypatch)
    disk.says_so.set()
    await session.ok("x = 2")
    await settled(session)
    disk.is_full = not has_room
    monkeypatch.setattr(session_module, "SETTLE_S", WAIT_S)
    await session.session.close("the server ends")
    fakes.registry.handles.let_go(session.session)
    report = await session.ok("x")
    assert report.lost is not None
    assert report.result == ("2" if has_room else "1")
    assert ["after step 1" in why for _, why in report.lost.names] == ([] if has_room else [True])


async def test_what_a_full_disk_did_not_take_is_not_sent_before_a_step_that_waits(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel stays for the step, whose snapshot has everything; a second sending would only hold it up."""
    session, kernel = await fakes.open()
    disk = FullDisk(monkeypatch)
    disk.says_so.set()
    await session.ok("x = 1")
    await settled(session)
    assert session.session.kernel.recovery.snapshots.problem is not None
    disk.is_full = False
    waits = [True]
    assert not await session.session.kernel.drop("the idle time", settle_s=WAIT_S, unless=lambda: waits[0])
    assert SNAPSHOT not in kernel.heard
    waits[0] = False
    assert await session.session.kernel.drop("the idle time", settle_s=WAIT_S, unless=lambda: waits[0])
    assert SNAPSHOT in kernel.heard


async def test_a_step_that_binds_nothing_sends_nothing(fakes: Fakes) -> None:
    """And the values are of that step all the same."""
    session, kernel = await fakes.open()
    await session.ok("x = 1")
    await settled(session)
    await session.ok("x")
    assert session.session.kernel.recovery.snapshots.step == 2
    await settled(session)
    assert await after_a_death(session, kernel) == {}


async def test_a_kernel_that_ends_before_its_snapshot_takes_its_names_with_it(fakes: Fakes) -> None:
    """Those of the snapshot before come back as they were then, and are told."""
    session, kernel = await fakes.open()
    await session.ok("x = 1")
    await settled(session)
    kernel.deaf = {INLINE_SNAPSHOT}
    await session.ok("x, y = 2, 3")
    lost = await after_a_death(session, kernel)
    assert "after step 1" in lost["x"]
    assert "was not kept" in lost["y"]
    assert (await session.ok("x")).result == "1"


async def test_the_next_step_comes_before_a_large_snapshot(fakes: Fakes) -> None:
    """The kernel is signalled until it lets go; then the step runs, and the snapshot after it has all."""
    session, kernel = await fakes.open()
    kernel.large, kernel.deaf = True, {SNAPSHOT}
    await session.ok("x = 1")
    await until(lambda: SNAPSHOT in kernel.heard)
    await session.begin("y = 2")
    await until(lambda: "SIGUSR2" in kernel.heard)
    kernel.answer_now()
    assert (await session.end_of(2)).status == "ok"
    await settled(session)
    assert await after_a_death(session, kernel) == {}
    assert (await session.ok("[x, y]")).result == "[1, 2]"


async def test_a_value_that_ends_whatever_it_comes_back_into_is_found_and_left_out(fakes: Fakes) -> None:
    """All at once, then one by one: three kernels, and the others are back."""
    session, kernel = await fakes.open()
    await session.ok(f"x, y, z = 1, {FATAL!r}, 3")
    await settled(session)
    lost = await after_a_death(session, kernel)
    assert set(lost) == {"y"}
    assert "did not survive" in lost["y"]
    assert (await session.ok("[x, z]")).result == "[1, 3]"
    assert [fake.heard.count(RESTORE) for fake in fakes.kernels] == [0, 1, 2, 2]


async def test_an_answer_in_the_session_s_end_leaves_no_values(fakes: Fakes) -> None:
    """Of a finalized session nothing is kept."""
    session, _ = await fakes.open()
    await session.ok("x = 1")
    await settled(session)
    kept = fakes.registry.settings.state_dir / "snapshots"
    assert list(kept.glob("*"))
    await session.finalize(text="done")
    assert list(kept.glob("*")) == []
