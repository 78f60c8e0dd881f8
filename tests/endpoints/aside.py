"""An endpoint beside a client that speaks line by line, and what the server behind that client has kept of its answers.

Is: an event loop in a thread, for tests that have none, and the settings with which a server asks it. Is not: the
endpoint (`endpoint.py`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final

from tests.endpoints.endpoint import Endpoint, Seen
from tests.mcp.line_client import WAIT_S, LineClient

KEY: Final = "sk-canary-0123456789abcdef"


@contextmanager
def endpoint_aside(**fields: Any) -> Iterator[Endpoint]:
    """An endpoint that listens meanwhile; `fields`: of `Endpoint`. Its lists may be read from any thread."""
    endpoint = Endpoint(**fields)
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def listen() -> None:
        async with endpoint:
            over = asyncio.Event()
            begun.set_result((asyncio.get_running_loop(), over))
            await over.wait()

    def run() -> None:
        try:
            asyncio.run(listen())
        except OSError as error:
            begun.set_exception(error)

    thread = threading.Thread(target=run, name="endpoint")
    thread.start()
    loop, over = begun.result(WAIT_S)
    try:
        yield endpoint
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(WAIT_S)


def asks(endpoint: Endpoint, **more: str) -> dict[str, str]:
    """The settings of a server whose sessions ask it."""
    backend = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "m", "OPENAI_BASE_URL": endpoint.url}
    return backend | {"OPENAI_API_KEY": KEY} | more


def prompts(endpoint: Endpoint) -> Counter[str]:
    """How often each question came."""
    return Counter(seen.user for seen in endpoint.seen)


def only_those_that(*prompts: str) -> Callable[[Seen], bool]:
    """For `held`: requests with these prompts."""
    return lambda seen: seen.user in prompts


def nothing(seen: Seen) -> bool:
    """For `held`: no request."""
    del seen
    return False


def kept(client: LineClient, session_id: str) -> str:
    """What the record says by now of the questions of a session, batch by batch."""
    events = client.data("rlm_get_trace", session_id=session_id)["events"]
    return "; ".join(event["summary"] for event in events if event["action"] == "subcalls")


def wait_until(client: LineClient, condition: Callable[[], bool]) -> None:
    """Wait for what tells nobody that it has become so; the client's server is served meanwhile."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it has not become so"
        client.pause()
