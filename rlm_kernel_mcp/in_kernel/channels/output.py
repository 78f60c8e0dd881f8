"""A step's printed output, bounded where it is made.

A courtesy to the host's memory, not a wall: code can write to the sockets past it, and the host bounds what it reads.
Is: streams with a budget for each step. Is not: results and displays, which are `display.py`'s. Above:
`in_kernel/ipython/app.py`, `in_kernel/ipython/kernel.py`, `in_kernel/ipython/shell.py`, `display.py`. Below: nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from ipykernel.control import ControlThread
from ipykernel.iostream import OutStream

from rlm_kernel_mcp.in_kernel.channels.threads import ThreadsOwnHeader

PROMPT_FLUSHES = 2_000
TOGETHER_S = 0.02
"""How many flushes of a step are sent as separate messages, and how often those after them are sent together."""
MESSAGE_CHARS = 40_000
"""Longest text of one `stream` message: at most 240 KB, whatever the characters."""


class BudgetedOutStream(ThreadsOwnHeader, OutStream):
    """stdout or stderr of a kernel that sends the head and the tail of what a step prints.

    The first `budget_chars - tail_chars` characters of a step go out as they come. Of what follows the last
    `tail_chars` are kept and sent when the step ends, after a line that says how many were dropped in between.
    """

    budget_chars = 4_000_000
    """Characters that one step may send; the policy's `output_chars_per_step`."""
    tail_chars = 100_000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes the arguments of ipykernel's own stream."""
        super().__init__(*args, **kwargs)
        self._tail: list[str] = []
        self._prompt_left = PROMPT_FLUSHES
        self._flushed_at = 0.0
        self._sending = False
        """Whether text may have left the buffer without being scheduled yet."""
        self._tail_held = self._past_head = 0
        self._tail_limit = self._head_limit = self._head_left = 0
        self._allot()

    def begin_step(self) -> None:
        """Start a new budget. What threads printed since the last step past its budget comes first."""
        self._send_tail()
        self._prompt_left = PROMPT_FLUSHES
        with self._buffer_lock:
            self._allot()

    def finish_step(self) -> int:
        """Send the tail; returns how many characters of the step were dropped."""
        self.flush_next()
        return self._send_tail()

    def flush_next(self) -> None:
        """Let the next flush be a message of its own: something that comes after it is about to be sent."""
        self._prompt_left = max(1, self._prompt_left)

    def flush(self) -> None:
        """Send what is buffered, and return when it is sent: the code that runs next may block that thread for good.

        With nothing buffered or under way there is nothing to wait for. A step that has asked for very many messages
        gets one for several flushes. The control thread waits for none: ipykernel flushes after each of its requests,
        and an answer must not wait for a host that does not read iopub.
        """
        if not self._buffers and not self._sending:
            return
        if isinstance(threading.current_thread(), ControlThread):
            if self.pub_thread is not None:
                self.pub_thread.schedule(self._flush)
            return
        # Not dropped: a timer of ipykernel flushes what stays in the buffer.
        if self._prompt_left <= 0 and time.monotonic() - self._flushed_at < TOGETHER_S:
            return
        self._prompt_left -= 1
        thread = self.pub_thread.thread if self.pub_thread is not None else None
        if thread is not None and thread.is_alive() and thread.ident != threading.get_ident():
            self.pub_thread.schedule(self._flush)
            # A turn of the thread hands the messages on, and a later one sends them.
            for _ in range(2):
                self.pub_thread.wait(self.flush_timeout)
        else:
            super().flush()
        self._flushed_at = time.monotonic()

    def write(self, string: str) -> int:
        """Print within the budget; as `io.TextIOBase.write`."""
        # A subclass of str could lie about its length.
        if type(string) is not str:
            string = _exact(string)
        size = len(string)
        with self._buffer_lock:
            left = self._head_left
            if size <= left:
                self._head_left = left - size
            else:
                self._head_left = 0
                self._keep(string if not left else string[max(left, size - self._tail_limit) :], size - left)
                string = string[:left]
        if string:
            super().write(string)
        return size

    def reconfigure(self, **options: Any) -> None:
        """As `io.TextIOWrapper.reconfigure`: a session's text goes out as UTF-8, whatever is asked for."""
        del options

    def _allot(self) -> None:
        self._tail_limit = min(self.tail_chars, self.budget_chars // 2)
        self._head_left = self._head_limit = self.budget_chars - self._tail_limit

    def _keep(self, text: str, past_head: int) -> None:
        self._past_head += past_head
        self._tail.append(text)
        self._tail_held += len(text)
        # At twice the limit, so that joining costs each character at most once more.
        if self._tail_held > 2 * self._tail_limit:
            self._tail = ["".join(self._tail)[-self._tail_limit :]]
            self._tail_held = self._tail_limit

    def _send_tail(self) -> int:
        with self._buffer_lock:
            tail = "".join(self._tail)[-self._tail_limit :]
            dropped = self._past_head - len(tail)
            self._tail = []
            self._tail_held = self._past_head = 0
        if dropped:
            sent = f"{self._head_limit:,} before and {len(tail):,} after"
            tail = f"\n[{dropped:,} characters of {self.name} were dropped here; {sent} were kept]\n{tail}"
        if tail:
            super().write(tail)
        return dropped

    def _flush(self) -> None:
        """In the iopub thread: hand on what is buffered."""
        self._sending = True
        try:
            super()._flush()
        finally:
            self._sending = False

    def _flush_buffers(self) -> Iterator[tuple[dict[str, Any], str]]:
        """The buffered texts by parent header, in pieces that fit one message."""
        for parent, text in super()._flush_buffers():
            for start in range(0, len(text), MESSAGE_CHARS):
                yield parent, _encodable(text[start : start + MESSAGE_CHARS])


def own_streams() -> list[BudgetedOutStream]:
    """stdout and stderr, unless a step has put something else in their place."""
    return [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, BudgetedOutStream)]


def flush_streams() -> None:
    """Send what was printed so far, before a message that belongs after it."""
    for stream in own_streams():
        stream.flush()


def _exact(string: object) -> str:
    if not isinstance(string, str):
        raise TypeError(f"write() argument must be str, not {type(string).__name__}")
    return str.__str__(string)


def _encodable(text: str) -> str:
    """The text with lone surrogates written out: one of them would cost the whole message."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
