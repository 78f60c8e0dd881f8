"""The backend `claude`: the program `claude` of the user's machine, without tools, one run of it for each question.

Is: which program that is, its trial before the first question, and its runs. Is not: a retry, which is for all backends
the same (`session/answering/sending.py`). Above: `session/boards/choice.py`. Below: `command.py`, `lines.py`, `run.py`,
`trial.py`, `backends/key.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.answering.backends.key import key_of
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Facts, Unanswered
from rlm_kernel_mcp.session.answering.claude.command import arguments, environment, input_of
from rlm_kernel_mcp.session.answering.claude.lines import Said
from rlm_kernel_mcp.session.answering.claude.run import Lifeline, ran
from rlm_kernel_mcp.session.answering.claude.trial import tried
from rlm_kernel_mcp.text.printable import printable
from rlm_kernel_mcp.variables.claude import KEYS, NOT_FOUND, PROXIED
from rlm_kernel_mcp.variables.subcalls import SubcallSettings

log = logging.getLogger(__name__)

COMPLAINT_CHARS: Final = 500
CLOSE_S: Final = 20.0
"""How long the end of its runs may take; they are killed at once."""
TRIAL_S: Final = 60.0
"""How long its trial may take; it sends its question within a second."""


@dataclass(frozen=True, slots=True)
class Found:
    """A program, and what tells it from the next version of it."""

    path: str
    place: str
    identity: tuple[int, int, int, int]


class ClaudeBackend:
    """One user's program."""

    def __init__(self, settings: SubcallSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="looks for claude")
        """Its own, and not asyncio's: a disk of this client's PATH that does not answer holds up no other client."""
        self._tried: Found | None = None
        self._trying: asyncio.Task[None] | None = None
        self._runs: dict[asyncio.Task[Any], Lifeline] = {}
        tokens = settings.output_tokens
        model = settings.model or "the model of its own choice"
        self.facts = Facts(
            name="claude",
            where=settings.where,
            model=settings.model,
            models=settings.models,
            how=f"each question goes to claude ({model}) without tools at {settings.where}; an answer has at most "
            f"{tokens:,} tokens{'' if settings.has_program else f'. NONE CAN BE ASKED NOW: {NOT_FOUND}'}",
            is_open_world=True,
            output_tokens=tokens,
            form=f"{tokens} 1",
        )

    def __repr__(self) -> str:
        return f"ClaudeBackend({self.facts.where})"

    async def answer(self, asked: Asked) -> Answer:
        """Run the program for one question.

        Raises:
            Unanswered: as `lines.py` and `trial.py` say, or there is no program.
        """
        try:
            found, given = await asyncio.get_running_loop().run_in_executor(self._threads, self._looked)
        except InvalidInput as error:
            raise Unanswered("backend", f"{error.message} {error.next_step}", is_for_all=True) from None
        await self._ready(found, given)
        said = Said(secrets_of(given))
        return said.answer(await self._run(found, given, asked.model, input_of(asked), said))

    async def close(self) -> None:
        """End its runs. Safe to call twice."""
        for lifeline in self._runs.values():
            lifeline.cut()
        if tasks := {*self._runs, *([self._trying] if self._trying else [])}:
            await asyncio.wait(tasks, timeout=CLOSE_S)
        self._threads.shutdown(wait=False)

    def _looked(self) -> tuple[Found, dict[str, str]]:
        """The program, and what the user's environment has for it. It waits for the disk.

        Raises:
            InvalidInput: there is none, or the key's file cannot be read.
        """
        settings = self._settings
        given = {name: value.value for name, value in settings.environment}
        if settings.key_file is not None and (key := key_of(settings)) is not None:
            given["ANTHROPIC_API_KEY"] = key.value
        path = settings.program()
        if path is None:
            raise InvalidInput(NOT_FOUND, "The user has to install it, or to set PATH in the server's environment.")
        place, one = os.path.realpath(path), os.stat(path)  # noqa: PTH116 (by one name, as it is run)
        return Found(path, place, (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns)), given

    async def _ready(self, found: Found, given: dict[str, str]) -> None:
        """Wait until the program was tried; the first question does it for all."""
        while self._tried != found:
            if self._trying is None or self._trying.done():
                self._trying = asyncio.create_task(self._try(found, given), name="trial of claude")
                self._trying.add_done_callback(partial(_over, self._runs))
            await asyncio.shield(self._trying)

    async def _try(self, found: Found, given: dict[str, str]) -> None:
        public = {name: value for name, value in given.items() if name not in {*KEYS, *PROXIED}}

        async def run(more: Mapping[str, str], text: bytes, said: Said) -> int | None:
            return await self._run(found, {**public, **more}, self._settings.model, text, said)

        try:
            async with asyncio.timeout(TRIAL_S):
                await tried(run)
        except TimeoutError:
            what = f"claude did not send its question within {TRIAL_S:.0f} s when it was tried, and was given nothing."
            raise Unanswered("backend", what, is_for_all=True) from None
        self._tried = found

    async def _run(self, found: Found, given: dict[str, str], model: str, text: bytes, said: Said) -> int | None:
        """One run; the status with which it ended by itself.

        Where this wait is cancelled the program is killed at once, and its end is not waited for.
        """
        settings = self._settings
        argv = (found.path, *arguments(model, settings.max_usd))
        lifeline = Lifeline()
        work = ran(argv, environment(given, settings.output_tokens), text, said.take, lifeline)
        task = asyncio.create_task(work, name="run of claude")
        self._runs[task] = lifeline
        task.add_done_callback(partial(_over, self._runs))
        try:
            status, complaint = await asyncio.shield(task)
        except asyncio.CancelledError:
            lifeline.cut()
            raise
        if said.result is None and complaint:
            log.warning("claude said: %s", printable(said.cleared(complaint)[:COMPLAINT_CHARS]))
        return status


def secrets_of(given: Mapping[str, str]) -> tuple[str, ...]:
    """What of its environment nobody is to see: keys, values of headers, passwords of proxies; the longest first."""
    found = {given[name] for name in KEYS if name in given}
    for line in given.get("ANTHROPIC_CUSTOM_HEADERS", "").splitlines():
        value = line.partition(":")[2].strip()
        found |= {line.strip(), value, *value.split()}
    for name in PROXIED:
        with contextlib.suppress(ValueError):
            password = urlsplit(given.get(name, "")).password or ""
            found |= {password, unquote(password)}
    return tuple(sorted(found, key=len, reverse=True))


def _over(runs: dict[asyncio.Task[Any], Lifeline], task: asyncio.Task[Any]) -> None:
    """A task has ended, and nobody may wait for it any more."""
    if (lifeline := runs.pop(task, None)) is not None:
        lifeline.cut()
    if not task.cancelled():
        task.exception()
