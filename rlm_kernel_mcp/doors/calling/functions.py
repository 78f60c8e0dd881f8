"""The functions of a program that its session's code may call: what is offered of them, and each call.

Is: `Callee` of `session/functions/callee.py`, for functions of this process: plain ones run in threads, coroutines in
the loop; arguments and what they give are JSON. Is not: which may be called, or a check of what comes (a function has
to make it: its arguments are a hostile kernel's). Above: `async_session.py`. Below: `workers.py`, `news.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import keyword
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from rlm_kernel_mcp.doors.calling.news import News
from rlm_kernel_mcp.doors.calling.workers import Workers
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.questions_wire import (
    DESCRIPTION_CHARS_MAX,
    FUNCTION_NAME_CHARS_MAX,
    FUNCTIONS_MAX,
    GIVEN_CHARS_MAX,
    GIVEN_TOO_MUCH,
    WORDS_CHARS_MAX,
)

Function = Callable[..., Any]
Gave = Callable[[str | None, str | None], None]
AtOnce = Callable[[str | None, str | None], bool]
Said = tuple[str | None, str | None]
"""JSON, or words; one of them."""
CANCELLED: Final[Said] = (None, "It was cancelled.")
_json: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
NO_NAME: Final = f"a Python identifier of at most {FUNCTION_NAME_CHARS_MAX} characters"


class Functions:
    """Those of one session. Belongs to the event loop of its calls."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        """Raises: InvalidInput: a name is no identifier, something is no function, or these are not by name at all."""
        self._functions = _checked(functions)
        self._coroutines = frozenset(name for name, function in functions.items() if _is_coroutine(function))
        """Names of those that give something to await; found out once, since that takes as long as a call's work."""
        self._workers = Workers()
        self._begun: dict[int, Callable[[], object]] = {}
        """By number of a call what ends it, where that can be."""
        self._news = News()

    @property
    def names(self) -> Collection[str]:
        return self._functions.keys()

    def offered(self) -> list[dict[str, str]]:
        """What the code is told of them: how each is called, and what its docstring says."""
        return [{"name": name, "description": _description(name, one)} for name, one in self._functions.items()]

    def call(
        self, number: int, name: str, arguments: str, gave: Gave, at_once: AtOnce = lambda text, error: False
    ) -> None:
        """Call one of them; `gave` is called once, in this loop, also of a call that was dropped.

        `at_once`: is called before it in the thread that has called a plain function.
        """
        function = self._functions[name]
        if name in self._coroutines:
            self._call_in_loop(number, name, _awaited(function, name, arguments), gave)
        else:
            self._call_in_thread(number, partial(_said, function, name, arguments), gave, at_once)

    def _call_in_loop(self, number: int, name: str, work: Coroutine[Any, Any, Said], gave: Gave) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"{name} of a step")
        self._begun[number] = task.cancel

        def ended(task: asyncio.Task[Said]) -> None:
            if self._begun.get(number) == task.cancel:
                del self._begun[number]
            gave(*(CANCELLED if task.cancelled() else task.result()))

        task.add_done_callback(ended)

    def _call_in_thread(self, number: int, said: Callable[[], Said], gave: Gave, at_once: AtOnce) -> None:
        loop = asyncio.get_running_loop()
        one = _InThread(number, said, gave, at_once, loop, self._begun, self._workers, self._news)
        self._begun[number] = one.end
        self._workers.do(one.work)
        self._news.look_later(loop)

    def hear(self) -> None:
        """As `Callee`."""
        self._news.hear()

    def drop(self, number: int) -> None:
        """Nobody waits for that call any more. What has not begun does not begin; a thread goes on to its end."""
        if (end := self._begun.get(number)) is not None:
            end()

    def let_threads_go(self) -> None:
        """Nothing is called any more, for now. From any thread."""
        self._workers.end()

    def close(self) -> None:
        """Take no more calls. Safe to call twice."""
        for number in list(self._begun):
            self.drop(number)
        self._workers.end()


