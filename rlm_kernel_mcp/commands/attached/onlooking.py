"""What others run in a kernel, as lines for the person who watches: the agent's steps, and other consoles' cells.

Is: what is shown of a message, each line marked so that no output can be mistaken for a message of this program, and
made safe. Is not: the console that shows it (`console.py`), nor what the record says of a step (`agents_steps.py`).
Above: `console.py`. Below: `agents_steps.py`; `text/safe_text.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from rlm_kernel_mcp.commands.attached.agents_steps import AGENTS, Step
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted, waits_words

CODE_LINES: Final = 10
CODE_CHARS: Final = 1_000
"""Characters shown of a step's code."""
PARTIAL_S: Final = 1.0
PARTIAL_CHARS: Final = 10_000
"""How long a line waits for its end, and how long it may grow, until it is shown without it."""
CELLS_MAX: Final = 200
CELLS_S: Final = 1.0
"""So many cells that begin in so many seconds are looked for in the record and shown; of more, how many there were. A
kernel can make up thousands, and what is honest would wait behind them."""
WAITS_S: Final = 1.0
"""Between two looks whether the agent's step waits for answers, which the record says once a second."""
OTHERS: Final = "Another client's cell"
CODE_MARK: Final = "> "
OUTPUT_MARK: Final = "| "
UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading a message of a hostile kernel can raise."""


class Onlooker:
    """Takes the messages that others' cells bring, and gives the lines to show."""

    def __init__(
        self,
        begun: Callable[[str], Step | None],
        now: Callable[[], float] = time.monotonic,
        waits: Callable[[], int | None] = lambda: 0,
        late: Callable[[], Step | None] = lambda: None,
    ) -> None:
        """`begun`: takes the code of a cell that begins; returns the agent's step that it is, if it is one.

        `waits`: for how many answers the agent's step waits; None where the record cannot be read just now.
        `late`: the same as `begun` did of the last cell, by what the record has now.
        """
        self._begun, self._late = begun, late
        self._now = now
        self._waits, self._waits_at_s, self._told_waits = waits, now(), 0
        self._lines: list[str] = []
        self._partial = ""
        self._partial_at = 0.0
        self.runs = ""
        """What is running, in words for the person; empty where nothing is."""
        self._cell: str | None = None
        """Id of the request with which it was sent; None where its beginning was not heard."""
        self._heard = self._unshown = 0
        """Cells that began since `_heard_since_s`, and how many of them are still to be reported as a number."""
        self._heard_since_s = now()

    def begin(self, step: Step, cell: str | None = None) -> None:
        """Note that the agent's step runs; without an id, one whose beginning this console did not hear."""
        self._say(f"{step.name} is running{f', and {waits_words(step.waits)}' if step.waits else ''}.")
        self._told_waits = step.waits
        self._begin(step.name, cell, step.code)

    def take(self, message: Mapping[str, Any]) -> None:
        """Take a message of a request that is not this console's."""
        parent, content = message["parent_header"], message["content"]
        if parent.get("msg_type") != "execute_request":
            return
        kind, cell = message["msg_type"], str(parent.get("msg_id"))
        if kind == "execute_input":
            self._hear_of(cell, str(content["code"]))
        elif self.runs and self._cell in (None, cell):
            if kind == "status" and content["execution_state"] == "idle":
                self._look_again()
                self._say(f"{self.runs} has ended.")
                self.runs = ""
            else:
                self.show(kind, content)

    def show(self, kind: str, content: Mapping[str, Any]) -> None:
        """Show what a message says, if it is one that says something."""
        if kind == "stream":
            self._print(str(content["text"]))
        elif kind == "execute_result":
            self._line("Out: " + _text_of(content["data"]))
        elif kind == "display_data":
            self._line(_text_of(content["data"]))
        elif kind == "error":
            self._line("\n".join(map(str, content["traceback"])))

    def in_the_way(self) -> str:
        """What a person's cell waits for, in a sentence."""
        return "the agent's step" if self.runs.startswith(AGENTS) else "what runs before it"

    def text(self) -> str:
        """What is to be shown now, in whole lines; empty where nothing is."""
        if self._partial and self._now() - self._partial_at > PARTIAL_S:
            self._end_line()
        self._tell_unshown()
        self._tell_waits()
        lines, self._lines = self._lines, []
        return "".join(f"{line}\n" for line in lines)

    def _hear_of(self, cell: str, code: str) -> None:
        self._tell_unshown()
        self._heard += 1
        if self._heard > CELLS_MAX:
            self._unshown += 1
        elif (step := self._begun(code)) is None:
            self._say(f"{OTHERS} is running.")
            self._begin(OTHERS, cell, code)
        elif self._cell is None and self.runs == step.name:
            self._cell = cell  # it was found in the record while word of it was on the way
        else:
            self.begin(step, cell)

    def _tell_unshown(self) -> None:
        """Once a second: how many cells were not shown in the one before, and what the one that runs is after all."""
        if self._now() - self._heard_since_s < CELLS_S:
            return
        if self._unshown:
            self._say(f"{counted(self._unshown, 'more cell')} began within {CELLS_S:.0f} s, too many to be shown.")
        self._heard = self._unshown = 0
        self._heard_since_s = self._now()
        self._look_again()

    def _tell_waits(self) -> None:
        """Look once a second whether the agent's step waits for as many answers as was said."""
        if not self.runs.startswith(AGENTS) or self._now() - self._waits_at_s < WAITS_S:
            return
        self._waits_at_s = self._now()
        if (waits := self._waits()) is not None and waits != self._told_waits:
            self._told_waits = waits
            self._say(f"{self.runs} {waits_words(waits)}.")

    def _look_again(self) -> None:
        """Whether what was taken for another client's cell is a step: the record can be late, or not be read."""
        if self.runs == OTHERS and (step := self._late()) is not None:
            self.runs, self._told_waits = step.name, step.waits
            self._say(f"That cell is {step.name[0].lower()}{step.name[1:]}, as the record says now.")

    def _begin(self, name: str, cell: str | None, code: str) -> None:
        self.runs, self._cell = name, cell
        lines = safe_text(code[:CODE_CHARS]).rstrip("\n").split("\n")
        left_out = len(code.rstrip("\n").split("\n")) - len(lines[:CODE_LINES])
        self._lines += [CODE_MARK + line for line in lines[:CODE_LINES]]
        if left_out > 0:
            self._lines.append(f"{CODE_MARK}[and {left_out:,} more lines]")
        elif len(code) > CODE_CHARS:
            self._lines.append(f"{CODE_MARK}[the first {CODE_CHARS:,} of {len(code):,} characters]")

    def _print(self, text: str) -> None:
        *whole, rest = safe_text(text).split("\n")
        for line in whole:
            self._lines.append(OUTPUT_MARK + self._partial + line)
            self._partial = ""
        if rest and not self._partial:
            self._partial_at = self._now()
        self._partial += rest
        if len(self._partial) > PARTIAL_CHARS:
            self._end_line()

    def _line(self, text: str) -> None:
        self._end_line()
        self._print(text + "\n")

    def _say(self, text: str) -> None:
        self._end_line()
        self._lines.append(text)

    def _end_line(self) -> None:
        if self._partial:
            self._lines.append(OUTPUT_MARK + self._partial)
            self._partial = ""


def _text_of(data: Mapping[str, Any]) -> str:
    return str(data["text/plain"]) if "text/plain" in data else f"[{', '.join(map(str, data))[:100]}]"


def unreadable(error: Exception) -> str:
    """What is shown in place of a message that cannot be read."""
    return f"[a message of the kernel cannot be shown: {type(error).__name__}]"
