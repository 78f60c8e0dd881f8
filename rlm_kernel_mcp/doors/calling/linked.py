"""A call of a function of this program that a host makes over the program's connection, and what is said back.

Is: one message each way; what a plain function gave its own thread says. Is not: a function (`functions.py`), nor the
connection (`doors/link.py`). Above: `doors/link.py`. Below: `doors/wire/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.doors.wire.messages import Head, packed
from rlm_kernel_mcp.doors.wire.packets import Outbox
from rlm_kernel_mcp.doors.wire.values import codec

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.functions.callee import Callee

TEXT: Final = codec(str)


class LinkedCalls:
    """Those of one step."""

    def __init__(self, callee: Callee, outbox: Outbox) -> None:
        self._callee, self._outbox = callee, outbox
        self._open: dict[int, None] = {}

    def heard(self, said: Head, texts: Sequence[str]) -> None:
        """The host has the step's code call a function, or wants to know of it no more."""
        if "drop" in said:
            self._callee.drop(said["drop"])
        else:
            self._call(said["id"], said["call"], said["name"], TEXT.read(said["arguments"], texts))

    def drop_all(self) -> None:
        """The host has ended, or nobody waits for the step."""
        for number in list(self._open):
            self._callee.drop(number)

    def _call(self, step: int, number: int, name: str, arguments: str) -> None:
        is_said = False

        def message(text: str | None, error: str | None) -> list[bytes]:
            parts = list[str]()
            what, words = ("error", error or "") if text is None else ("text", text)
            return packed({"id": step, "gave": number, what: TEXT.write(words, parts)}, parts)

        def at_once(text: str | None, error: str | None) -> bool:
            nonlocal is_said
            is_said = self._outbox.sent_at_once(message(text, error))
            return is_said

        def gave(text: str | None, error: str | None) -> None:
            self._open.pop(number, None)
            if not is_said:
                self._outbox.put(message(text, error))

        self._open[number] = None
        self._callee.call(number, name, arguments, gave, at_once)
