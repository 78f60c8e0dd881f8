"""When values are kept and when they are not: changes, deletions, caps, time, code that fights it, the next step."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from rlm_kernel_mcp.errors import VariableNotFound
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.snapshots.file import GARBAGE_BYTES_MIN
from tests.losses import OWN, files, lose_kernel, lost, restored, settle, snapshots, values_file
from tests.sessions import WAIT_S, SessionDriver, end_session, open_registry

pytestmark = pytest.mark.anyio
MB = 1 << 20


@pytest.fixture(scope="module")
async def tight_registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """A registry whose kernels keep 2 MB of one name, 5 MB in all, for half a second."""
    policy = {"snapshots": {"name_mb": 2, "total_mb": 5, "step_ms": 500}}
    async with open_registry(tmp_path_factory.mktemp("state"), policy=policy) as opened:
        yield opened


@pytest.fixture
async def tight(tight_registry: Registry) -> AsyncIterator[SessionDriver]:
    """A session whose snapshots are small."""
    made = await SessionDriver.open(tight_registry)
    yield made
    await end_session(made)


async def test_a_value_changed_in_place_comes_back_changed(session: SessionDriver) -> None:
    """Also where the change was made through another name, or by a function."""
    await session.ok("data = [1]\nalias = data\nbox = {'in': data}\ndef grow(): data.append(len(data))")
    await settle(session)
    await session.ok("alias.append('by alias'); grow(); box['in'].append('by box')")
    await lose_kernel(session)
    report = await session.ok("(data, alias, box)")
    assert lost(report) == {}
    assert report.result is not None
    assert " ".join(report.result.split()) == (
        "([1, 'by alias', 2, 'by box'], [1, 'by alias', 2, 'by box'], {'in': [1, 'by alias', 2, 'by box']})"
    )


@pytest.mark.parametrize(
    ("failing", "is_by_pipe"), [("snapshots.take_small = fail", False), ("snapshots.take = fail", True)]
)
async def test_a_kernel_whose_own_part_of_a_snapshot_fails_says_so_and_is_kept(
    any_session: SessionDriver, failing: str, is_by_pipe: bool
) -> None:
    """Short of memory it may; a kernel that said nothing would be taken for one that hangs, and killed."""
    await any_session.ok(
        "mine = [1]\ndef fail(*_): raise MemoryError\n"
        "snapshots = get_ipython().kernel.snapshots\nsnapshots.take_small = lambda *_: None\n" + failing
    )
    if is_by_pipe:  # for the other the next step comes at once: then nobody asks by way of the pipe
        await settle(any_session)
    assert (await any_session.ok("mine")).lost is None
    assert (await any_session.ok("mine.append(2); mine")).result == "[1, 2]"


async def test_values_of_steps_that_change_nothing_are_as_of_the_last_of_them(session: SessionDriver) -> None:
    """Where every value is one that cannot change, the reply says so, and no snapshot is taken."""
    await session.ok("number = 1\ntext = 'a'")
    await settle(session)
    begun: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots(session), "begin", lambda kernel, step, *_: begun.append(step))
        for _ in range(3):
            await session.ok("number + 1")
        assert snapshots(session).step == 4
        await session.ok("number = 2")
        assert begun == [5]
    await session.ok("items = []")
    await settle(session)
    await session.ok("items.append(1)")
    await lose_kernel(session)
    report = await session.ok("(number, text, items)")
    assert (report.result, lost(report)) == ("(2, 'a', [1])", {})


async def test_numbers_that_take_turns_in_the_same_memory_come_back_as_the_last_one(session: SessionDriver) -> None:
    """An object's identity is not a proof that its value is what it was: Python gives the place to the next one."""
    await session.ok("x = float('1.5')")
    await settle(session)
    await session.ok(
        "before = id(x)\nfor n in range(2, 50):\n    x = n + 0.5\n    if id(x) == before: break\n(n, id(x) == before)"
    )
    expected = (await session.ok("x")).result
    assert expected != "1.5"
    await lose_kernel(session)
    assert (await session.ok("x")).result == expected


async def test_a_name_that_was_deleted_stays_away_and_is_no_loss(session: SessionDriver) -> None:
    """It was the step's own wish."""
    await session.ok("kept = 1\ngone = [2]")
    await settle(session)
    await session.ok("del gone")
    await lose_kernel(session)
    report = await session.run("gone")
    assert report.error is not None
    assert report.error.ename == "NameError"
    assert lost(report) == {}
    assert restored(report) == {"kept"} | OWN


