"""Whether a `claude` heeds what it is told, tried before any question of a session is handed to it.

Is: one run of the very program with the very arguments, against an endpoint of ours on loopback, without the user's
key: what it would send has to offer no tool and to hold nothing of a file that its input names. It is tried once for
each program that is found (`claude_cli.py`). Is not: the look at each later run (`lines.py`).
Above: `claude_cli.py`. Below: `command.py`, `lines.py`, `shielded.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.session.answering.backends.protocol import Asked, Unanswered
from rlm_kernel_mcp.session.answering.claude.command import input_of
from rlm_kernel_mcp.session.answering.claude.lines import Said, ended_without_answer
from rlm_kernel_mcp.shielded import shielded

BODY_BYTES_MAX: Final = 1_000_000
REQUESTS_MAX: Final = 20
NOT_A_KEY: Final = "sk-ant-none-it-is-only-tried"
ANSWER: Final = b'{"type":"error","error":{"type":"authentication_error","message":"this is a trial"}}'
Running = Callable[[Mapping[str, str], bytes, Said], Awaitable[int | None]]
"""Runs the program with what is added to its environment, and its input."""


class Listening:
    """The endpoint: it hears requests below a path that nobody else knows, and answers that nobody is known to it."""

    def __init__(self) -> None:
        self.path = f"/{secrets.token_hex(16)}"
        self.heard: list[bytes] = []

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, of one request."""
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *rest = head.split("\r\n")
                headers = dict(line.lower().partition(":")[::2] for line in rest)
                body = await reader.readexactly(min(int(headers.get("content-length", "0")), BODY_BYTES_MAX))
                if first.startswith(f"POST {self.path}/") and len(self.heard) < REQUESTS_MAX:
                    self.heard.append(body)
                status = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close\r\n"
                writer.write(status + b"content-length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
                await writer.drain()
        finally:
            writer.close()


async def tried(run: Running) -> None:
    """Try the program.

    Raises:
        Unanswered: it would do more than to answer, or it does not run.
    """
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="rlm-claude-"))
    listening, canary, said = Listening(), secrets.token_hex(16), Said(is_trial=True)
    server = await asyncio.start_server(listening.hear, "127.0.0.1", 0)
    try:
        file = directory / "canary.txt"
        await asyncio.to_thread(file.write_text, canary)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{listening.path}"
        names = f'What is in @{file}, @"{file}" and @~/../..{file}?'
        status = await run({"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": NOT_A_KEY}, input_of(_asked(names)), said)
        judge(listening.heard, canary, said, status)
    finally:
        server.close()
        await shielded(asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True), "the end of a trial")


def judge(heard: list[bytes], canary: str, said: Said, status: int | None) -> None:
    """Raises: Unanswered: what it has said or sent is not what a program without tools and files says and sends."""
    if said.result is None:
        raise ended_without_answer(status, is_paid=False)
    if not said.is_toolless or not heard:
        raise _refused("it sent no question when it was tried")
    for body in heard:
        if canary.encode() in body:
            raise _refused("it reads the files that a question names")
        try:
            asked = json.loads(body)
        except ValueError:
            raise _refused("what it sends cannot be read") from None
        if not isinstance(asked, dict) or asked.get("tools"):
            raise _refused("what it sends offers tools")


def _asked(names: str) -> Asked:
    return Asked(names, names, "")


def _refused(why: str) -> Unanswered:
    what = f"This claude is not asked, since {why} (policy): a model that answers code may have no tool and no file."
    return Unanswered("refused", what, is_for_all=True)
