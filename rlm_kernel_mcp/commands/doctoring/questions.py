"""What `rlm-kernel-mcp doctor` says of the questions that sessions may ask: where they go, and what bounds them.

Is: lines for a person, from the settings and the key's file; and one short question, only where it is asked for.
Above: `doctor.py`. Below: `variables/subcalls.py`, `session/boards/choice.py`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from collections.abc import Iterator
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.answering.backends.key import key_of
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Unanswered
from rlm_kernel_mcp.session.boards.choice import backend_of
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.variables.claude import NOT_FOUND
from rlm_kernel_mcp.variables.subcalls import SubcallSettings

ASKED: Final = "Answer with the one word: ready"
WITHIN_S: Final = 60.0


def questions_lines(settings: SubcallSettings) -> Iterator[str]:
    """Who answers, within which limits, and what is missing for it."""
    yield from _who_answers(settings)
    if settings.depth > 1:
        yield f"rlm_query opens sessions of its own, down to a depth of {settings.depth - 1} (RLM_SUBCALL_DEPTH)."


def _who_answers(settings: SubcallSettings) -> Iterator[str]:
    if settings.backend == "none":
        yield "Questions of sessions go nowhere (RLM_SUBCALL_BACKEND)."
        return
    if settings.backend == "agent":
        yield f"Questions of a session go to the agent that drives it alone: at most {settings.max_subcalls:,} of one."
        return
    limits = f"at most {settings.max_subcalls:,} a session and {settings.day_max:,} a day"
    to = f"{settings.where} ({settings.model or 'a model of its choice'})"
    yield f"Questions of sessions go to {to}, with whatever text code puts in: {limits}."
    if settings.backend == "claude" and (program := settings.program()) is None:
        yield f"NO QUESTION CAN BE ASKED: {NOT_FOUND}\n  fix: install it, or set PATH in the server's environment."
    elif settings.backend == "claude":
        yield f"They are asked by {program}, which has no tools then, and its own login where no key is set."
    elif importlib.util.find_spec("openai") is None:
        yield f"NO QUESTION CAN BE ASKED: the package openai is not installed for {sys.executable}."
    try:
        if key_of(settings) is None and settings.backend == "openai":
            yield "No key is sent with them."
    except InvalidInput as error:
        yield f"NO QUESTION CAN BE ASKED: {error.message}\n  fix: {error.next_step}"


def is_answered(settings: SubcallSettings) -> bool:
    """Ask the endpoint a short question, and print what becomes of it."""
    if settings.backend == "agent":
        print("An agent cannot be asked from here; only an endpoint or claude is tried.")
        return False
    if settings.backend == "none":
        print("Nobody can be asked: RLM_SUBCALL_BACKEND is none.")
        return False
    begun_s = time.monotonic()
    try:
        answer = asyncio.run(_answer(settings))
    except Unanswered as unanswered:
        print(f"NO ANSWER from {settings.where}: {unanswered.code}: {unanswered.message}")
        return False
    except TimeoutError:
        print(f"NO ANSWER from {settings.where} within {WITHIN_S:.0f} s.")
        return False
    took_ms = (time.monotonic() - begun_s) * 1000
    tokens = (answer.tokens_in or 0) + (answer.tokens_out or 0)
    print(f"{settings.where} answers as {answer.model_said or settings.model}: {took_ms:,.0f} ms, {tokens:,} tokens.")
    return True


async def _answer(settings: SubcallSettings) -> Answer:
    backend = backend_of(settings)
    try:
        async with asyncio.timeout(WITHIN_S):
            return await backend.answer(Asked(ASKED, None, settings.model))
    finally:
        await shielded(backend.close(), "the end of doctor's question")
