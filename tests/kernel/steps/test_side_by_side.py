"""While a step runs: what is asked of its session and of others is answered at once, and nothing is mixed up."""

from __future__ import annotations

import asyncio
import sys

import pytest

from rlm_kernel_mcp.errors import SessionBusy, VariableNotFound
from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import WAIT_S, SessionDriver, until

pytestmark = pytest.mark.anyio

ENDLESS = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.01)"


async def test_everything_else_is_answered_while_a_step_runs(registry: Registry) -> None:
    """Variables, trace, the list and other sessions; a second step is refused with what to do."""
    busy, other = await SessionDriver.open(registry), await SessionDriver.open(registry, "other")
    await busy.ok("kept = [1, 2, 3]")
    began = await busy.begin(ENDLESS)
    await busy.until_printed("begun")
    with pytest.raises(SessionBusy, match=f"Step {began.step_index} of session"):
        await busy.run("1")
    with pytest.raises(SessionBusy):
        await busy.finalize(text="done")
    assert await busy.value("kept") == [1, 2, 3]
    with pytest.raises(VariableNotFound, match="kept"):
        await busy.value("kep")
    assert [event.result_status for event in await busy.trace("summary")][-1] == "running"
    assert (await other.ok("context")).result == "'other'"
    listed = {row.session_id: row.status for row in (await registry.list_sessions()).rows}
    assert (listed[busy.session_id], listed[other.session_id]) == ("running", "idle")
    partial = await busy.end_of(began.step_index, wait_ms=0)
    assert (partial.status, partial.stdout) == ("running", "begun\n")
    assert (await busy.interrupt()).status == "interrupted"


async def test_a_variable_is_read_while_the_step_computes(session: SessionDriver) -> None:
    """A pure Python loop holds the interpreter lock most of the time; the value read is the one of this moment."""
    await session.begin("n = 0\nprint('begun', flush=True)\nwhile True: n += 1")
    await session.until_printed("begun")
    first = await session.value("n")
    async with asyncio.timeout(WAIT_S):
        while await session.value("n") == first:
            continue
    await session.interrupt()


LISTENER = (
    "import sys\n"
    "from jupyter_client import BlockingKernelClient\n"
    "client = BlockingKernelClient(connection_file=sys.argv[1])\n"
    "client.load_connection_file(); client.start_channels(); client.wait_for_ready(timeout=60)\n"
    "print('listening', flush=True)\n"
    "while True:\n"
    "    message = client.get_iopub_msg(timeout=60)\n"
    "    if message['msg_type'] == 'execute_input': break\n"
    "print(message['content']['code'])\n"
)


async def test_a_console_is_shown_a_silent_step_while_it_runs(session: SessionDriver) -> None:
    """A step's echo goes out with its end where the host alone listens; a console must not wait for it."""
    argv = [sys.executable, "-I", "-c", LISTENER, str(session.kernel.directories.connection_file)]
    listener = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert listener.stdout is not None
    async with asyncio.timeout(WAIT_S):
        assert await listener.stdout.readline() == b"listening\n"
        began = await session.begin("while True: pass")
        assert (await listener.communicate())[0] == b"while True: pass\n"
    assert (await session.end_of(began.step_index, wait_ms=0)).status == "running"
    await session.interrupt()


async def test_sessions_do_not_share_names_files_or_output(registry: Registry) -> None:
    """Each has a kernel of its own, also when all of them run at once."""
    sessions = [await SessionDriver.open(registry, f"context {number}") for number in range(3)]
    code = (
        "import threading\n"
        "mine = context\n"
        "for _ in range(50): print(mine, flush=True)\n"
        "open('file', 'w').write(mine)\n"
        "open('file').read()"
    )
    reports = await asyncio.gather(*(session.ok(code) for session in sessions))
    for number, report in enumerate(reports):
        assert report.stdout == f"context {number}\n" * 50
        assert report.result == f"'context {number}'"
    await sessions[0].ok("mine = 'changed'")
    assert await sessions[1].value("mine") == "context 1"


