"""Folds the messages of one `execute_request` into a reply. Sans-I/O.

Is: the first to look inside what a kernel says, so everything is checked for type, size and count here and bounded.
Is not: trusted afterwards either: a hostile kernel can make its own step say anything. Above: `kernel/client.py`, which
feeds it. Below: `messages.py`, `shown/displays.py`. Source: Jupyter messaging 5.5, "Messages on the IOPub channel";
nbclient's three-way wait.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal

from rlm_kernel_mcp.kernel.untrusted.exploring import NOTHING, Use, use_of
from rlm_kernel_mcp.kernel.untrusted.fields import NAME_CHARS_MAX, count_of, name_row
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.shown.displays import Displays
from rlm_kernel_mcp.wire import REPLY_KEY

STREAM_CHARS_MAX: Final = 4_200_000
STREAM_BYTES_MAX: Final = 6 << 20
"""Characters kept of one stream, and their UTF-8 bytes. The kernel's own limit on characters lies below."""
PIECES_MAX: Final = 1_000
"""Separate pieces of a text: each takes some fifty bytes beside its characters."""
RESULT_CHARS_MAX: Final = 2_000_000
TRACEBACK_CHARS_MAX: Final = 200_000
EVALUE_CHARS_MAX: Final = 20_000
UPDATED_MAX: Final = 500


@dataclass(slots=True)
class BoundedText:
    """Text that arrives in pieces, kept up to a limit; the characters beyond it are counted."""

    limit: int
    bytes_left: int = STREAM_BYTES_MAX
    chars: int = 0
    dropped: int = 0
    _pieces: list[str] = field(default_factory=list)
    _recent: list[str] = field(default_factory=list)

    def add(self, piece: str) -> None:
        """Append as much as the limit allows."""
        room = self.limit - self.chars
        kept = piece if len(piece) <= room else piece[: max(room, 0)]
        # Bytes too: a million characters may take four times as many bytes, here and in the record.
        data = kept.encode("utf-8", "surrogatepass")
        if len(data) > self.bytes_left:
            kept = data[: self.bytes_left].decode("utf-8", "ignore")
        self.bytes_left -= min(len(data), self.bytes_left)
        if kept:
            self._recent.append(kept)
            self.chars += len(kept)
            # Joined now and then: a million pieces of one character would take 60 MB as objects.
            if len(self._recent) >= PIECES_MAX:
                self._pieces.append("".join(self._recent))
                self._recent.clear()
        self.dropped += len(piece) - len(kept)

    def since(self, start: int) -> str:
        """What was kept from a character on; it costs what that is, and not what all is."""
        found: list[str] = []
        missing = self.chars - start
        for piece in chain(reversed(self._recent), reversed(self._pieces)):
            if missing <= 0:
                break
            found.append(piece[-missing:])
            missing -= len(piece)
        return "".join(reversed(found))

    def text(self) -> str:
        """What was kept."""
        if self._recent or len(self._pieces) > 1:
            whole = "".join((*self._pieces, *self._recent))
            self._pieces, self._recent = [whole], []
        return self._pieces[0] if self._pieces else ""


