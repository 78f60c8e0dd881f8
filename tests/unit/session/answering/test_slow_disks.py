"""A disk that does not answer, where one client's key or program lies, holds up that client's questions alone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.session.answering.backends import openai_api
from rlm_kernel_mcp.session.answering.backends.protocol import Asked, Unanswered
from rlm_kernel_mcp.session.answering.claude.claude_cli import ClaudeBackend
from rlm_kernel_mcp.variables.subcalls import Secret, SubcallSettings, load_subcall_settings
from tests.unit.session.answering.test_openai_api import KEY, OK, Wire, backend_over

WAIT_S: Final = 60.0
ASKED: Final = Asked("a", None, "m")


class Disk:
    """Answers once it is told to."""

    def __init__(self) -> None:
        self.is_asked, self.answers = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.is_asked.set()
        self.answers.wait(WAIT_S)


async def while_waiting(
    disk: Disk, ask: Callable[[], Awaitable[object]], other: Callable[[], Awaitable[object]]
) -> None:
    """Ask somebody while another one waits for a disk."""
    waiting = asyncio.ensure_future(ask())
    try:
        assert await asyncio.to_thread(disk.is_asked.wait, WAIT_S)
        async with asyncio.timeout(WAIT_S / 2):
            await other()
        assert not waiting.done()
    finally:
        disk.answers.set()
        await waiting


def test_a_key_file_that_cannot_be_read_yet_keeps_no_other_endpoint_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each endpoint's client is made in a thread of its own."""
    disk = Disk()

    def key_of(settings: SubcallSettings) -> Secret:
        if settings.key_file is not None:
            disk.wait()
        return Secret(KEY)

    monkeypatch.setattr(openai_api, "key_of", key_of)
    wire = Wire(lambda key: (200, {}, json.dumps(OK).encode()))
    slow = backend_over(monkeypatch, wire, RLM_SUBCALL_KEY_FILE=str(tmp_path / "key"))
    quick = backend_over(monkeypatch, wire)

    async def play() -> None:
        await while_waiting(disk, lambda: slow.answer(ASKED), lambda: quick.answer(ASKED))
        await slow.close()
        await quick.close()

    asyncio.run(play())


def test_a_directory_of_path_that_does_not_answer_keeps_no_other_client_s_claude_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each client's program is looked for in a thread of its own."""
    disk = Disk()

    def program(settings: SubcallSettings) -> None:
        if settings.model == "slow":
            disk.wait()

    monkeypatch.setattr(SubcallSettings, "program", program)

    def claude(model: str) -> ClaudeBackend:
        values = {"RLM_SUBCALL_BACKEND": "claude", "RLM_SUBCALL_MODEL": model}
        return ClaudeBackend(load_subcall_settings(values, {"PATH": ""}, Path("/"), "/h"))

    async def none_found(backend: ClaudeBackend) -> None:
        with pytest.raises(Unanswered, match="There is no program"):
            await backend.answer(ASKED)
        await backend.close()

    asyncio.run(while_waiting(disk, lambda: none_found(claude("slow")), lambda: none_found(claude("quick"))))