async def test_what_a_second_kernel_made_is_kept_too(session: SessionDriver) -> None:
    """Restored, changed, lost again."""
    await session.ok("a = [1]\nclass C: pass\nc = C()")
    await lose_kernel(session)
    await session.ok("a.append(2)\nb = a\nd = C()")
    await lose_kernel(session)
    report = await session.ok("a.append(3); (a, b, type(d) is C, type(c) is C)")
    assert report.result == "([1, 2, 3], [1, 2], True, True)"
    await lose_kernel(session)
    assert (await session.ok("(a, b)")).result == "([1, 2, 3], [1, 2])"


async def test_two_kernels_lost_without_a_step_between_tell_one_loss(session: SessionDriver) -> None:
    """Nothing is said twice, and what came back is not called lost."""
    await session.ok("a = 1\ng = (i for i in 'x')")
    await lose_kernel(session)
    assert await session.value("a") == 1
    await lose_kernel(session)
    report = await session.ok("a")
    assert set(lost(report)) == {"g"}
    assert restored(report) == {"a"} | OWN


async def test_a_name_that_a_kernel_took_with_it_is_told_to_who_reads_it(session: SessionDriver) -> None:
    """Until a step binds it again."""
    await session.ok("g = (i for i in 'x')")
    await lose_kernel(session)
    await session.ok("1")
    with pytest.raises(
        VariableNotFound, match="'g' in this session: it was lost when the kernel was replaced after step"
    ):
        await session.slice("g")
    await session.ok("g = 1")
    await session.ok("del g")
    with pytest.raises(VariableNotFound, match="'g' in this session; there are"):
        await session.slice("g")


async def test_a_kernel_lost_before_its_snapshot_tells_what_is_old_and_what_is_gone(session: SessionDriver) -> None:
    """The values of the snapshot before come back as they were then; names without one are lost."""
    await session.ok("old = [1]")
    await settle(session)
    slow = "class Slow:\n    def __reduce__(self):\n        while True: pass\nslow = Slow()\n"
    report = await session.ok(f"{slow}old = [2]\nfresh = [3]")
    await lose_kernel(session, settled=False)
    report = await session.ok("old")
    assert report.result == "[1]"
    assert lost(report)["old"] == "restored as it was after step 1; later steps may have changed it"
    assert lost(report)["fresh"] == "its value (list) was not kept"
    assert lost(report)["slow"] == "its value (Slow) was not kept"


async def test_what_cannot_change_is_not_told_as_old_where_there_was_no_time(tight: SessionDriver) -> None:
    """Large texts, tuples and None come back as they were, and nothing is said of them."""
    await tight.ok("text = 'x' * 200_000\npair = (1, 'a')\nnothing = None\nmany = [1]")
    await settle(tight)
    slow = "class Slow:\n    def __reduce__(self):\n        time.sleep(1)\n        return int, ()"
    await tight.ok(f"import time\n{slow}\nslow = Slow()")
    await lose_kernel(tight)
    report = await tight.ok("text == 'x' * 200_000, pair, nothing, many")
    assert report.result == "(True, (1, 'a'), None, [1])"
    assert set(lost(report)) == {"many", "slow"}


async def test_a_value_above_its_cap_is_not_kept_and_the_others_are(tight: SessionDriver) -> None:
    """2 MB of one name, 5 MB of all: the reason names both."""
    await tight.ok(
        "small = 'x'\nlarge = 'y' * 3_000_000\none = 'a' * 1_800_000; two = 'b' * 1_800_000; three = 'c' * 1_800_000"
    )
    await lose_kernel(tight)
    report = await tight.ok("(small, len(one), len(two))")
    assert report.result == "('x', 1800000, 1800000)"
    why = "its value is larger than 2 MB, or the session's 5 MB are full"
    assert lost(report) == {"large": why, "three": why}


async def test_a_value_that_shrinks_below_its_cap_is_kept_again(tight: SessionDriver) -> None:
    """The room that others gave up is there for it."""
    await tight.ok("large = 'y' * 3_000_000\none = 'a' * 1_900_000; two = 'b' * 1_900_000; three = 'c' * 1_900_000")
    await settle(tight)
    await tight.ok("large = 'z'; del one")
    await settle(tight)
    await tight.ok("1")
    await lose_kernel(tight)
    report = await tight.ok("(large, len(two), len(three))")
    assert report.result == "('z', 1900000, 1900000)"
    assert lost(report) == {}


