"""A program's functions are called with what JSON says, in threads or in its loop, and say what became of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from rlm_kernel_mcp.doors.calling.functions import CANCELLED, Functions
from rlm_kernel_mcp.doors.calling.workers import WORKERS_MAX, Workers
from rlm_kernel_mcp.errors import InvalidInput
from tests.sessions import WAIT_S, until

pytestmark = pytest.mark.anyio


async def called(function: Callable[..., Any], **arguments: Any) -> tuple[str | None, str | None]:
    """What a function of a program gives to a call, and its words."""
    functions = Functions({"f": function})
    ended: asyncio.Future[tuple[str | None, str | None]] = asyncio.get_running_loop().create_future()
    functions.call(1, "f", json.dumps(arguments), lambda text, error: ended.set_result((text, error)))
    try:
        async with asyncio.timeout(WAIT_S):
            return await ended
    finally:
        functions.close()


async def test_a_function_is_called_with_names_and_gives_json() -> None:
    """A plain one in another thread, a coroutine function in the loop."""
    where = list[int]()

    def plain(**arguments: Any) -> Any:
        where.append(threading.get_ident())
        return arguments | {"more": (1, None)}

    async def coroutine(n: int) -> int:
        where.append(threading.get_ident())
        return n + 1

    assert await called(plain, a="é") == ('{"a":"é","more":[1,null]}', None)
    assert await called(coroutine, n=1) == ("2", None)
    assert where[0] != threading.get_ident() == where[1]


class Unsayable(Exception):
    """Its words are no text."""

    def __str__(self) -> str:
        words: str = self.args[0]
        return words


def fails(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such customer"), "no such customer"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError(), "RuntimeError"),
        (SystemExit(3), "3"),
        (Unsayable(5), "Unsayable"),
    ],
    ids=["words", "key", "none", "exit", "unsayable"],
)
async def test_what_a_function_raises_are_its_words(error: BaseException, words: str) -> None:
    assert await called(fails(error)) == (None, words)


async def test_what_a_coroutine_function_raises_are_its_words_too() -> None:
    async def function() -> None:
        raise ValueError("later")

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def ends() -> None:
        raise SystemExit(3)

    async def unsayable() -> None:
        raise Unsayable(5)

    assert await called(function) == (None, "later")
    assert await called(cancelled) == (None, "It was cancelled.")
    assert await called(ends) == (None, "3")
    assert await called(unsayable) == (None, "Unsayable")


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), "\ud800", object], ids=["set", "nan", "surrogate", "class"])
async def test_what_is_no_json_is_not_given(value: Any) -> None:
    def function() -> Any:
        return value

    text, words = await called(function)
    assert text is None
    assert (words or "").startswith("What f gave is no JSON: ")


async def test_what_is_too_much_is_not_sent_at_all() -> None:
    """A message of any size would end the connection to a host, and every session that the program has there."""
    assert await called(lambda: "x" * 200_000) == (
        None,
        "f gave 200,002 characters of JSON, and a call is answered by at most 200,000.",
    )
    assert await called(fails(ValueError("y" * 1_000_000))) == (None, "y" * 2_000)


async def test_a_coroutine_of_a_plain_function_is_nothing_to_give() -> None:
    async def coroutine() -> int:
        return 1

    class Callable:
        async def __call__(self) -> int:
            return 2

    def plain() -> Any:
        return coroutine()

    assert await called(plain) == (
        None,
        "f gave a coroutine: a coroutine function (async def) has to be offered as one.",
    )
    assert await called(Callable()) == ("2", None)


async def test_arguments_that_a_function_does_not_take_are_an_error_of_the_call() -> None:
    _, words = await called(lambda only: only, other=1)
    assert "unexpected keyword argument 'other'" in (words or "")


async def test_a_coroutine_that_nobody_waits_for_is_cancelled() -> None:
    """Also before it has begun; and it is said that it is over, once."""
    begun, ended, gave = asyncio.Event(), asyncio.Event(), asyncio.Queue[tuple[str | None, str | None]]()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    functions = Functions({"f": waits})
    async with asyncio.timeout(WAIT_S):
        functions.call(7, "f", "{}", lambda text, error: gave.put_nowait((text, error)))
        await begun.wait()
        functions.drop(7)
        functions.drop(8)
        await ended.wait()
        assert await gave.get() == CANCELLED
        functions.call(9, "f", "{}", lambda text, error: gave.put_nowait((text, error)))
        functions.drop(9)
        assert await gave.get() == CANCELLED
    functions.close()
    assert gave.empty()


async def test_what_waits_for_a_thread_and_is_dropped_or_closed_never_begins() -> None:
    """Functions have effects; of what has begun it is said when it ends."""
    gate, ran, gave = threading.Event(), list[int](), asyncio.Queue[int]()

    def waits(n: int) -> None:
        ran.append(n)
        gate.wait()

    functions = Functions({"f": waits})
    for number in range(WORKERS_MAX + 10):
        functions.call(number, "f", json.dumps({"n": number}), lambda text, error, n=number: gave.put_nowait(n))  # type: ignore[misc]
    dropped = set(range(WORKERS_MAX, WORKERS_MAX + 5))
    for number in dropped:
        functions.drop(number)
    async with asyncio.timeout(WAIT_S):
        assert {await gave.get() for _ in dropped} == dropped
        await until(lambda: len(ran) == WORKERS_MAX)
        functions.drop(0)
        functions.close()
        gate.set()
        assert {await gave.get() for _ in range(WORKERS_MAX + 5)} == set(range(WORKERS_MAX + 10)) - dropped
    assert sorted(ran) == list(range(WORKERS_MAX))


async def test_the_thread_of_a_plain_function_says_what_it_gave_before_the_loop_hears_of_it() -> None:
    """A coroutine is in the loop already, and what was dropped is said by nobody else."""
    said = list[tuple[object, ...]]()
    ended = asyncio.Event()

    def at_once(text: str | None, error: str | None) -> bool:
        said.append(("at once", text, error, threading.current_thread() is threading.main_thread()))
        return False

    def gave(text: str | None, error: str | None) -> None:
        said.append(("gave", text, error))
        ended.set()

    async def coroutine() -> int:
        return 2

    def fails() -> None:
        raise ValueError("no")

    functions = Functions({"plain": lambda: 1, "coroutine": coroutine, "fails": fails})
    for number, name in enumerate(("plain", "coroutine", "fails")):
        ended.clear()
        functions.call(number, name, "{}", gave, at_once)
        async with asyncio.timeout(WAIT_S):
            await ended.wait()
    functions.close()
    assert said == [
        ("at once", "1", None, False),
        ("gave", "1", None),
        ("gave", "2", None),
        ("at once", None, "no", False),
        ("gave", None, "no"),
    ]


async def test_what_a_thread_has_sent_the_loop_hears_of_when_it_is_asked_to_or_a_little_later() -> None:
    """It is not woken for it: the next call brings the news, and where none comes a look that was due already."""
    functions, sent, heard = Functions({"f": lambda: 1}), asyncio.Event(), asyncio.Queue[int]()
    loop = asyncio.get_running_loop()

    def at_once(_text: str | None, _error: str | None) -> bool:
        loop.call_soon_threadsafe(sent.set)
        return True

    for number in (1, 2):
        functions.call(number, "f", "{}", lambda text, error, n=number: heard.put_nowait(n), at_once)  # type: ignore[misc]
        async with asyncio.timeout(WAIT_S):
            await sent.wait()
            sent.clear()
            if number == 1:
                await until(lambda: bool(functions._news._told) or not heard.empty())
                functions.hear()
                assert heard.get_nowait() == 1
            else:
                assert await heard.get() == 2
    await until(lambda: not functions._news.is_looking)
    functions.call(3, "f", "{}", lambda text, error: heard.put_nowait(3), at_once)
    functions._news.is_looking = False  # as after the look, while a function still runs
    async with asyncio.timeout(WAIT_S):
        assert await heard.get() == 3
    functions.close()
    assert heard.empty()


async def test_a_thread_that_has_said_that_it_is_free_has_no_other_one_begun() -> None:
    """It takes what comes next itself: one after the other would find nothing of it in its processor's caches."""
    workers, is_free, gate, done = Workers(), threading.Event(), threading.Event(), threading.Semaphore(0)

    def first() -> None:
        workers.free()
        workers.free()
        is_free.set()
        gate.wait(WAIT_S)

    workers.do(first)
    assert await asyncio.to_thread(is_free.wait, WAIT_S)
    workers.do(done.release)
    assert (workers._threads, workers._idle) == (1, 1)
    gate.set()
    assert await asyncio.to_thread(done.acquire, timeout=WAIT_S)
    workers.end()
    await until(lambda: workers._threads == 0)
    assert workers._idle == 0


