"""Steps that do not end by themselves: the deadline, `rlm_interrupt`, and what is left of the session after them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import SessionDriver, open_registry

pytestmark = pytest.mark.anyio

DEADLINE_MS = 200
BODY = "n = 0\nwhile True: n += 1"
IN_DESTRUCTORS = f"class Dropped:\n    def __del__(self):\n        while True: pass\nDropped()\nDropped()\n{BODY}"
"""Where Python swallows what a handler raises: twice, and as often does the ladder send SIGINT."""

OBEDIENT = {
    "a python loop": BODY,
    "a sleep": "import time\ntime.sleep(3600)",
    "an await": "import asyncio\nawait asyncio.sleep(3600)",
    "an async function that blocks": "async def f():\n    n = 0\n    while True: n += 1\nawait f()",
    "an await within a group": "import asyncio as a\nasync with a.TaskGroup() as g: g.create_task(a.sleep(3600))",
    "a lock that is held": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "a join": "import threading\nt = threading.Thread(target=threading.Event().wait, daemon=True)\nt.start()\nt.join()",
    "a regular expression": "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
    "a giant power": "x = 10 ** 6\nx = x ** x",
    "a KeyboardInterrupt swallowed once": (
        f"try:\n    n = 0\n    while True: n += 1\nexcept KeyboardInterrupt: print('swallowed')\n{BODY}"
    ),
    "a finally that loops": "try:\n    n = 0\n    while True: n += 1\nfinally:\n    while True: n += 1",
    "destructors": IN_DESTRUCTORS,
}
"""What SIGINT ends, once or twice."""

READY = "print('begun', flush=True)"
"""Where a step is ready for what it is about."""


def endlessly(*lines: str, swallowed: str = "BaseException") -> str:
    """A loop that swallows what is raised in it."""
    body = "".join(f"        {line}\n" for line in (READY, *lines))
    return f"while True:\n    try:\n{body}    except {swallowed}: pass"


# `n = 0` is there for CPython 3.11, which counts a loop's jump to the line before it.
STUBBORN = {
    "KeyboardInterrupt swallowed for ever": endlessly("n = 0", "while True: n += 1", swallowed="KeyboardInterrupt"),
    "everything swallowed for ever": endlessly("n = 0", "while True: n += 1"),
    "a cancellation swallowed for ever": f"import asyncio\n{endlessly('await asyncio.sleep(3600)')}",
    "one call of C code": endlessly("sum(range(10 ** 12))"),
    "C code that never looks up": f"from itertools import repeat\n{endlessly('1 in repeat(0)')}",
}
"""What only SIGKILL ends."""

HOSTILE = {
    "SIGINT ignored": f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{READY}\n{BODY}",
    "every signal ignored": (
        "import signal\n"
        "for number in signal.valid_signals():\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        f"    except (OSError, ValueError): pass\n{READY}\n{BODY}"
    ),
    "a handler that does nothing": f"import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\n{READY}\n{BODY}",
    "handlers taken from C": (
        "import ctypes\n"
        "for number in range(1, 32): ctypes.CDLL(None).signal(number, ctypes.c_void_p(1))\n"
        f"{READY}\n{BODY}"
    ),
}
"""The same, by means that the allowlist does not give."""


@pytest.mark.parametrize("code", OBEDIENT.values(), ids=OBEDIENT.keys())
async def test_an_interrupted_step_ends_and_the_kernel_lives_on(shared: SessionDriver, code: str) -> None:
    """What was bound before stays, also what the step bound, and the next step runs."""
    await shared.ok("kept = 'before'")
    process = shared.kernel.process
    await shared.begin(f"kept = 'within'\n{READY}\n{code}")
    await shared.until_printed("begun\n")
    report = await shared.interrupt()
    assert report.status == "interrupted"
    assert report.error is not None
    assert report.error.ename == "KeyboardInterrupt"
    assert report.lost is None
    assert report.stdout.startswith("begun\n")
    assert "kept" in [variable.name for variable in report.updated_vars_summary]
    assert (await shared.ok("kept")).result == "'within'"
    assert shared.kernel.process is process


@pytest.mark.parametrize("place", ["self._publish_execute_input", "self.state.say_changed", "self.cells.note"])
async def test_an_interrupt_before_a_step_s_code_begins_is_not_lost(hasty_registry: Registry, place: str) -> None:
    """Its client has seen by then that the kernel is busy with it. Nothing of the code runs, and the next step does."""
    session = await SessionDriver.open(hasty_registry, "the context")
    owner, _, name = place.rpartition(".")
    await session.ok(
        "import signal\n"
        f"self = get_ipython().kernel\nowner = {owner}\nproper = owner.{name}\n"
        "def at_this_place(*arguments):\n"
        f"    owner.{name} = proper\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    return proper(*arguments)\n"
        f"def from_the_next_step_on():\n    owner.{name} = at_this_place\n"
        "    get_ipython().events.unregister('post_execute', from_the_next_step_on)\n"
        "get_ipython().events.register('post_execute', from_the_next_step_on)"
    )
    report = await session.run("begun = True")
    assert (report.status, report.error and report.error.ename) == ("error", "KeyboardInterrupt")
    assert (await session.ok("'begun' in globals()")).result == "False"


async def test_an_interrupt_that_a_destructor_swallows_is_not_told_and_a_destructor_s_own_is(
    shared: SessionDriver,
) -> None:
    """The first comes again and ends the step; the second is the code's, ends nothing, and stands on stderr."""
    report = await shared.run(IN_DESTRUCTORS, timeout_ms=DEADLINE_MS)
    assert (report.status, report.lost) == ("timeout", None)
    assert "ignored" not in report.stderr
    report = await shared.ok("class Own:\n    def __del__(self): raise KeyboardInterrupt('mine')\nOwn()\n1")
    assert report.result == "1"
    assert "mine" in report.stderr


