"""What `rlm-kernel-mcp doctor` says of the questions that sessions may ask: where they go, and what bounds them.

Is: lines for a person, from the settings and the key's file. Is not: a question: nothing is sent. Above: `doctor.py`.
Below: `variables/subcalls.py`, `session/answering/backends/key.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.answering.backends.key import key_of
from rlm_kernel_mcp.variables.subcalls import SubcallSettings


def questions_lines(settings: SubcallSettings) -> Iterator[str]:
    """Who answers, within which limits, and what is missing for it."""
    if settings.backend == "none":
        yield "Questions of sessions go nowhere (RLM_SUBCALL_BACKEND)."
        return
    limits = f"at most {settings.max_subcalls:,} a session and {settings.day_max:,} a day"
    yield f"Questions of sessions go to {settings.where} ({settings.model}), with whatever text code puts in: {limits}."
    if importlib.util.find_spec("openai") is None:
        yield f"NO QUESTION CAN BE ASKED: the package openai is not installed for {sys.executable}."
    try:
        if key_of(settings) is None:
            yield "No key is sent with them."
    except InvalidInput as error:
        yield f"NO QUESTION CAN BE ASKED: {error.message}\n  fix: {error.next_step}"