@dataclass(slots=True, eq=False)
class _InThread:
    """A call of a plain function.

    Nothing in it refers to itself: it goes with its end, and a loop of calls leaves nothing to the garbage collector.
    """

    number: int
    said: Callable[[], Said]
    gave: Gave
    at_once: AtOnce
    loop: asyncio.AbstractEventLoop
    begun: dict[int, Callable[[], object]]
    workers: Workers
    news: News
    given: Said = CANCELLED

    def work(self) -> None:
        """In a thread."""
        self.given = self.said()
        self.workers.free()  # the answer may have the next call made before this thread is back at its place
        is_sent = self.at_once(*self.given)
        # Where others are under way, more may wait for a place.
        self.news.tell(self.loop, self.ended, may_wait=is_sent and len(self.begun) == 1)

    def ended(self) -> None:
        """In the loop."""
        if self.begun.get(self.number) == self.end:
            del self.begun[self.number]
        self.gave(*self.given)

    def end(self) -> None:
        """Nobody waits for it any more."""
        if self.workers.take_back(self.work):  # else it has begun, and nothing can end it
            self.ended()


def _checked(functions: object) -> dict[str, Function]:
    if not isinstance(functions, Mapping):
        what = "a dict of functions by the names that the code calls them by"
        raise InvalidInput(f"host_functions must be {what}; given: a {type(functions).__name__}.")
    for name, function in functions.items():
        is_name = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
        if not is_name or len(name) > FUNCTION_NAME_CHARS_MAX:
            raise InvalidInput(f"host_functions: {repr(name)[:100]} is no name of a function: {NO_NAME}.")
        if not callable(function):
            raise InvalidInput(f"host_functions: {name} is a {type(function).__name__}, and no function.")
    if len(functions) > FUNCTIONS_MAX:
        raise InvalidInput(f"host_functions has {len(functions)}; a session may offer {FUNCTIONS_MAX}.")
    return dict(functions)


def _is_coroutine(function: Function) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def _awaited(function: Function, name: str, arguments: str) -> Said:
    try:
        return _written(name, await function(**json.loads(arguments)))
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 (whatever a function raises is its answer, and no loop ends with it)
        return None, _words(error)


def _said(function: Function, name: str, arguments: str) -> Said:
    """What a function gives, as JSON; or its words on why it gives nothing."""
    try:
        return _written(name, function(**json.loads(arguments)))
    except BaseException as error:  # noqa: BLE001 (whatever a function raises is its answer, and no thread ends with it)
        return None, _words(error)


def _written(name: str, value: Any) -> Said:
    if inspect.iscoroutine(value):
        value.close()
        return None, f"{name} gave a coroutine: a coroutine function (async def) has to be offered as one."
    try:
        text = _json(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        return None, f"What {name} gave is no JSON: {error}"[:WORDS_CHARS_MAX]
    if len(text) > GIVEN_CHARS_MAX:  # here, and not only where it is looked at: no message is so large
        return None, GIVEN_TOO_MUCH.format(name=name, chars=len(text))
    return text, None


def _words(error: BaseException) -> str:
    """An error's own words; of one that has none, or a key alone, with its name."""
    kind = type(error).__name__
    try:
        words = str.__getitem__(str(error), slice(WORDS_CHARS_MAX))
    except BaseException:  # noqa: BLE001 (an error that cannot be said is one all the same)
        words = ""
    return f"{kind}: {words}".rstrip(": ") if not words or isinstance(error, KeyError) else words


def _description(name: str, function: Function) -> str:
    """How it is called, without the values of defaults, which are the program's own; and its docstring."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        head = f"{name}(...)"
    else:
        plain = [one if one.default is one.empty else one.replace(default=...) for one in signature.parameters.values()]
        head = f"{name}{signature.replace(parameters=plain)}".replace("Ellipsis", "...")
    return f"{head}\n{inspect.getdoc(function) or ''}".strip()[:DESCRIPTION_CHARS_MAX]
