"""The backend `openai`: an endpoint that speaks Chat Completions or Responses, be it OpenAI's or another's.

Is: one question to one request, and the client's library at the first question. Is not: a retry, which is for all
backends the same (`session/answering/sending.py`). Above: `session/boards/choice.py`. Below: `requests.py`,
`replies.py`, `key.py`, and `transport.py`, which is imported in a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.answering.backends.key import blacked_out, blacked_out_of, key_of
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Facts, Unanswered
from rlm_kernel_mcp.session.answering.backends.replies import answer_of, failure_of, is_schema_refused
from rlm_kernel_mcp.session.answering.backends.requests import request_for
from rlm_kernel_mcp.session.answering.backends.strict import unwrapped
from rlm_kernel_mcp.variables.subcalls import OPENAI_URL, Secret, SubcallSettings

REFUSED_SCHEMAS: Final = 1_000
"""That are remembered, so that they are not tried again."""
NOT_INSTALLED: Final = (
    "The package `openai` is not installed in the server's environment; the user has to add it "
    "(bin/setup --with openai)."
)


class OpenAIBackend:
    """One endpoint."""

    def __init__(self, settings: SubcallSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="client of an endpoint")
        """Its own, and not asyncio's: what an import waits for, or the disk of this client's key, holds up no other."""
        self._client: Any = None
        self._key: Secret | None = None
        self._refused: list[Any] = []
        """Clients whose key was refused, until there is another."""
        self._opening: asyncio.Task[None] | None = None
        self._refused_schemas: set[str] = set()
        self._is_own = settings.url == OPENAI_URL or bool(settings.azure_version)
        tokens = settings.output_tokens
        self.facts = Facts(
            name="openai",
            where=settings.where,
            model=settings.model,
            models=settings.models,
            how=f"each question goes to {settings.model} at {settings.where}; an answer has at most {tokens:,} tokens",
            has_tools=True,
            is_open_world=True,
            output_tokens=tokens,
            form=f"{settings.api} {tokens} 1",
        )

    def __repr__(self) -> str:
        return f"OpenAIBackend({self.facts.where})"

    async def answer(self, asked: Asked) -> Answer:
        """Ask the endpoint.

        Raises:
            Unanswered: as `replies.py` and `transport.py` say.
        """
        schema = asked.schema or ""
        name = hashlib.sha256(schema.encode("utf-8", "surrogatepass")).hexdigest()
        answer, was_refused = await self._asked(asked, may_be_strict=name not in self._refused_schemas)
        if was_refused:
            if len(self._refused_schemas) < REFUSED_SCHEMAS:
                self._refused_schemas.add(name)
            answer, _ = await self._asked(asked, may_be_strict=False)
        assert answer is not None
        return answer

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait({self._opening})
        await self._close_refused()
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        self._threads.shutdown(wait=False)

    async def _asked(self, asked: Asked, *, may_be_strict: bool) -> tuple[Answer | None, bool]:
        """The answer, or that the endpoint may have refused the schema alone."""
        from rlm_kernel_mcp.session.answering.backends.transport import sent

        settings = self._settings
        client, key = await self._ready()
        request = request_for(
            asked, settings.api, settings.output_tokens, is_own=self._is_own, may_be_strict=may_be_strict
        )
        status, headers, body = await sent(client, request.path, request.body)
        body = blacked_out_of(body, key)
        if status == 401 and client is self._client and settings.key_file is not None:
            self._client, self._refused = None, [*self._refused, client]  # the next question reads the file again
        if not 200 <= status < 300:
            if request.is_strict and is_schema_refused(status, body):
                return None, True
            unanswered = failure_of(status, headers, body, time.time())
            unanswered.message = blacked_out(unanswered.message, key)
            raise unanswered
        answer = answer_of(body, settings.api, may_call=asked.conversation is not None)
        text = unwrapped(answer.text) if request.is_strict else answer.text
        return replace(answer, text=blacked_out(text, key), model_said=blacked_out(answer.model_said, key)), False

    async def _ready(self) -> tuple[Any, Secret | None]:
        """The client and its key, which the first question makes and the others wait for."""
        while self._client is None:
            if self._opening is None or self._opening.done():  # it failed, or its key was refused
                self._opening = asyncio.create_task(self._open(), name="client of an endpoint")
            await asyncio.shield(self._opening)
        return self._client, self._key

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._key, self._client = await loop.run_in_executor(self._threads, _opened, self._settings)
        except ImportError:
            raise Unanswered("backend", NOT_INSTALLED, is_for_all=True) from None
        except InvalidInput as error:
            raise Unanswered("backend", f"{error.message} {error.next_step}", is_for_all=True) from None
        await self._close_refused()

    async def _close_refused(self) -> None:
        refused, self._refused = self._refused, []
        for client in refused:
            await client.close()


def _opened(settings: SubcallSettings) -> tuple[Secret | None, Any]:
    """The key and the client. The import takes 0.4 s of the processor once."""
    from rlm_kernel_mcp.session.answering.backends.transport import client_of

    key = key_of(settings)
    return key, client_of(settings, key)
