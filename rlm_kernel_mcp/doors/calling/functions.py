"""The functions of a program that its session's code may call: what is offered of them, and each call.

Is: `Callee` of `session/functions/calls.py`, for functions of this process: plain ones run in threads, coroutines in
the loop; arguments and what they give are JSON. Is not: which may be called, or a check of what comes (a function has
to make it: its arguments are a hostile kernel's). Above: `async_session.py`. Below: `workers.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import keyword
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from rlm_kernel_mcp.doors.calling.workers import Workers
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.questions_wire import DESCRIPTION_CHARS_MAX, FUNCTION_NAME_CHARS_MAX, FUNCTIONS_MAX

Function = Callable[..., Any]
Gave = Callable[[str | None, str | None], None]
NO_NAME: Final = f"a Python identifier of at most {FUNCTION_NAME_CHARS_MAX} characters"


class Functions:
    """Those of one session. Belongs to the event loop of its calls."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        """Raises: InvalidInput: a name is no identifier, or something is no function."""
        for name, function in functions.items():
            is_name = name.isidentifier() and not keyword.iskeyword(name)
            if not is_name or len(name) > FUNCTION_NAME_CHARS_MAX:
                raise InvalidInput(f"host_functions: {name[:100]!r} is no name of a function: {NO_NAME}.")
            if not callable(function):
                raise InvalidInput(f"host_functions: {name} is a {type(function).__name__}, and no function.")
        if len(functions) > FUNCTIONS_MAX:
            raise InvalidInput(f"host_functions has {len(functions)}; a session may offer {FUNCTIONS_MAX}.")
        self._functions = dict(functions)
        self._workers = Workers()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @property
    def names(self) -> Collection[str]:
        return self._functions.keys()

    def offered(self) -> list[dict[str, str]]:
        """What the code is told of them: how each is called, and what its docstring says."""
        return [{"name": name, "description": _description(name, one)} for name, one in self._functions.items()]

    def call(self, number: int, name: str, arguments: str, gave: Gave) -> None:
        """Call one of them; `gave` is called once, in this loop."""
        function, loop = self._functions[name], asyncio.get_running_loop()
        if inspect.iscoroutinefunction(function):
            task = self._tasks[number] = loop.create_task(_awaited(function, arguments, gave), name=f"{name} of a step")
            task.add_done_callback(lambda _: self._tasks.pop(number, None))
            return

        def work() -> None:
            said = _said(function, arguments)
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever asked
                loop.call_soon_threadsafe(gave, *said)

        self._workers.do(work)

    def drop(self, number: int) -> None:
        """Nobody waits for that call any more. What a thread has begun goes on: nothing can end it."""
        if (task := self._tasks.get(number)) is not None:
            task.cancel()

    def close(self) -> None:
        """Take no more calls. Safe to call twice."""
        for task in self._tasks.values():
            task.cancel()
        self._workers.end()


async def _awaited(function: Function, arguments: str, gave: Gave) -> None:
    try:
        said = _written(function, await function(**json.loads(arguments)))
    except asyncio.CancelledError:
        gave(None, "It was cancelled.")
        raise
    except Exception as error:  # noqa: BLE001 (whatever a function raises is its answer)
        said = None, _words(error)
    gave(*said)


def _said(function: Function, arguments: str) -> tuple[str | None, str | None]:
    """What a function gives, as JSON; or its words on why it gives nothing."""
    try:
        return _written(function, function(**json.loads(arguments)))
    except BaseException as error:  # noqa: BLE001 (whatever a function raises is its answer, and no thread ends with it)
        return None, _words(error)


def _written(function: Function, value: Any) -> tuple[str | None, str | None]:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        return None, f"What {getattr(function, '__name__', 'the function')} gave is no JSON: {error}"
    return text, None


def _words(error: BaseException) -> str:
    """An error's own words; of one that has none, or a key alone, with its name."""
    words, kind = str(error), type(error).__name__
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