async def test_a_value_that_takes_too_long_is_given_up_and_the_others_are_kept(tight: SessionDriver) -> None:
    """Half a second a step; it is not tried again until it is bound again, so that the others have their turn."""
    await tight.ok(
        "import time\nclass Slow:\n    def __reduce__(self):\n        time.sleep(60)\nslow = Slow()\nbeside = [1]"
    )
    await settle(tight)
    await tight.ok("1")
    await lose_kernel(tight)
    report = await tight.ok("beside")
    assert report.result == "[1]"
    assert lost(report) == {"slow": "keeping it took too long"}


SWALLOWS = """
import time
entered = False
class Stubborn:
    def __reduce__(self):
        global entered
        entered = True
        while True:
            try:
                while True: time.sleep(0.001)
            except BaseException:
                pass
stubborn = Stubborn()
"""


SLEEPS = """
import time
entered = False
class Slow:
    def __reduce__(self):
        global entered
        entered = True
        time.sleep(60)
slow = Slow()
"""


async def until_entered(session: SessionDriver) -> None:
    """Wait until a value's own code is running for a snapshot."""
    async with asyncio.timeout(WAIT_S):
        while not await session.value("entered"):  # noqa: ASYNC110  (nobody tells of it)
            await asyncio.sleep(0)


async def test_the_next_step_does_not_wait_for_a_snapshot(session: SessionDriver) -> None:
    """A value's code that would run for a minute lets go at once when a step comes."""
    await session.ok(SLEEPS)
    await until_entered(session)
    report = await session.ok("time.monotonic()", timeout_ms=20_000)
    assert report.lost is None
    assert report.duration_ms < 20_000


@pytest.mark.slow
async def test_a_kernel_whose_values_do_not_let_it_go_is_replaced(session: SessionDriver) -> None:
    """Code that catches the signal and runs on: the step runs in a fresh kernel, and is told why."""
    await session.ok("kept = [1]")
    await settle(session)
    await session.ok(SWALLOWS)
    await until_entered(session)
    report = await session.ok("kept", timeout_ms=20_000)
    assert report.result == "[1]"
    assert report.lost is not None
    assert report.lost.reason.startswith(
        "a value's own code, run to keep the value, did not end, or the kernel did not"
    )
    assert lost(report)["stubborn"] == "its value (Stubborn) was not kept"