async def test_an_interrupt_that_is_to_come_again_hits_no_later_step(hasty_registry: Registry) -> None:
    """A destructor swallows it, and the step ends before it comes again: here only when the next one runs."""
    session = await SessionDriver.open(hasty_registry, "the context")
    await session.ok(
        "import signal\n"
        "interrupts, calls = get_ipython().kernel.interrupts, []\n"
        "proper, interrupts.later = interrupts.later, lambda seconds, call: calls.append(call)\n"
        "class Dropped:\n"
        "    def __del__(self):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        for n in range(100): pass\n"
        "Dropped()\n1"
    )
    assert (await session.ok("len(calls)")).result == "1"
    report = await session.ok("interrupts.later = proper\ncalls.pop()()\nfor n in range(100): pass\n'whole'")
    assert report.result == "'whole'"


async def test_an_error_at_the_address_of_an_interrupt_that_was_caught_is_told(hasty_registry: Registry) -> None:
    """The interrupt is over, and what a destructor raises later is another exception."""
    session = await SessionDriver.open(hasty_registry, "the context")
    report = await session.ok(
        "import signal\n"
        "def address_of_one_that_was_caught():\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        while True: pass\n"
        "    except KeyboardInterrupt as error:\n"
        "        return id(error)\n"
        "class Own:\n"
        "    def __del__(self): raise made\n"
        "for kind in (ValueError, KeyboardInterrupt):\n"
        "    for turn in range(100):\n"
        "        address = address_of_one_that_was_caught()\n"
        "        several = [kind('mine') for _ in range(10_000)]\n"
        "        if made := next((one for one in several if id(one) == address), None): break\n"
        "    Own()\n"
        "    for n in range(100): pass\n"
        "'whole'"
    )
    assert report.result == "'whole'"
    assert [f"{kind}: mine" in report.stderr for kind in ("ValueError", "KeyboardInterrupt")] == [True, True]


async def test_a_step_past_its_deadline_is_interrupted(shared: SessionDriver) -> None:
    """The step is reported as timed out, with the session's limits untouched."""
    report = await shared.run(BODY, timeout_ms=DEADLINE_MS)
    assert (report.status, report.guardrail_stop, report.lost) == ("timeout", None, None)
    assert report.duration_ms >= DEADLINE_MS
    assert (await shared.ok("n > 0")).result == "True"


async def rungs(session: SessionDriver) -> list[str]:
    """The rungs of the ladder that the trace names."""
    return [event.summary.split()[0] for event in await session.trace("summary") if event.action == "interrupt"]


@pytest.fixture(scope="module")
async def hasty_registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """A registry that does not wait long for a step that will not obey anyway."""
    state = tmp_path_factory.mktemp("state")
    async with open_registry(state, policy={"interrupt_grace_ms": 200}, RLM_IMPORT_POLICY="any") as opened:
        yield opened


