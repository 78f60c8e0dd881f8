"""A text as UTF-8 can hold it.

Is: what stands for half of a character. Is not: a bound. Above: `in_kernel/asking/`, `session/answering/`,
`session/children/`. Below: nothing.
"""

from __future__ import annotations


def sendable(text: str) -> str:
    """Halves of a character that go together are one, and a lone one (a byte that did not decode) is U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
