"""An endpoint beside hostile sessions: what it answers, and what must never have reached it.

Sessions may have children there (`RLM_SUBCALL_DEPTH` is 2), in which it runs what it is asked: a hostile child's code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tests.endpoints.aside import asks, endpoint_aside
from tests.endpoints.endpoint import Call, Seen

LONG: Final = "x" * 100_000
SAID: Final = {"long": LONG, "number": '{"answer": 7}'}
"""By prompt; to all others their first line is given back."""


@contextmanager
def answered() -> Iterator[tuple[dict[str, str], Callable[[], list[str]]]]:
    """The settings of a server whose sessions ask it, and what speaks against them: cases mark it with `FORGED`."""
    with endpoint_aside(reply=_reply) as endpoint:
        yield (
            asks(endpoint, RLM_SUBCALL_DEPTH="2"),
            lambda: [f"{seen.user[:80]!r} was asked" for seen in endpoint.seen if "FORGED" in seen.user],
        )


def _reply(seen: Seen) -> str | list[Call]:
    if seen.tools:
        return [_turn(seen.body["messages"][-1])]
    asked = seen.user.partition("\n")[0]
    return SAID.get(asked, f"echo of {asked}")


def _turn(last: dict[str, str]) -> Call:
    """Of whoever works in a child: the question is code, and what comes of it the final answer."""
    if last["role"] == "tool":
        return "final", json.dumps({"text": last["content"]})
    return "run_python", json.dumps({"code": last["content"].partition("Question: ")[2]})
