"""A session that goes on, as text for reading.

Is: what is over as `trace` prints it, and a step that runs as it comes: its code, then its output, each line with a
mark before it that no output can do without; everything safe, and at a terminal in colours that say
what is ours. Is not: where it comes from. Above: `follow.py`. Below:
`server/markdown.py`, `text/safe_text.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from rlm_kernel_mcp.commands.showing.steps import style_of
from rlm_kernel_mcp.commands.showing.terminal import Paint, unpainted
from rlm_kernel_mcp.server import markdown
from rlm_kernel_mcp.session.trace.events import Texts, texts_of, whole_event
from rlm_kernel_mcp.session.watching.events import CODE_CHARS, STREAMS, Stream
from rlm_kernel_mcp.store.store import EventHead
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted

CODE_MARK: Final = "> "
MARKS: Final[Mapping[str, str]] = {"stdout": "| ", "stderr": "! "}


class TextView:
    """Writes it, piece by piece."""

    def __init__(self, write: Callable[[str], None], paint: Paint = unpainted) -> None:
        """`paint`: puts a style around a text of one line; only what is written as a whole line has one."""
        self._write, self._paint = write, paint
        self._running: int | None = None
        """The row of the step that is shown as it runs."""
        self._told: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        """Characters of its output by now, shown or left out."""
        self._open: str | None = None
        """The mark of a line that has not ended."""
        self._held: dict[Stream, str] = dict.fromkeys(STREAMS, "")
        """A carriage return at the end of a piece: whether it acts depends on what follows."""

    def event(self, head: EventHead, texts: Texts) -> None:
        """What is over; of a step that was shown as it ran what is left of it."""
        if head.row.id != self._running:
            self._event(markdown.event(whole_event(head, texts)), head)
            return
        raw = texts_of(texts)
        for stream in STREAMS:
            self.output(stream, 0, raw[stream][:].decode("utf-8", "surrogatepass"))
            self._mark(MARKS[stream], safe_text(self._held[stream]))
        self._running = None
        shown = replace(whole_event(head, texts), code=None, stdout=None, stderr=None, summary="")
        self._event(markdown.event(shown), head)

    def _event(self, text: str, head: EventHead) -> None:
        """One that is over: its first line says how."""
        first, newline, rest = text.partition("\n")
        style = style_of(head.row.action, head.row.result_status, head.row.source)
        self._say(f"{self._paint(first, style)}{newline}{rest}\n")

    def running(self, head: EventHead, texts: Texts) -> None:
        """A step that runs, by its row."""
        assert head.row.id is not None
        raw = {name: text[:].decode("utf-8", "surrogatepass") for name, text in texts_of(texts).items()}
        self.begin(head.row.id, head.row.step_index, raw["code"], len(raw["code"]))
        for stream in STREAMS:
            self.output(stream, 0, raw[stream])

    def begin(self, row_id: int, step: int, code: str, code_chars: int) -> None:
        """A step runs. Nothing is shown of one that is shown already."""
        if row_id == self._running:
            return
        self._running, self._told = row_id, dict.fromkeys(STREAMS, 0)
        self._held = dict.fromkeys(STREAMS, "")
        self._say(self._paint(f"step {step} begins:", "head"))
        shown = safe_text(code[:CODE_CHARS]).removesuffix("\n")
        if shown:
            self._end_line()
            self._write("".join(f"{self._paint(CODE_MARK + line, 'code')}\n" for line in shown.split("\n")))
        if (more := code_chars - min(len(code), CODE_CHARS)) > 0:
            self._say(f"[{counted(more, 'more character')} of code]")

    def output(self, stream: Stream, at: int, text: str) -> None:
        """What it has printed, from character `at` of a stream on; what of that is shown already is not shown again."""
        told = self._told[stream]
        if at > told:
            self._say(f"[{counted(at - told, 'character')} of {stream} left out: they came too fast]")
        if new := text[max(told - at, 0) :]:
            self._told[stream] = at + len(text)
            new = self._held[stream] + new
            kept = new.rstrip("\r") if new.endswith("\r") else new
            self._held[stream] = new[len(kept) :]
            self._mark(MARKS[stream], safe_text(kept))

    def line(self, text: str) -> None:
        """One line of ours; what it holds of others is made safe here."""
        self._say(self._paint(safe_text(" ".join(text.splitlines())), "dim"))

    def _say(self, text: str) -> None:
        self._end_line()
        self._write(text + "\n")

    def _end_line(self) -> None:
        if self._open is not None:
            self._write("\n")
            self._open = None

    def _mark(self, mark: str, text: str) -> None:
        """Text of others, a mark before each line of it."""
        if not text:
            return
        if self._open != mark:
            self._end_line()
            self._write(mark)
        ends = text.endswith("\n")
        self._write(text.removesuffix("\n").replace("\n", f"\n{mark}") + ("\n" if ends else ""))
        self._open = None if ends else mark