async def test_functions_run_beside_each_other_in_a_bounded_number_of_threads() -> None:
    """And no thread is begun where one has nothing to do."""
    workers, done = Workers(3), threading.Semaphore(0)
    barrier = threading.Barrier(3, timeout=WAIT_S)

    def work() -> None:
        barrier.wait()
        done.release()

    for _ in range(9):  # three at a time, or the barrier breaks
        workers.do(partial(work))
    for _ in range(9):
        assert await asyncio.to_thread(done.acquire, timeout=WAIT_S)
    assert workers._threads == 3
    workers.end()
    await until(lambda: workers._threads == 0)


async def test_a_thread_that_has_nothing_to_do_ends_and_another_begins_when_there_is() -> None:
    """A session may be forgotten, and its threads are not."""
    workers, done = Workers(idle_s=0.0), threading.Semaphore(0)
    for _ in range(2):
        workers.do(partial(done.release))
        assert await asyncio.to_thread(done.acquire, timeout=WAIT_S)
        await until(lambda: workers._threads == 0)


def look_up(customer: str, *, key: str = "sk-secret", limit: int = 5) -> list[str]:
    """Look a customer up.

    The newest first.
    """
    return [customer, key][:limit]


def test_the_code_is_told_how_each_is_called_and_no_value_of_the_program_s() -> None:
    """A default may be a key."""
    (offered,) = Functions({"find": look_up}).offered()
    assert offered["name"] == "find"
    head, words = offered["description"].split("\n", 1)
    assert head == "find(customer: 'str', *, key: 'str' = ..., limit: 'int' = ...) -> 'list[str]'"
    assert words == "Look a customer up.\n\nThe newest first."
    assert Functions({"get": dict.get}).offered()[0]["description"].startswith("get(")
    (long,) = Functions({"f": type("Long", (), {"__call__": lambda self: 1, "__doc__": "x" * 5_000})()}).offered()
    assert len(long["description"]) == 2_048


@pytest.mark.parametrize("name", ["", "a b", "def", "x" * 65, "a.b"])
def test_a_name_is_an_identifier(name: str) -> None:
    with pytest.raises(InvalidInput, match="is no name of a function"):
        Functions({name: look_up})


def test_what_is_no_function_is_not_offered() -> None:
    with pytest.raises(InvalidInput, match="f is a int, and no function"):
        Functions({"f": 5})  # type: ignore[dict-item]
    with pytest.raises(InvalidInput, match=r"host_functions must be a dict of .* given: a list"):
        Functions([look_up])  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="5 is no name of a function"):
        Functions({5: look_up})  # type: ignore[dict-item]
    with pytest.raises(InvalidInput, match="has 65; a session may offer 64"):
        Functions({f"f{n}": look_up for n in range(65)})