async def test_many_waiters_of_a_step_get_the_same_report(session: SessionDriver) -> None:
    """A step belongs to the session; whoever waits for it is told the same."""
    began = await session.begin("print('begun', flush=True)\nimport time\ntime.sleep(0.2)\n'end'")
    reports = await asyncio.gather(*(session.end_of(began.step_index) for _ in range(5)))
    assert {(report.status, report.stdout, report.result) for report in reports} == {("ok", "begun\n", "'end'")}


async def test_a_finished_step_is_reported_again_long_after(session: SessionDriver) -> None:
    """From memory while it is new, from the record when it is old; the same either way."""
    first = await session.run("old = 1\nprint('said')\n1 / 0")
    for number in range(12):
        await session.ok(f"{number}")
    again = await session.end_of(first.step_index)
    assert (again.status, again.stdout, again.error) == (first.status, first.stdout, first.error)
    assert again.updated_vars_summary == first.updated_vars_summary
    assert again.duration_ms == first.duration_ms


async def test_values_that_lie_hang_or_raise_are_shown_without_running_their_code(session: SessionDriver) -> None:
    """`repr`, `len`, `==`, `hash`, attribute access and the metaclass are the code's own, and are not asked."""
    await session.ok(
        "def endless(*a, **k):\n"
        "    while True: pass\n"
        "class Meta(type):\n"
        "    __instancecheck__ = __subclasscheck__ = __getattribute__ = endless\n"
        "class Trap(metaclass=type):\n"
        "    __repr__ = __str__ = __len__ = __eq__ = __hash__ = __bool__ = __iter__ = __reduce_ex__ = endless\n"
        "    __getattr__ = __format__ = __dir__ = __sizeof__ = __getstate__ = endless\n"
        "class Liar(dict):\n"
        "    def __len__(self): return 10 ** 30\n"
        "    def __iter__(self): return iter(int, 1)\n"
        "    def items(self): return iter(int, 1)\n"
        "class Text(str):\n"
        "    __len__ = __getitem__ = encode = endless\n"
        "Hung = Meta('Hung', (), {})\n"
        "trap, liar, text, hung = [Trap()], Liar(a=1), Text('text'), Hung"
    )
    for name, type_name in (("trap", "list"), ("liar", "Liar"), ("text", "Text"), ("hung", "Meta")):
        shown = await session.slice(name)
        assert shown.type == type_name
    assert (await session.slice("text")).value == "text"
    with pytest.raises(VariableNotFound):
        await session.value("no_such_name")


async def test_what_runs_on_prints_into_the_step_that_runs_then(session: SessionDriver) -> None:
    """Threads and tasks of an earlier step: nothing of theirs is lost, and what came between two steps is said to."""
    await session.ok(
        "import asyncio, threading\n"
        "go, done = threading.Event(), threading.Event()\n"
        "def thread():\n"
        "    go.wait()\n"
        "    print('of the thread', flush=True)\n"
        "    done.set()\n"
        "threading.Thread(target=thread).start()\n"
        "async def task():\n"
        "    while not done.is_set(): await asyncio.sleep(0)\n"
        "    print('of the task', flush=True)\n"
        "running = asyncio.create_task(task())"
    )
    report = await session.ok("go.set()\nawait running\nprint('of the step')")
    assert report.stdout == "of the thread\nof the task\nof the step\n"
    assert report.note is None
    report = await session.ok(
        "import time\n"
        "def count():\n"
        "    for n in range(20):\n"
        "        print(n)\n"
        "        time.sleep(0.02)\n"
        "threading.Thread(target=count).start()"
    )
    printed = report.stdout
    await until(lambda: "19" in session.kernel.client._late.stdout.text())
    report = await session.ok("print('of the next step')")
    assert printed + report.stdout == "".join(f"{n}\n" for n in range(20)) + "of the next step\n"
    assert report.note is not None
    assert "printed before this step began" in report.note
