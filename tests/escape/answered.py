"""An endpoint beside hostile sessions: what it answers, and what must never have reached it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tests.endpoints.aside import asks, endpoint_aside
from tests.endpoints.endpoint import Seen

LONG: Final = "x" * 100_000
SAID: Final = {"long": LONG, "number": '{"answer": 7}'}
"""By prompt; to all others their first line is given back."""


@contextmanager
def answered() -> Iterator[tuple[dict[str, str], Callable[[], list[str]]]]:
    """The settings of a server whose sessions ask it, and what speaks against them: cases mark it with `FORGED`."""
    with endpoint_aside(reply=_reply) as endpoint:
        yield (
            asks(endpoint),
            lambda: [f"{seen.user[:80]!r} was asked" for seen in endpoint.seen if "FORGED" in seen.user],
        )


def _reply(seen: Seen) -> str:
    asked = seen.user.partition("\n")[0]
    return SAID.get(asked, f"echo of {asked}")
