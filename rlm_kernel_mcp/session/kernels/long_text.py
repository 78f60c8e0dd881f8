"""Reads a text that is too long for a message from a live kernel, through a pipe, page by page into the store.

Is: the request, its bounds of time and length, and what becomes of a text that does not come as it should. Is not: what
a page is (`kernel/untrusted/text_stream.py`), nor who wants the text. Above: `session/finalize.py`,
`session/children/carrying.py`. Below: `session/snapshots/pipe.py`, `store/long_answers.py`, `kernel/`.

No more than a few pages of it are in memory at any moment, whatever the kernel sends.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput, KernelDied, SessionBusy
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.answers import failure_of, sent_chars
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.kernel.untrusted.text_stream import TextDecoder, TextPage
from rlm_kernel_mcp.session.kernels.variables import READ_TIMEOUT_S
from rlm_kernel_mcp.session.snapshots.pipe import blocks
from rlm_kernel_mcp.session.snapshots.requests import end_of, pass_descriptor
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.store.long_answers import NewAnswer, PagedText
from rlm_kernel_mcp.wire import SEND_TEXT, SendTextRequest

STREAM_S: Final = 240.0
"""So long a text may take to come: 256 MB take the two sides some seconds of a processor, lone surrogates 30 s."""
BROKEN_S: Final = 2.0
"""So long it is waited, where none has come, whether the kernel is gone: that would say more."""
END_S: Final = 60.0
"""So long the pages of one that is not taken may take to go."""
AGAIN: Final = "Call rlm_finalize again; if it fails again, bind a shorter text. The session is as it was."

_readers = ThreadPoolExecutor(256, thread_name_prefix="long answer's pipe")
"""Threads, each of which waits for one kernel; no other session waits for it."""


async def read_long(kernel: Kernel, name: str, chars_max: int, answer: NewAnswer) -> PagedText:
    """The whole text of a `str` variable, of at most `chars_max` characters, once it is in the store.

    Raises:
        KernelDied: it did not come as it should. InvalidInput: it is no `str`. SessionBusy: the disk does not keep it.
            Nothing of it stays.
    """
    stop, loop = threading.Event(), asyncio.get_running_loop()
    # A pipe, as for snapshots: its 64 KB bound what either side holds of a text that may have 256 MB.
    reader, writer = os.pipe2(os.O_CLOEXEC)
    stream = loop.run_in_executor(_readers, _receive, reader, chars_max, answer, stop)
    stream.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # looked at, however late it comes
    asked: asyncio.Future[Message] | None = None
    try:
        asked = asyncio.ensure_future(_ask(kernel, name, writer))
        await asyncio.wait({stream}, timeout=STREAM_S + END_S)
        if not stream.done():  # a thread waits for the disk
            raise _not_kept()
        has_come = stream.exception() is None
        await asyncio.wait({asked}, timeout=READ_TIMEOUT_S if has_come else BROKEN_S)
        return _believed(name, stream, asked)
    except BaseException:
        stop.set()
        with suppress(TimeoutError):  # what has happened matters more; pages that stay go with their session
            await shielded(_removed(stream, answer), "the removal of an answer that is not taken", within_s=END_S)
        raise
    finally:
        if asked is not None:
            asked.cancel()


async def _ask(kernel: Kernel, name: str, writer: int) -> Message:
    """Pass the pipe and send its request; nothing is awaited in between, when another's request could come first."""
    pass_descriptor(kernel, writer)
    request: SendTextRequest = {"name": name}
    return await kernel.client.request(SEND_TEXT, request)


def _believed(name: str, stream: asyncio.Future[PagedText], asked: asyncio.Future[Message]) -> PagedText:
    """What came, if that is all that the kernel says it has sent. Raises: as `read_long`."""
    if asked.done() and (error := asked.exception()) is not None:
        raise error  # that it is gone says more than how its stream ended
    try:
        found = stream.result()
    except StreamBroken as error:
        raise KernelDied(f"The kernel did not send the final answer as it should: {error}.", AGAIN) from error
    if not asked.done():
        raise KernelDied("The kernel did not say that it has sent all of the final answer.", AGAIN)
    reply = asked.result()
    said = sent_chars(reply.content)
    if said is None and failure_of(reply.content)[0] == "ValueError":
        raise InvalidInput(
            f"{name} is no str, and too long for a final answer of another type.",
            "Bind the answer alone to a name, as a str, and finalize with that.",
        )
    if said != len(found):
        fault = "could not send it" if said is None else f"said that it had sent {said:,}"
        raise KernelDied(f"{len(found):,} characters of the final answer came from the kernel, which {fault}.", AGAIN)
    return found


async def _removed(stream: asyncio.Future[PagedText], answer: NewAnswer) -> None:
    await end_of(stream)
    await asyncio.to_thread(answer.remove)


def _receive(reader: int, chars_max: int, answer: NewAnswer, stop: threading.Event) -> PagedText:
    """In a thread: bring what comes through a pipe into the store. Raises: StreamBroken; SessionBusy."""
    try:
        for page in pages_of(reader, chars_max, stop):
            if not answer.add(page.data, page.chars):
                raise _not_kept()
    finally:
        os.close(reader)
    if (found := answer.end()) is None:
        raise _not_kept()
    return found


def pages_of(reader: int, chars_max: int, stop: threading.Event) -> Iterator[TextPage]:
    """What comes through a pipe, page by page, within the bounds of time. In a thread. Raises: StreamBroken."""
    decoder = TextDecoder(chars_max)
    for block in blocks(reader, time.monotonic() + STREAM_S, stop, READ_TIMEOUT_S):
        yield from decoder.feed(block)
    yield from decoder.end()


def _not_kept() -> SessionBusy:
    return SessionBusy(
        "The final answer is not taken: the disk of the session store does not keep so long a text.",
        "Tell the user to check the disk of RLM_STATE_DIR, then call rlm_finalize again; the session is as it was.",
    )
