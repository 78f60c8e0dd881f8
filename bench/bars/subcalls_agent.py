"""Questions of code that an agent answers: what passes through its window where it answers itself, and where others do.

Is: characters of tool results, over the wire, of a driver that does as `delegate` says; they are exact. By a host, as
no sub-agent is suggested without one. Is not: a model, nor what a sub-agent's own window has.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.measure import Amounts, Bar, Figures, Row
from tests.front.hosts import Hosts
from tests.mcp.line_client import LineClient, text_of

ROWS = "".join(
    f"ticket {n}: the item arrived {'broken' if n % 3 == 0 else 'fine'}. {'filler ' * 33}\n" for n in range(200)
)
ASK = "got = llm_query_batched('Broken or fine? One word.', context.splitlines()); len(got), got.count('broken')"
RESULT = "(200, 67)"


class Driver:
    """An agent's own calls, and the characters that they bring into its window."""

    def __init__(self, client: LineClient) -> None:
        self._client = client
        self.session_id = client.open_session(ROWS)
        self.chars = 0

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        text = text_of(self._client.call(tool, session_id=self.session_id, **arguments))
        self.chars += len(text)
        data: dict[str, Any] = json.loads(text)["data"]
        return data


def answers_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """A rule in a model's place."""
    items = data["questions"]["items"]
    return [{"id": one["id"], "text": "broken" if "arrived broken" in one["text"] else "fine"} for one in items]


def alone(client: LineClient) -> int:
    """It answers page by page."""
    driver = Driver(client)
    data = driver.call("rlm_run_repl", code=ASK)
    while data["status"] == "needs_answers":
        data = driver.call("rlm_answer", answers=answers_of(data))
    assert data["result"] == RESULT, data
    return driver.chars


def with_sub_agents(client: LineClient) -> int:
    """Two others take twenty at a time."""
    driver = Driver(client)
    step = driver.call("rlm_run_repl", code=ASK)["step_index"]
    given: list[list[dict[str, Any]]] = [[], []]
    asks = True
    while asks:
        asks = False
        for number, answers in enumerate(given):
            data = client.data("rlm_answer", session_id=driver.session_id, answers=answers, take=20)
            given[number] = answers_of(data) if data["status"] == "needs_answers" else []
            asks |= bool(given[number])
    data = driver.call("rlm_await_step", step_index=step)
    assert data["result"] == RESULT, data
    return driver.chars


async def subcalls_agent(_amounts: Amounts) -> list[Row]:
    """Two hundred questions of 270 characters."""
    with (
        tempfile.TemporaryDirectory(prefix="rlm-b-", dir="/tmp") as sockets,  # short, as the name of a socket has to be
        tempfile.TemporaryDirectory(prefix="rlm-bench-") as directory,
        closing(Hosts(Path(sockets), Path(directory))) as hosts,
    ):
        client = hosts.client(env={"RLM_SUBCALL_BACKEND": "agent"})
        client.initialize()
        leased, direct = with_sub_agents(client), alone(client)
    return [
        Row(
            "200 questions answered by sub-agents: characters of results for the agent that drives the session",
            Figures((float(leased),)), "answered by that agent itself", Figures((float(direct),)), "chars", Bar(0.1),
        )
    ]  # fmt: skip