@dataclass(slots=True)
class Reply:
    """What one request has said so far. Complete when both the reply and the idle status have come."""

    msg_id: str
    stream_chars_max: int = STREAM_CHARS_MAX
    stdout: BoundedText = field(init=False)
    stderr: BoundedText = field(init=False)
    result: str | None = None
    ename: str | None = None
    evalue: str = ""
    traceback: str = ""
    displays: Displays = field(default_factory=Displays)
    updated: list[tuple[str, str, int | None]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    used: Use = NOTHING
    """What the step did with the exploring functions."""
    code: str | None = None
    """From `execute_input`: this is how the trace learns what a console ran."""
    execution_count: int | None = None
    status: Literal["ok", "error", "aborted"] | None = None
    unchanged: bool = False
    """Whether no name has to be kept again, so that no snapshot follows."""
    replied: bool = False
    idle: bool = False
    begun_ns: int = field(default_factory=time.monotonic_ns)
    late_chars: int = 0
    """Characters at the beginning of the text that were printed before this request, by what earlier ones left
    running."""

    @property
    def elapsed_ms(self) -> int:
        """Time since the first message of this request."""
        return (time.monotonic_ns() - self.begun_ns) // 1_000_000

    def __post_init__(self) -> None:
        self.stdout, self.stderr = BoundedText(self.stream_chars_max), BoundedText(self.stream_chars_max)

    @property
    def complete(self) -> bool:
        return self.replied and self.idle

    def begin_with(self, late: Reply) -> None:
        """Put output that came between two requests before that of this one."""
        for own, other in ((self.stdout, late.stdout), (self.stderr, late.stderr)):
            own.add(other.text())
            own.dropped += other.dropped
        self.displays.take_all(late.displays)
        self.late_chars = late.stdout.chars + late.stderr.chars

    def feed(self, message: Message) -> None:
        """Take one message whose parent is this request; comms, input requests and unknown types are ignored."""
        content = message.content
        match message.msg_type:
            case "stream":
                text = content.get("text")
                if isinstance(text, str):
                    (self.stderr if content.get("name") == "stderr" else self.stdout).add(text)
            case "execute_input":
                self._take_input(content)
            case "execute_result" | "display_data":
                is_result = message.msg_type == "execute_result"
                self._take_data(content.get("data"), is_result=is_result)
                self._take_display(content, is_result=is_result)
            case "error":
                self._take_error(content)
            case "status":
                self.idle = self.idle or content.get("execution_state") == "idle"
            case "execute_reply":
                self._take_reply(content)
            case _:
                pass

    def _take_input(self, content: dict[str, Any]) -> None:
        code, count = content.get("code"), content.get("execution_count")
        if isinstance(code, str) and self.code is None:
            self.code = code[:RESULT_CHARS_MAX]
        # Not isinstance: `true` in JSON is a bool, which is an int.
        if type(count) is int:
            self.execution_count = count

    def _take_data(self, data: object, *, is_result: bool) -> None:
        if not isinstance(data, dict):
            return
        text = data.get("text/plain")
        if isinstance(text, str):
            if is_result:
                self.result = text[:RESULT_CHARS_MAX]
            else:
                self.stdout.add(text if text.endswith("\n") else text + "\n")

    def _take_display(self, content: dict[str, Any], *, is_result: bool) -> None:
        if isinstance(data := content.get("data"), dict):
            self.displays.take(data, content.get(REPLY_KEY), is_result=is_result)

    def _take_error(self, content: dict[str, Any]) -> None:
        ename, evalue, lines = content.get("ename"), content.get("evalue"), content.get("traceback")
        if not isinstance(ename, str):
            return
        self.ename = ename[:NAME_CHARS_MAX]
        self.evalue = evalue[:EVALUE_CHARS_MAX] if isinstance(evalue, str) else ""
        if isinstance(lines, list) and lines:
            # Sliced before it is joined: the bound on characters alone would come after the work.
            text = "\n".join(line for line in lines[:10_000] if isinstance(line, str))
            self.traceback = text[:TRACEBACK_CHARS_MAX]

    def _take_reply(self, content: dict[str, Any]) -> None:
        if self.replied:
            return  # the first one counts
        status = content.get("status")
        self.replied = True
        self.status = status if status in ("ok", "error", "aborted") else "error"
        if self.status != "ok" and self.ename is None:
            self._take_error(content)
        extra = content.get(REPLY_KEY)
        if not isinstance(extra, dict):
            return
        self.unchanged = extra.get("unchanged") is True
        if extra.get("ends") is True:
            self.idle = True
            self._take_data({"text/plain": extra.get("result")}, is_result=True)
        self.used = use_of(extra.get("used"))
        rows = extra.get("updated")
        if isinstance(rows, list):
            self.updated = [row for row in map(name_row, rows[:UPDATED_MAX]) if row is not None]
        dropped = extra.get("dropped")
        if isinstance(dropped, dict):
            self.dropped = {name: count for name in ("stdout", "stderr") if (count := count_of(dropped.get(name)))}
