"""The functions of a program, as its host has them called: over the connection that its step came by.

Is: `Callee` of `session/functions/callee.py`, of one step of one program. Is not: a function: none runs in a host. What
comes back is looked at as what a function of any driver gives. Above: `conversation.py`. Below: `doors/wire/`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.doors.wire.messages import Head, packed
from rlm_kernel_mcp.doors.wire.values import codec
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.questions_wire import FUNCTION_NAME_CHARS_MAX, FUNCTIONS_MAX

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.functions.callee import AtOnce, Gave

TEXT: Final = codec(str)


class RemoteFunctions:
    """Those of one step."""

    def __init__(self, step: int, names: Collection[str], put: Callable[[Sequence[bytes]], object]) -> None:
        """`step`: number of the call that runs it. `put`: sends a message to the program."""
        self.names = names
        self._step, self._put = step, put
        self._asked: dict[int, Gave] = {}

    def call(self, number: int, name: str, arguments: str, gave: Gave, at_once: AtOnce | None = None) -> None:
        """Have the program call one of them. What it gives is heard in the loop, which passes it on itself."""
        del at_once
        self._asked[number] = gave
        texts = list[str]()
        head = {"id": self._step, "call": number, "name": name, "arguments": TEXT.write(arguments, texts)}
        self._put(packed(head, texts))

    def hear(self) -> None:
        """The program says it itself."""

    def drop(self, number: int) -> None:
        """Nobody waits for that call any more. It counts as the program's until that has said what became of it."""
        if number in self._asked:
            self._put(packed({"id": self._step, "drop": number}))

    def gave(self, said: Head, texts: Sequence[str]) -> None:
        """The program says what a function gave; of a call that was dropped nobody wants to know."""
        number, is_error = said.get("gave"), "error" in said
        if type(number) is int and (gave := self._asked.pop(number, None)) is not None:
            try:
                text = TEXT.read(said["error" if is_error else "text"], texts)
            except (KeyError, IndexError, TypeError):
                text, is_error = "The program did not say what it gave.", True
            gave(None if is_error else text, text if is_error else None)


def names_of(said: Head) -> list[str] | None:
    """The functions that a program has for a step; None: it has none. Raises: InvalidInput."""
    names = said.get("functions")
    if names is None:
        return None
    is_list = isinstance(names, list) and len(names) <= FUNCTIONS_MAX
    if not is_list or not all(isinstance(name, str) and len(name) <= FUNCTION_NAME_CHARS_MAX for name in names):
        raise InvalidInput(f"functions must be a list of at most {FUNCTIONS_MAX} names.")
    return list(names)
