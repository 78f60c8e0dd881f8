"""A shared store that is full, slow, read-only, gone or torn: nothing is acknowledged, and nothing that was is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_kernel_mcp.cluster.shared.groups import sound
from rlm_kernel_mcp.cluster.shared.places.folder import Folder
from rlm_kernel_mcp.cluster.shared.protocol import no_faults
from rlm_kernel_mcp.cluster.shared.scanning import scanned
from rlm_kernel_mcp.cluster.shared.store import Store
from rlm_kernel_mcp.errors import InvalidInput, SessionMoved, StoreDamaged, StoreUnavailable
from tests.unit.cluster.shared.stores import SESSION, frame, opened, read, taken_over

OF_AN_APPEND = ("before_write", "written", "synced", "epoch_checked")
OF_A_CLAIM = ("claim_linked", "claim_sealed", "claim_carried", "claim_whole")


class Faults:
    """Raises what it is told to, at one line, as often as it is told to."""

    def __init__(self) -> None:
        self.line, self.number, self.times = "", 0, 0

    def __call__(self, line: str) -> None:
        if line == self.line and self.times:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))

    def next(self, line: str, number: int, times: int = 1) -> None:
        self.line, self.number, self.times = line, number, times


@pytest.mark.parametrize("line", OF_AN_APPEND)
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"is full: [\d,]+ MB are free|is full: an unknown number of MB"),
        (errno.EROFS, "Read-only file system, errno 30"),
        (errno.EIO, "failed .*errno 5"),
        (errno.ESTALE, "is not there any more"),
    ],
)
def test_an_append_that_the_store_does_not_take_is_not_acknowledged(
    line: str, number: int, said: str, where: str
) -> None:
    async def play() -> None:
        faults = Faults()
        async with opened(where, faults) as first, opened(where) as second:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("x", b"1"), frame("y", b"1")])
            faults.next(line, number)
            with pytest.raises(StoreUnavailable, match=said) as refused:
                await first.append(SESSION, 1, [frame("x", b"2")])
            assert refused.value.code == "SESSION_BUSY"
            assert refused.value.next_step
            await first.append(SESSION, 1, [frame("y", b"3")])  # as soon as it does again
            found = await taken_over(second, 2)
            assert found["y"] == b"3"
            assert found["x"] in ((b"1", b"2") if line == "epoch_checked" else (b"1",))

    asyncio.run(play())


@pytest.mark.parametrize("line", OF_A_CLAIM)
def test_a_claim_that_was_cut_off_is_made_again_by_the_same_one_or_by_the_next(line: str, where: str) -> None:
    async def play() -> None:
        faults = Faults()
        async with opened(where) as first, opened(where, faults) as second, opened(where) as third:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("x", b"1")])
            for epoch in (2, 3):
                faults.next(line, errno.EIO)
                with pytest.raises(StoreUnavailable, match="claim of epoch"):
                    await second.claim(SESSION, epoch, "two")
                if epoch == 2:
                    await second.claim(SESSION, epoch, "two")
                    await second.append(SESSION, epoch, [frame("y", b"2")])
            assert await taken_over(third, 4) == {"x": b"1", "y": b"2"}
            with pytest.raises(SessionMoved):
                await second.claim(SESSION, 3, "two")

    asyncio.run(play())


def test_claims_that_fail_again_and_again_do_not_pile_up(tmp_path: Path) -> None:
    async def play() -> None:
        faults = Faults()
        async with opened(tmp_path / "store") as first, opened(tmp_path / "store", faults) as second:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("x", b"1")])
            for epoch in range(2, 12):
                faults.next("claim_carried", errno.EIO)
                with pytest.raises(StoreUnavailable):
                    await second.claim(SESSION, epoch, "two")
            assert len([*(tmp_path / "store" / "sessions" / SESSION).glob("claim-*")]) == 2
            assert await taken_over(second, 12) == {"x": b"1"}

    asyncio.run(play())


def test_what_no_directory_can_name_is_refused_and_not_lost(where: str) -> None:
    async def play() -> None:
        async with opened(where) as first, opened(where) as second:
            await first.claim(SESSION, 1, "one")
            many = [frame(f"{number:06}{chr(0x1F600) * 1_000}", b"") for number in range(4_000)]
            with pytest.raises(ValueError, match="4,000 frames have keys and rows of"):
                await first.append(SESSION, 1, many)
            for begin in range(0, 4_000, 500):
                await first.append(SESSION, 1, many[begin : begin + 500])
            assert len(await taken_over(second, 2)) == 4_000

    asyncio.run(play())


def test_a_disk_that_stays_full_takes_everything_again_once_it_has_room(where: str) -> None:
    async def play() -> None:
        faults = Faults()
        async with opened(where, faults) as first, opened(where) as second:
            await first.claim(SESSION, 1, "one")
            for step in range(6):
                faults.next("written", errno.ENOSPC, 3)
                for _ in range(3):
                    with pytest.raises(StoreUnavailable, match="is full"):
                        await first.append(SESSION, 1, [frame("lost", b"?" * 1_000)])
                await first.append(SESSION, 1, [frame(f"row:{step}", b"1")])
            assert await taken_over(second, 2) == {f"row:{step}": b"1" for step in range(6)}

    asyncio.run(play())


def test_a_store_that_does_not_answer_is_waited_for_no_longer_than_its_bound(where: str) -> None:
    async def play() -> None:
        reached, go_on = threading.Event(), threading.Event()

        def holds(line: str) -> None:
            if line == "written" and stuck:
                reached.set()
                go_on.wait()

        stuck = False
        async with opened(where, holds) as first, opened(where) as second:
            assert isinstance(first, Store)
            await first.claim(SESSION, 1, "one")
            stuck, first._within_s = True, 0.5  # now, and not before: a disk that is only busy may take longer
            with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.5 s, in an append of 1 frames"):
                await first.append(SESSION, 1, [frame("x", b"1")])
            assert reached.is_set()
            with pytest.raises(StoreUnavailable, match="did not answer"):
                await first.append(SESSION, 1, [frame("y", b"1")])
            assert await taken_over(second, 2) in ({}, {"x": b"1"})  # while the first one hangs
            stuck, first._within_s = False, 60.0
            go_on.set()
            with pytest.raises(SessionMoved):
                await first.append(SESSION, 1, [frame("z", b"1")])

    asyncio.run(play())


def test_a_store_that_is_gone_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    async def play() -> None:
        root, away = tmp_path / "mounted" / "store", tmp_path / "away"
        root.parent.mkdir()
        async with opened(root) as first:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("x", b"1")])
            root.rename(away)
            with pytest.raises(StoreUnavailable, match="not there any more"):
                await first.append(SESSION, 1, [frame("x", b"2")])
            with pytest.raises(StoreUnavailable, match="not there any more"):
                await first.append(SESSION, 1, [])
            with pytest.raises(StoreUnavailable, match="not there any more"):
                await first.newest(SESSION)
            away.rename(root)
            await first.append(SESSION, 1, [frame("y", b"3")])
            found = await read(first, 1)
            assert found["y"] == b"3"
            assert found["x"] in (b"1", b"2")
        async with opened(tmp_path / "not mounted" / "store") as other:
            with pytest.raises(StoreUnavailable, match="not there any more"):
                await other.claim(SESSION, 2, "two")

    asyncio.run(play())


def test_files_of_another_user_and_links_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        root, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
        async with opened(root) as first:
            await first.claim(SESSION, 1, "one")
        elsewhere.mkdir()
        (root / "sessions" / "s_linked").symlink_to(elsewhere)
        async with opened(root) as second:
            with pytest.raises(StoreUnavailable, match="another user"):
                await second.claim("s_linked", 1, "two")
            monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
            with pytest.raises(StoreUnavailable, match="another user"):
                await second.newest(SESSION)
        monkeypatch.undo()
        root.chmod(0o755)
        async with opened(root) as third:
            with pytest.raises(StoreUnavailable, match="open to others"):
                await third.newest(SESSION)
        assert list(elsewhere.iterdir()) == []

    asyncio.run(play())


def test_an_object_store_without_a_conditional_put_is_refused(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def overwriting(self: object, path: str, value: bytes, **_: object) -> None:
        MemoryFileSystem.open(self, path, "wb", data=value)

    async def play() -> None:
        monkeypatch.setattr(MemoryFileSystem, "pipe_file", overwriting)
        async with opened(memory) as store:
            with pytest.raises(StoreUnavailable, match="no put that fails"):
                await store.claim(SESSION, 1, "one")
        for address in ("file:///tmp/store", "ftp://host/store", "sftp://host/store"):
            with pytest.raises(InvalidInput, match="two nodes could drive one session"):
                async with opened(address):
                    pass

    asyncio.run(play())


async def written(root: Path, steps: int) -> list[int]:
    """A log with a group for each step, whose process then ends without a word; where each group ends."""
    store = opened(root)
    first = await store.__aenter__()
    await first.claim(SESSION, 1, "one")
    ends = []
    for step in range(steps):
        await first.append(SESSION, 1, [frame("value", b"%d" % step * 20), frame(f"row:{step}", b"r")])
        ends.append(next(root.rglob("segment-*")).stat().st_size)
    return ends


def state(root: Path) -> dict[str, bytes]:
    """What a takeover would find. Raises: StoreDamaged."""
    folder = Folder(root, no_faults)
    (log,) = folder.logs()
    found = {}
    for spot in scanned(folder, log)[1].frames[SESSION, 1].in_order():
        with folder.reading(log, spot.segment) as bytes_of:
            found[spot.key] = sound(spot, bytes_of(spot.offset, spot.size))
    return found


def after(steps: int) -> dict[str, bytes]:
    rows = {f"row:{step}": b"r" for step in range(steps)}
    return rows | ({"value": b"%d" % (steps - 1) * 20} if steps else {})


@pytest.mark.slow
def test_a_log_that_is_cut_off_at_any_byte_has_all_whole_groups_before_it(tmp_path: Path) -> None:
    ends = asyncio.run(written(tmp_path / "store", 4))
    (segment,) = (tmp_path / "store").rglob("segment-*")
    whole = segment.read_bytes()
    for size in range(ends[0], len(whole) + 1):
        segment.write_bytes(whole[:size])
        assert state(tmp_path / "store") == after(sum(end <= size for end in ends))


@pytest.mark.slow
def test_any_byte_that_was_changed_is_seen(tmp_path: Path) -> None:
    """In the last group, it is as if that had not been written whole; before that, it is damage."""
    ends = asyncio.run(written(tmp_path / "store", 3))
    (segment,) = (tmp_path / "store").rglob("segment-*")
    whole = segment.read_bytes()
    damaged, torn = 0, 0
    for at in range(len(whole)):
        segment.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        try:
            found = state(tmp_path / "store")
        except StoreDamaged:
            assert at < ends[-2]
            damaged += 1
        else:  # a body that has been replaced since may be anything
            assert found == after(2 if at >= ends[-2] else 3)
            torn += at >= ends[-2]
    assert torn == ends[-1] - ends[-2]
    assert damaged > ends[-2] * 0.8


def test_a_body_that_looks_like_a_group_is_none(tmp_path: Path) -> None:
    """Not even that of the log itself, unless its bytes were read first: the mark is made of a name that is random."""
    asyncio.run(written(tmp_path / "store", 2))
    (segment,) = (tmp_path / "store").rglob("segment-*")
    group = segment.read_bytes()

    store = opened(tmp_path / "second")

    async def dies() -> None:
        second = await store.__aenter__()
        await second.claim(SESSION, 1, "one")
        await second.append(SESSION, 1, [frame("value", b"1")])
        await second.append(SESSION, 1, [frame("hostile", group * 3)])

    asyncio.run(dies())
    (log,) = (tmp_path / "second").rglob("segment-*")
    whole = log.read_bytes()
    for cut in range(1, len(group) * 3, 97):
        log.write_bytes(whole[: len(whole) - cut])
        assert state(tmp_path / "second") == {"value": b"1"}


def test_a_segment_that_is_missing_or_short_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "segment_bytes", 4_000)

    async def play(spoil: Callable[[list[Path]], object], name: str) -> None:
        root = tmp_path / name
        async with opened(root) as second:
            store = opened(root)
            first = await store.__aenter__()
            await first.claim(SESSION, 1, "one")
            for step in range(4):
                await first.append(SESSION, 1, [frame(f"value:{step}", os.urandom(5_000))])
            spoil(sorted(root.rglob("segment-*")))
            with pytest.raises(StoreDamaged, match=r"segment|group|begin"):
                await second.claim(SESSION, 2, "two")

    asyncio.run(play(lambda segments: segments[0].unlink(), "first"))
    asyncio.run(play(lambda segments: segments[1].unlink(), "second"))
    asyncio.run(play(lambda segments: os.truncate(segments[1], 3_000), "short"))
    asyncio.run(play(lambda segments: [*map(Path.unlink, segments)], "all"))
