"""Code in a kernel calls functions of the program that runs its step, and of nobody else."""

from __future__ import annotations

import ast
import asyncio
import json
import pydoc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rlm_kernel_mcp.api import AsyncSession
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.questions_wire import CALLING
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.asking.conftest import Here, answered_by
from tests.kernel.asking.scripted import ScriptedBoard
from tests.sessions import WAIT_S

pytestmark = pytest.mark.anyio


class Shop:
    """The functions of a program, and what they were called with."""

    def __init__(self) -> None:
        self.calls = list[Any]()
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()
        self.gate = threading.Event()

    def find(self, what: str, *, limit: int = 1) -> dict[str, Any]:
        """Find something in the shop."""
        self.calls.append(what)
        return {"what": what, "limit": limit, "there": [True, None, 1.5, "é"]}

    def fails(self) -> None:
        raise ValueError("the shop is closed")

    async def later(self, n: int) -> int:
        await asyncio.sleep(0)
        return n * 2

    async def never(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    def odd(self) -> object:
        return {1, 2}

    @property
    def functions(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("find", "fails", "later", "never", "odd")}


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
async def session(asking_registry: Registry, shop: Shop) -> AsyncIterator[AsyncSession]:
    made = AsyncSession(door=Here(asking_registry), context_text="alpha\nbeta\n", host_functions=shop.functions)
    with answered_by(asking_registry, None):
        async with asyncio.timeout(WAIT_S):
            await made.open()
    yield made
    await made.close()


async def result(session: AsyncSession, code: str) -> str | None:
    """What a step gives, or its error, by its name and its words."""
    async with asyncio.timeout(WAIT_S):
        report = await session.run(code)
    assert report.subcalls is None
    return f"{report.error.ename}: {report.error.evalue}" if report.error is not None else report.result


async def test_a_call_gives_what_the_function_gives(session: AsyncSession, shop: Shop) -> None:
    """Each time anew, also where it is the same."""
    code = "str([host_call('find', what='tea', limit=2) for _ in range(3)])"
    assert ast.literal_eval(await result(session, code) or "") == str(
        [{"what": "tea", "limit": 2, "there": [True, None, 1.5, "é"]}] * 3
    )
    assert shop.calls == ["tea"] * 3
    assert await result(session, "host_call('find', what=lines(1, 1))['what'] == lines(1, 1).text") == "True"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("host_call('fails')", "HostCallError: the shop is closed"),
        ("host_call('other')", "NameError: There is no function 'other' to call; there are: find, fails, later, "),
        ("host_call('find', what={1, 2})", "TypeError: find: the argument what is no JSON: a set is none"),
        ("host_call('find', what='a', limit=float('nan'))", "TypeError: find: the argument limit is no JSON: "),
        ("host_call('find', where='a')", "HostCallError: Shop.find() got an unexpected keyword argument 'where'"),
        ("host_call('odd')", "HostCallError: What odd gave is no JSON: Object of type set is not JSON serializable"),
        ("host_call('find', what='x' * 400_000)", "SubcallError: too_large: The call of find has 400,011 characters"),
        ("host_call('find', what=2 ** 64)", "SubcallError: refused: What find is called with has a whole number"),
        ("host_call(5)", "TypeError: the name of a function must be a str, not int"),
        ("llm_query('q')", "SubcallError: off: A step cannot ask a language model here"),
    ],
)
async def test_what_does_not_work_is_an_exception_with_the_reason(
    session: AsyncSession, shop: Shop, code: str, error: str
) -> None:
    assert (await result(session, code) or "").startswith(error)
    assert shop.calls == []


async def test_calls_are_made_from_threads_and_tasks_at_once(session: AsyncSession) -> None:
    """Each gets its own."""
    threads = "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(16) as pool:\n    "
    assert await result(session, f"{threads}got = list(pool.map(lambda n: host_call('later', n=n), range(200)))\n"
                        "got == [n * 2 for n in range(200)]") == "True"  # fmt: skip
    gather = "import asyncio\ngot = await asyncio.gather(*(host_call_async('later', n=n) for n in range(200)))\n"
    assert await result(session, f"{gather}got == [n * 2 for n in range(200)]") == "True"
    assert await result(session, "await host_call_async('fails')") == "HostCallError: the shop is closed"


async def test_an_interrupt_ends_the_wait_and_the_coroutine(session: AsyncSession, shop: Shop) -> None:
    async with asyncio.timeout(WAIT_S):
        running = asyncio.create_task(session.run("host_call('never')"))
        await shop.begun.wait()
        await session.interrupt()
        assert (await running).status == "interrupted"
        await shop.cancelled.wait()
    assert await result(session, "host_call('find', what='tea')['what']") == "'tea'"


