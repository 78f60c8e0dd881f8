"""A shared store as whoever uses it sees it: in a folder, with several processes' store objects on it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from pathlib import Path

import pytest

from rlm_kernel_mcp.cluster.shared import log, scanning
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.places.folder import Folder
from rlm_kernel_mcp.cluster.shared.places.medium import Medium
from rlm_kernel_mcp.cluster.shared.protocol import Claim, Frame
from rlm_kernel_mcp.errors import InvalidInput, SessionMoved, StoreDamaged
from tests.parts import ROOT
from tests.unit.cluster.shared.stores import SESSION, frame, objects_below, opened, read, taken_over


def test_whoever_takes_over_reads_what_was_acknowledged_in_its_order(where: str) -> None:
    async def play() -> None:
        async with opened(where) as first, opened(where) as second:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [Frame(1, "value:x", b"1"), Frame(2, "record", b"a")])
            await first.append(SESSION, 1, [Frame(1, "value:y", b""), Frame(2, "record", b"b")])
            await second.claim(SESSION, 2, "two")
            assert await second.newest(SESSION) == Claim(SESSION, 2, "two")
            frames = [one async for one in second.read(SESSION, 2)]
            assert frames == [Frame(1, "value:x", b"1"), Frame(1, "value:y", b""), Frame(2, "record", b"b")]

    asyncio.run(play())


def test_a_frame_without_a_body_removes_its_key(where: str) -> None:
    async def play() -> None:
        async with opened(where) as first, opened(where) as second:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("x", b"1"), frame("y", b"2")])
            await first.append(SESSION, 1, [frame("x", None), frame("never", None)])
            assert await read(first, 1) == {"y": b"2"}
            assert await taken_over(second, 2) == {"y": b"2"}

    asyncio.run(play())


def test_an_epoch_that_is_over_acknowledges_nothing_and_is_not_read(where: str) -> None:
    async def play() -> None:
        async with opened(where) as first, opened(where) as second:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("z", b"2")])
            assert await taken_over(second, 2) == {"z": b"2"}
            for frames in ([frame("z", b"zombie")], []):
                with pytest.raises(SessionMoved):
                    await first.append(SESSION, 1, frames)
            assert await read(second, 2) == {"z": b"2"}
            async with opened(where) as third:
                assert await taken_over(third, 3) == {"z": b"2"}

    asyncio.run(play())


def test_of_many_who_claim_one_epoch_at_once_one_has_it(where: str) -> None:
    async def play() -> None:
        async with opened(where) as first:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("x", b"1")])
            others = [opened(where) for _ in range(6)]
            stores = [await one.__aenter__() for one in others]
            ends = await asyncio.gather(*(store.claim(SESSION, 2, "n") for store in stores), return_exceptions=True)
            (winner,) = (store for store, end in zip(stores, ends, strict=True) if end is None)
            assert all(isinstance(end, SessionMoved) for end in ends if end is not None)
            assert await read(winner, 2) == {"x": b"1"}
            for one in others:
                await one.__aexit__(None, None, None)

    asyncio.run(play())


def test_an_older_epoch_is_not_had_after_a_newer_one(where: str) -> None:
    async def play() -> None:
        async with opened(where) as first, opened(where) as second:
            await first.claim(SESSION, 5, "one")
            with pytest.raises(SessionMoved, match="epoch 5"):
                await second.claim(SESSION, 3, "two")
            await first.append(SESSION, 5, [frame("x", b"1")])
            await first.claim(SESSION, 5, "one")  # its own again, as after an answer that did not come
            assert await taken_over(second, 9) == {"x": b"1"}

    asyncio.run(play())


def test_many_sessions_at_once_keep_their_own_orders(where: str) -> None:
    async def play() -> None:
        names = [f"s_{number}" for number in range(12)]
        async with opened(where) as first, opened(where) as second:
            await asyncio.gather(*(first.claim(name, 1, "one") for name in names))

            async def steps(name: str) -> None:
                for step in range(10):
                    await first.append(name, 1, [frame(f"row:{step}", name.encode()), frame("record", b"%d" % step)])

            await asyncio.gather(*map(steps, names))
            assert [claim.session_id for claim in await second.sessions()] == sorted(names)
            for name in names:
                found = await taken_over(second, 2, name)
                assert [*found] == [*(f"row:{step}" for step in range(10)), "record"]
                assert found["record"] == b"9"
                assert found["row:3"] == name.encode()

    asyncio.run(play())


def test_values_that_are_replaced_do_not_stay_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "SLACK_BYTES", 200_000)
    monkeypatch.setattr(Folder, "segment_bytes", 50_000)

    async def play() -> None:
        value = os.urandom(10_000)
        async with opened(tmp_path / "store") as first, opened(tmp_path / "store") as second:
            for name in ("s_moves", "s_stays"):
                await first.claim(name, 1, "one")
            await first.append("s_stays", 1, [frame("kept", value), frame("gone", value)])
            await first.append("s_stays", 1, [frame("gone", None)])
            for step in range(100):
                await first.append("s_moves", 1, [frame("value", value), frame("row", b"%d" % step)])
            on_disk = sum(path.stat().st_size for path in (tmp_path / "store" / "logs").rglob("segment-*"))
            assert on_disk < 350_000
            assert await read(first, 1, "s_stays") == {"kept": value}
            assert await taken_over(second, 2, "s_stays") == {"kept": value}
            assert await taken_over(second, 2, "s_moves") == {"value": value, "row": b"99"}

    asyncio.run(play())


def test_a_session_that_is_forgotten_is_gone_for_all(where: str) -> None:
    async def play() -> None:
        async with opened(where) as first, opened(where) as second:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("x", b"1")])
            await second.remove(SESSION)
            await second.remove(SESSION)
            assert await second.newest(SESSION) is None
            assert await second.sessions() == []
            with pytest.raises(SessionMoved):
                await first.append(SESSION, 1, [frame("x", b"2")])
            assert await taken_over(second, 1) == {}

    asyncio.run(play())


def test_a_session_that_was_left_waits_for_whoever_takes_it(where: str) -> None:
    async def play() -> None:
        async with opened(where) as second:
            async with opened(where) as first:
                await first.claim(SESSION, 1, "one")
                await first.append(SESSION, 1, [frame("x", b"1")])
                await first.leave(SESSION, 1)
                with pytest.raises(SessionMoved):
                    await first.append(SESSION, 1, [])
            assert await taken_over(second, 2) == {"x": b"1"}

    asyncio.run(play())


def test_the_log_of_a_lost_node_is_read_once_for_all_its_sessions(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read_logs: list[str] = []
    scan = scanning.scanned

    def counting(medium: Medium, name: str) -> scanning.Scan:
        read_logs.append(name)
        return scan(medium, name)

    monkeypatch.setattr(scanning, "scanned", counting)

    async def play() -> None:
        names = [f"s_{number}" for number in range(6)]
        async with opened(where) as first, opened(where) as second, opened(where) as third:
            for name in names:
                await first.claim(name, 1, "one")
                await first.append(name, 1, [frame("x", name.encode())])
            await asyncio.gather(*(second.claim(name, 2, "two") for name in names))
            assert len(read_logs) == 1
            await second.append(names[0], 2, [frame("x", b"new")])
            for name in names:
                expected = b"new" if name == names[0] else name.encode()
                assert await taken_over(third, 3, name) == {"x": expected}
            assert len(read_logs) == 2

    asyncio.run(play())


def test_groups_that_are_dead_do_not_stay_in_an_object_store(memory: str) -> None:
    async def play() -> None:
        async with opened(memory) as first, opened(memory) as second:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("kept", b"1")])
            for step in range(300):
                await first.append(SESSION, 1, [frame("row", b"%d" % step)])
            assert objects_below(memory) < 220
            assert await taken_over(second, 2) == {"kept": b"1", "row": b"299"}

    asyncio.run(play())


def test_a_blob_is_put_once_and_checked_when_it_is_read(tmp_path: Path) -> None:
    async def play() -> None:
        data = os.urandom(3 << 20)
        sha256 = hashlib.sha256(data).hexdigest()
        async with opened(tmp_path / "store") as store:
            assert not await store.has_blob(sha256)
            with pytest.raises(ValueError, match="another hash"):
                await store.put_blob("", sha256, [data, b"more"])
            assert not await store.has_blob(sha256)
            await store.put_blob("", sha256, (data[at : at + 100_000] for at in range(0, len(data), 100_000)))
            await store.put_blob(SESSION, sha256, ())
            assert b"".join([piece async for piece in store.blob(sha256)]) == data
            assert await store.sessions() == []
            (path,) = (tmp_path / "store").rglob(sha256)
            with path.open("r+b") as file:
                file.write(b"?")
            with pytest.raises(StoreDamaged, match="another hash"):
                [piece async for piece in store.blob(sha256)]
            with pytest.raises(StoreDamaged, match="no blob"):
                [piece async for piece in store.blob("0" * 64)]

    asyncio.run(play())


def test_a_sweep_removes_what_nobody_needs_and_nothing_else(where: str) -> None:
    async def play() -> None:
        blobs = {hashlib.sha256(data).hexdigest(): data for data in (b"used", b"unused", b"new")}
        used, unused, new = blobs
        async with opened(where) as first, opened(where) as second:
            await first.claim(SESSION, 1, "one")
            await first.append(SESSION, 1, [frame("x", b"1")])
            await first.put_blob(SESSION, used, [blobs[used]])
            await first.put_blob("", unused, [blobs[unused]])
            await first.put_blob("", new, [blobs[new]])
            assert await taken_over(second, 2) == {"x": b"1"}
            assert (await second.sweep()).logs == 1  # nobody needs the first one's log any more
            await first.put_blob("", new, ())  # it is about to be used
            assert (await first.sweep()).blobs == 0  # another one has noted it: its next sweep is the one that counts
            assert (await second.sweep()).blobs == 1
            assert [await first.has_blob(blob) for blob in blobs] == [True, False, True]
            await first.claim("s_late", 1, "one")  # whose log is gone: it has another one
            await first.append("s_late", 1, [frame("y", b"2")])
            assert await taken_over(second, 2, "s_late") == {"y": b"2"}
            assert await read(second, 2) == {"x": b"1"}

    asyncio.run(play())


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\n", ".hidden", "x" * 65, "ä", "\udc80"])
def test_no_name_leads_out_of_the_store(name: str, where: str) -> None:
    async def play() -> None:
        async with opened(where) as store:
            with pytest.raises(ValueError, match="session's id"):
                await store.claim(name, 1, "one")
            assert await store.newest(name) is None
            with pytest.raises(ValueError, match="session's id"):
                await store.remove(name)
            with pytest.raises(ValueError, match="sha256"):
                await store.has_blob(name)

    asyncio.run(play())


def test_what_is_no_frame_is_refused_before_anything_is_written(where: str) -> None:
    async def play() -> None:
        async with opened(where) as store:
            await store.claim(SESSION, 1, "one")
            for bad in (Frame(256, "k", b""), Frame(-1, "k", b""), Frame(0, "", b""), Frame(0, "k" * 1_025, b"")):
                with pytest.raises(ValueError, match=r"frame|key"):
                    await store.append(SESSION, 1, [frame("good", b"1"), bad])
            assert await read(store, 1) == {}

    asyncio.run(play())


def test_files_of_the_store_are_this_user_s_alone(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path / "store") as store:
            await store.claim(SESSION, 1, "one")
            await store.append(SESSION, 1, [frame("x", b"1")])
            await store.put_blob(SESSION, hashlib.sha256(b"b").hexdigest(), [b"b"])
            for path in (tmp_path / "store", *(tmp_path / "store").rglob("*")):
                assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)

    asyncio.run(play())


def test_a_store_is_an_absolute_path() -> None:
    with pytest.raises(InvalidInput, match="absolute path"):
        open_store("store")


def test_no_clock_decides_anything(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes whose clocks are an hour apart, either way, and one whose clock stands still."""

    async def play() -> None:
        hours = iter((0.0, 3_600.0, -3_600.0, 0.0))
        value = None
        for epoch in range(1, 5):
            now_s = next(hours)
            monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)
            monkeypatch.setattr(time, "time_ns", lambda now_s=now_s: int(now_s * 1e9))
            async with opened(where) as store:
                assert await taken_over(store, epoch) == ({} if value is None else {"x": value})
                value = b"%d" % epoch
                await store.append(SESSION, epoch, [frame("x", value)])
                await store.sweep()

    asyncio.run(play())


def test_the_store_asks_no_clock() -> None:
    """The wait for an answer alone has a bound, which is the event loop's."""
    sources = (ROOT / "rlm_kernel_mcp" / "cluster" / "shared").rglob("*.py")
    names = {
        path.name for path in sources if re.search(r"^(import|from) (time|datetime)\b", path.read_text(), re.MULTILINE)
    }
    assert names == set()
