"""What a function is called with and what it gives, looked at before it is passed on.

Is: JSON to JSON, or to the words on what it is not. It may take some ms: of long ones in a thread. Is not: which call
is made (`calls.py`). Sans-I/O. Above: `calls.py`. Below: `kernel/untrusted/values.py`.
"""

from __future__ import annotations

import time
from typing import Final

from rlm_kernel_mcp.kernel.untrusted.values import NotPlain, plain_json, plain_object
from rlm_kernel_mcp.questions_wire import GIVEN_CHARS_MAX, GIVEN_TOO_MUCH, ITEM_CHARS_MAX, WORDS_CHARS_MAX
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Given
from rlm_kernel_mcp.text.safe_text import safe_prefix

AT_ONCE_CHARS: Final = 1_000
"""JSON that is longer is looked at in a thread."""


def plain_arguments(text: str) -> tuple[str, str]:
    """Arguments as they are passed on, or what they are not."""
    try:
        plain = plain_object(text)
    except NotPlain as error:
        return "", str(error)
    # A number may be longer than it was written: 1e15.
    return (plain, "") if len(plain) <= ITEM_CHARS_MAX else ("", f"has more than {ITEM_CHARS_MAX:,} characters")


def plain_timed(text: str) -> tuple[str, str, float]:
    """The same, with the processor time that it took."""
    begun_s = time.thread_time()
    return *plain_arguments(text), time.thread_time() - begun_s


def given_by(name: str, text: str | None, error: str | None) -> Given:
    """What the kernel is told. What a function gives is looked at too: it may pass on what came from anywhere."""
    if text is None:
        return Failed("declined", safe_prefix(error or "", WORDS_CHARS_MAX)[0])
    try:
        plain = plain_json(text) if len(text) <= GIVEN_CHARS_MAX else text
    except NotPlain as problem:
        return Failed("declined", f"What {name} gave {problem}.")
    if len(plain) > GIVEN_CHARS_MAX:
        return Failed("declined", GIVEN_TOO_MUCH.format(name=name, chars=len(plain)))
    return Answered(plain)