async def test_what_a_thread_asks_for_after_its_step_is_not_called(session: AsyncSession, shop: Shop) -> None:
    """No other step's driver hears of it."""
    code = """
import threading
gate, told = threading.Event(), []
def late():
    gate.wait()
    try:
        told.append(host_call('find', what='late'))
    except Exception as error:
        told.append(str(error))
thread = threading.Thread(target=late)
thread.start()
"""
    await result(session, code)
    assert await result(session, "gate.set(); thread.join(); told") == (
        "['stopped: The step that asks is not running any more.']"
    )
    assert shop.calls == []


async def test_help_lists_the_functions(session: AsyncSession) -> None:
    async with asyncio.timeout(WAIT_S):
        shown = pydoc.plain((await session.run("help(host_call)")).stdout)
    assert (
        "find: find(what: 'str', *, limit: 'int' = ...) -> 'dict[str, Any]'\n    Find something in the shop." in shown
    )
    assert session.opened is not None
    assert "help(host_call) lists the functions" in session.opened.namespace["host_call"]
    assert [one.name for one in session.opened.host_functions] == ["find", "fails", "later", "never", "odd"]


async def test_the_functions_are_back_after_the_kernel_is_gone(
    session: AsyncSession, asking_registry: Registry
) -> None:
    """They are neither lost nor restored, and no value of the session's."""
    kernel = asking_registry.handles.sessions[session.session_id].kernel.current
    assert kernel is not None
    async with asyncio.timeout(WAIT_S):
        await kernel.kill("a test wants it")
        after = await session.run("host_call('find', what='tea')['what']")
    assert (after.result, after.lost and after.lost.names) == ("'tea'", ())
    assert after.lost is not None
    assert not {*CALLING} & {*after.lost.restored}


async def driven(registry: Registry, session: AsyncSession, **options: Any) -> AsyncSession:
    """The same session, as another program drives it."""
    other = AsyncSession(door=Here(registry), session_id=session.session_id, **options)
    await other.open()
    other.leave_to_its_place()
    return other


async def test_another_program_has_the_functions_or_is_told_that_it_has_not(
    session: AsyncSession, asking_registry: Registry, shop: Shop
) -> None:
    """The session knows what it offers; each driver brings what it has of that."""
    other = await driven(asking_registry, session)
    assert await result(other, "host_call('find', what='tea')") == (
        "SubcallError: refused: The program that runs this step has no function find."
    )
    bringing = await driven(asking_registry, session, host_functions={"find": lambda what: what.upper()})
    assert await result(bringing, "host_call('find', what='tea')") == "'TEA'"
    assert (await result(bringing, "host_call('fails')") or "").endswith("has no function fails.")
    wrong = await driven(asking_registry, session, host_functions={"steal": print})
    with pytest.raises(InvalidInput, match="does not offer steal: it offers find, fails, later, never, odd"):
        await wrong.run("1")
    assert await result(session, "host_call('find', what='tea')['what']") == "'tea'"
    assert shop.calls == ["tea"]


async def test_a_session_without_functions_has_none_to_call(asking_registry: Registry) -> None:
    """And its names are free."""
    async with AsyncSession(door=Here(asking_registry), context_text="alpha", context_name="host_call") as session:
        async with asyncio.timeout(WAIT_S):
            assert (await session.run("host_call")).result == "'alpha'"
        assert (await result(session, "await host_call_async('find')") or "").startswith(
            "NameError: No function can be called here"
        )
        assert session.opened is not None
        assert "host_call_async" not in session.opened.namespace
        with pytest.raises(InvalidInput, match="it was opened without functions"):
            await (await driven(asking_registry, session, host_functions={"find": print})).run("1")
    with pytest.raises(InvalidInput, match="must be a name that means nothing else"):
        await AsyncSession(
            door=Here(asking_registry), context_text="x", context_name="host_call", host_functions={"find": print}
        ).open()


async def test_questions_and_calls_go_each_to_whoever_answers_them(asking_registry: Registry, shop: Shop) -> None:
    """Calls count against no limit of questions, and the trace tells of both."""
    board = ScriptedBoard()
    with answered_by(asking_registry, board):
        session = AsyncSession(door=Here(asking_registry), context_text="alpha\n", host_functions=shop.functions)
        await session.open()
    async with asyncio.timeout(WAIT_S):
        report = await session.run("llm_query('q') + ' ' + host_call('find', what='tea')['what']")
        answers = board.of[session.session_id]
        assert (report.result, report.subcalls and report.subcalls.asked) == ("'q|None tea'", 1)
        assert [one.prompt for one in answers.asked] == ["q"]
        events = [event for event in await session.trace(full=True) if event.action == "subcalls"]
        await session.close()
    assert [event.summary for event in events] == ["1 function call: 1 answered"]
    row = json.loads(events[0].stdout or "")
    assert (row["kind"], row["prompt"], row["text"]) == ("function", "find", '{"what":"tea"}')
