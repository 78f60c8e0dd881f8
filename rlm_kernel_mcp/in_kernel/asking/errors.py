"""Why a question of a session's code has no answer.

Is: the exception that also stands in an answer's place, that of a function which failed, and the words where nobody
answers at all. Is not: a wall. Above: the modules beside it. Below: nothing.
"""

from __future__ import annotations

from typing import Any, Final

OFF: Final = (
    "A step cannot ask a language model here: read what it printed yourself. The user has switched it "
    "off (RLM_SUBCALL_BACKEND), or this kernel has only just begun."
)
NO_FUNCTIONS: Final = (
    "No function can be called here: whoever opened the session offers none (host_functions), or this kernel has only "
    "just begun."
)
OFF_TO_A_PERSON: Final = "No language model can be asked here: only a session of an MCP client has a way to one."


class HostCallError(Exception):
    """A function of whoever drives the session gave nothing; str() is that function's own words."""


class SubcallError(Exception):
    """code: off | budget | too_large | too_many | timeout | declined | refused | rate_limited | backend | schema | stopped | gone."""  # noqa: E501

    def __init__(self, code: str = "backend", message: str = "") -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __bool__(self) -> bool:
        """False, so that `[a for a in got if a]` has the good ones."""
        return False

    def __str__(self) -> str:
        """Code and message."""
        return f"{self.code}: {self.message}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """In a list that is shown: one line, by the name that a session has for it."""
        del cycle
        printer.text(repr(self))