@pytest.mark.parametrize("code", (STUBBORN | HOSTILE).values(), ids=(STUBBORN | HOSTILE).keys())
async def test_a_step_that_ignores_the_interrupt_is_killed_and_says_so(hasty_registry: Registry, code: str) -> None:
    """The session goes on with a fresh kernel that has the context; the reply says what happened to the rest."""
    session = await SessionDriver.open(hasty_registry, "the context")
    await session.ok("kept = 1")
    pid = session.kernel.process.pid
    await session.begin(code)
    await session.until_printed("begun\n")
    report = await session.interrupt()
    assert report.status == "interrupted"
    assert report.stdout.startswith("begun\n")
    assert report.lost is not None
    assert "killed" in report.lost.reason
    assert {"context", "documents", "scratch"} <= set(report.lost.restored)
    assert "kept" in {*report.lost.restored, *dict(report.lost.names)}
    assert (await session.ok("context")).result == "'the context'"
    assert session.kernel.process.pid != pid
    assert await rungs(session) == ["SIGINT", "SIGINT", "SIGKILL"]


async def test_a_stopped_kernel_does_not_stop_the_session(session: SessionDriver) -> None:
    """SIGSTOP from outside: the step ends at its deadline all the same."""
    await session.begin(f"{READY}\nimport time\nwhile True: time.sleep(60)", timeout_ms=5 * DEADLINE_MS)
    await session.until_printed("begun\n")
    await session.pause_kernel()
    report = await session.end_of(1)
    assert report.status == "timeout"
    assert report.lost is not None
    assert await rungs(session) == ["SIGINT", "SIGINT", "SIGKILL"]
    assert (await session.ok("1 + 1")).result == "2"


async def test_threads_left_running_do_not_hold_the_step_open(session: SessionDriver) -> None:
    """A step ends when its code does; its threads go on, and later output of theirs is not lost."""
    report = await session.ok(
        "import threading\n"
        "go, done = threading.Event(), threading.Event()\n"
        "def work():\n"
        "    go.wait()\n"
        "    global worked\n"
        "    worked = True\n"
        "    print('from the thread')\n"
        "    done.set()\n"
        "threading.Thread(target=work).start()"
    )
    assert report.stdout == ""
    report = await session.ok("go.set()\ndone.wait()\nworked")
    assert report.result == "True"
    assert report.stdout == "from the thread\n"


async def test_rlm_interrupt_ends_the_running_step(shared: SessionDriver) -> None:
    """The reply is the step's own report; the waiting call gets it too."""
    began = await shared.begin(f"{READY}\n{BODY}")
    await shared.until_printed("begun\n")
    report = await shared.interrupt()
    assert (report.status, report.step_index, report.stdout) == ("interrupted", began.step_index, "begun\n")
    assert (await shared.end_of(began.step_index)).status == "interrupted"
    idle = await shared.interrupt()
    assert idle.status == "ok"
    assert idle.note is not None
    assert "No step was running" in idle.note


INTERRUPT_ITSELF = """
import signal
handlers = get_ipython().kernel.shell_handlers
begin = handlers['execute_request']
async def interrupted(*arguments):
    signal.raise_signal(signal.SIGINT)
    await begin(*arguments)
handlers['execute_request'] = interrupted
"""


async def test_an_interrupt_that_comes_before_a_step_s_code_takes_nothing_from_it(any_session: SessionDriver) -> None:
    """But its run: neither its reply nor its snapshot, without which the next step would not begin for a while."""
    await any_session.ok(INTERRUPT_ITSELF)
    for number in range(3):
        report = await any_session.run(f"x = {number}\nx")
        assert (report.status, report.error and report.error.ename) == ("error", "KeyboardInterrupt")
        assert (report.result, report.lost) == (None, None)


async def test_an_interrupt_that_comes_as_a_step_ends_harms_neither_it_nor_the_next(shared: SessionDriver) -> None:
    """At whatever line it lands: each step gets its reply, and none is hit by an interrupt meant for another."""
    for turn in range(50):
        await shared.run(f"for n in range({turn * 40}): pass", wait_ms=0)
        report = await shared.interrupt()
        assert report.status in ("ok", "interrupted"), report
        assert report.lost is None
        assert (await shared.ok(f"{turn} + 0")).result == str(turn)


async def test_a_step_goes_on_when_the_call_that_began_it_is_cancelled(shared: SessionDriver) -> None:
    """A step belongs to the session and not to the call."""
    code = (
        "import time\ntry:\n    print('begun', flush=True)\n    time.sleep(3600)\n"
        "except KeyboardInterrupt: pass\nprint('whole')"
    )
    call = asyncio.create_task(shared.run(code))
    await shared.until_printed("begun\n")
    call.cancel()
    await asyncio.wait({call})
    shared.kernel.process.send_signal(signal.SIGINT)  # by which it is to end, once the call has
    report = await shared.end_of(shared.session.counters.step_index)
    assert (report.status, report.stdout) == ("ok", "begun\nwhole\n")