HANGS_WHEN_RESTORED = """
import itertools, collections
def hang(): {how}
class Trap:
    def __reduce__(self): return hang, ()
trap = Trap()
beside = [1]
"""


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("time.sleep(600)", "its own code did not end when it was restored"),
        (
            "collections.deque(itertools.repeat(0), maxlen=0)",
            "the fresh kernel did not survive its restoring",
        ),
    ],
    ids=["in Python", "in C"],
)
async def test_a_value_that_hangs_when_it_is_restored_is_left_behind(
    session: SessionDriver, how: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session comes back with the others, whatever the value does."""
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.restoring.RESTORE_S", 0.3)
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.taking.SIGNALS", 20)
    await session.ok("import time" + HANGS_WHEN_RESTORED.format(how=how))
    await lose_kernel(session)
    report = await session.ok("beside")
    assert report.result == "[1]"
    assert lost(report) == {"trap": why}


async def test_values_of_which_each_ends_the_fresh_kernel_do_not_end_the_session(any_registry: Registry) -> None:
    """After three kernels the session goes on without its values, and says so."""
    session = await SessionDriver.open(any_registry)
    await session.ok(
        "import os\nclass Bomb:\n    def __reduce__(self): return os._exit, (3,)\n"
        "one, two, three, four = Bomb(), Bomb(), Bomb(), Bomb()\nbeside = [1]"
    )
    await lose_kernel(session)
    report = await session.run("(context, 'beside' in globals())")
    assert report.result == "('some text', False)"
    assert set(lost(report)) == {"os", "Bomb", "one", "two", "three", "four", "beside"}


async def test_a_value_that_ends_the_kernel_while_it_is_kept_loses_that_kernel_alone(any_registry: Registry) -> None:
    """What was kept before comes back. It ends the kernel once the host wants that back: the step is told by then."""
    session = await SessionDriver.open(any_registry)
    await session.ok("kept = [1]")
    await settle(session)
    await session.ok(
        "import os, time\nclass Bomb:\n    def __reduce__(self):\n        try:\n"
        "            while True: time.sleep(0.01)\n        except BaseException: os._exit(3)\nbomb = Bomb()"
    )
    await settle(session)
    report = await session.ok("kept")
    assert report.result == "[1]"
    assert lost(report)["bomb"] == "its value (Bomb) was not kept"


@pytest.mark.slow
async def test_names_beyond_what_is_kept_are_counted(session: SessionDriver) -> None:
    """The newest 5,000 names come back; a hundred thousand do not end the kernel."""
    await session.ok("globals().update({f'v{n}': n for n in range(100_000)}); globals()['n' * 1000] = 1")
    await lose_kernel(session)
    report = await session.ok("(v95000, v99999)")
    assert report.result == "(95000, 99999)"
    assert lost(report)["95,001 more names"] == "of a session 5,000 names are kept"


async def test_a_thread_that_changes_a_value_all_the_time_costs_that_value_at_most(session: SessionDriver) -> None:
    """A dict that grows while it is pickled."""
    await session.ok(
        "import threading, itertools\nmoving = {0: 0}\nstill = [1]\ngo = True\n"
        "def grow():\n    for n in itertools.count():\n        if not go: return\n        moving[n % 50_000] = n\n"
        "thread = threading.Thread(target=grow); thread.start()"
    )
    await settle(session)
    await lose_kernel(session)
    report = await session.ok("still")
    assert report.result == "[1]"
    assert set(lost(report)) - {"moving"} == {"thread"}


async def test_a_snapshot_that_the_host_did_not_get_is_sent_again(
    session: SessionDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel believed it sent; the host's disk was full. The next snapshot has the value, not an older one."""
    await session.ok("x = ['old']")
    await settle(session)
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.file.write_at", full_disk)
    told = await session.ok("x = ['new']")
    assert told.note is None
    await settle(session)
    monkeypatch.undo()
    told = await session.ok("1")
    assert told.note is not None
    assert told.note.startswith("The values of this session are not kept for a restart: the disk is full")
    await settle(session)
    assert (await session.ok("2")).note is None
    await lose_kernel(session)
    report = await session.ok("x")
    assert report.result == "['new']"
    assert lost(report) == {}


def full_disk(target: int, block: bytes, offset: int) -> None:
    del target, block, offset
    raise OSError(28, os.strerror(28))


async def test_a_full_disk_leaves_the_older_value_and_says_so(
    session: SessionDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the kernel goes before there is room again."""
    await session.ok("x = ['old']")
    await settle(session)
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.file.write_at", full_disk)
    await session.ok("x = ['new']")
    await lose_kernel(session)
    report = await session.ok("x")
    assert report.result == "['old']"
    assert lost(report) == {"x": "restored as it was after step 1; later steps may have changed it"}


@pytest.mark.parametrize("damage", ["cut short", "a bit turned", "gone", "emptied"])
async def test_a_damaged_file_is_noticed_and_its_values_are_lost_by_name(session: SessionDriver, damage: str) -> None:
    """Never a wrong value: each one is held against its checksum."""
    await session.ok("first = 'a' * 100\nlast = 'z' * 100")
    await settle(session)
    path = values_file(session)
    data = bytearray(path.read_bytes())
    match damage:
        case "cut short":
            path.write_bytes(data[:-10])
        case "a bit turned":
            data[data.index(b"zzzz") + 50] ^= 1
            path.write_bytes(data)
        case "gone":
            path.unlink()
        case _:
            path.write_bytes(b"")
    await lose_kernel(session)
    report = await session.ok("'first' in globals(), 'last' in globals()")
    some = damage in ("cut short", "a bit turned")
    assert report.result == str((some, False))
    gone = {"last"} if some else {"first", "last"}
    assert lost(report) == dict.fromkeys(gone, "its snapshot on disk is damaged")


async def test_the_file_is_moved_together_when_most_of_it_is_dead(session: SessionDriver) -> None:
    """It does not grow with the number of steps; what is in it stays."""
    await session.ok("kept = {'a': [1]}\nimport random")
    for _ in range(12):
        await session.ok("bulk = random.randbytes(2_000_000)")
        await settle(session)
    size = sum(path.stat().st_size for path in files(session) if path.exists())
    assert size <= GARBAGE_BYTES_MIN + 2 * 2_000_100 + 10_000
    await lose_kernel(session)
    report = await session.ok("(kept, len(bulk))")
    assert report.result == "({'a': [1]}, 2000000)"
    assert lost(report) == {}


@pytest.mark.slow
async def test_fifty_megabytes_come_back(session: SessionDriver) -> None:
    """As text, as bytes and as many small objects."""
    await session.ok(
        "text = 'x' * 20_000_000\nraw = bytes(20_000_000)\nmany = {f'key {n}': [n, str(n)] for n in range(200_000)}"
    )
    await lose_kernel(session)
    report = await session.ok("(len(text), len(raw), len(many), many['key 199999'])")
    assert report.result == "(20000000, 20000000, 200000, [199999, '199999'])"
    assert lost(report) == {}


async def test_a_finalized_session_leaves_no_file(session: SessionDriver) -> None:
    """Its values are nobody's any more."""
    await session.ok("x = 'secret'")
    await settle(session)
    assert any(path.exists() for path in files(session))
    await session.ok("y = 'more'")
    await session.finalize(text="done")
    assert not any(path.exists() for path in files(session))


async def test_the_files_are_this_user_s_alone(session: SessionDriver) -> None:
    """Directory 0700, files 0600."""
    await session.ok("x = 1")
    await settle(session)
    path = values_file(session)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    modes = set()
    for found in path.parent.iterdir():
        with suppress(FileNotFoundError):  # another session's index, which is replaced just now
            modes.add(found.stat().st_mode & 0o777)
    assert modes == {0o600}


async def test_a_kernel_killed_in_the_middle_of_its_snapshot_loses_nothing_older(session: SessionDriver) -> None:
    """The half that came is not a value."""
    await session.ok("x = ['old']\nbig = b'1' * 30_000_000")
    await settle(session)
    await session.ok("x = ['new']\nbig = b'2' * 30_000_000\nother = b'3' * 30_000_000")
    await lose_kernel(session, settled=False)
    report = await session.ok("(x[0], big[0], len(big))")
    assert report.result in ("('old', 49, 30000000)", "('new', 50, 30000000)")
    if "old" in report.result:
        assert {"x", "big"} <= set(lost(report))


async def test_the_signal_that_ends_a_snapshot_does_nothing_in_a_step(session: SessionDriver) -> None:
    """Neither in one that runs nor between steps."""
    session.kernel.process.send_signal(signal.SIGUSR2)
    begun = await session.begin(
        "import time\ntry:\n    print('begun', flush=True)\n    while True: time.sleep(0.001)\n"
        "except KeyboardInterrupt: pass\n'done'"
    )
    await session.until_printed("begun")
    for _ in range(20):
        session.kernel.process.send_signal(signal.SIGUSR2)
        await asyncio.sleep(0)
    session.kernel.process.send_signal(signal.SIGINT)
    report = await session.end_of(begun.step_index)
    assert (report.status, report.result) == ("ok", "'done'")


async def test_many_steps_at_once_after_each_other_keep_the_newest_values(session: SessionDriver) -> None:
    """Each cuts the snapshot of the one before short; the last one is whole."""
    await session.ok("bulk = {n: str(n) for n in range(100_000)}\ncount = []")
    for _ in range(20):
        await session.ok("count.append(len(count))")
    await lose_kernel(session)
    report = await session.ok("(len(count), len(bulk))")
    assert report.result == "(20, 100000)"
    assert lost(report) == {}


@pytest.mark.slow
async def test_one_session_s_snapshot_does_not_hold_another_s(registry: Registry) -> None:
    """16 sessions, of which each keeps something at the same time."""
    sessions = await asyncio.gather(*(SessionDriver.open(registry, f"context {n}") for n in range(8)))
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(session.ok(f"x = [{n}] * 100_000") for n, session in enumerate(sessions)))
        await asyncio.gather(*(lose_kernel(session) for session in sessions))
        reports = await asyncio.gather(*(session.ok("(x[0], len(x), context)") for session in sessions))
    assert [report.result for report in reports] == [f"({n}, 100000, 'context {n}')" for n in range(8)]
    for session in sessions:
        await session.finalize(text="done")
