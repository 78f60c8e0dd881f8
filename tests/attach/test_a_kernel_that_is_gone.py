"""A developer's console outlives the kernel: each way in which that ends is told apart, and the console can be left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attach.console import PROMPT, Console
from tests.mcp.line_client import LineClient


def finalize(client: LineClient, session_id: str) -> None:
    """The agent gives its answer."""
    client.data("rlm_finalize", session_id=session_id, final_text="done")


def end_server(client: LineClient, session_id: str) -> None:
    """Its client has gone."""
    del session_id
    client.end()


def abort(client: LineClient, session_id: str) -> None:
    """A step takes the kernel along; its host starts another."""
    client.run(session_id, "import os; os.abort()")


@pytest.fixture
def client(request: pytest.FixtureRequest, any_client: LineClient, tmp_path: Path) -> Iterator[LineClient]:
    """The worker's server whose kernels may end themselves; one of the test's own where the server ends."""
    if end_server.__name__ not in request.node.name:
        yield any_client
        return
    client = LineClient(tmp_path, {"RLM_IMPORT_POLICY": "any"})
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


@pytest.mark.parametrize(
    ("end", "words", "farewell"),
    [
        (finalize, "the session has its final answer, and so it has no kernel any more", "exit"),
        pytest.param(end_server, "the session's server has ended", "\x04", marks=pytest.mark.slow),
        pytest.param(abort, "the session has another kernel by now", "quit()", marks=pytest.mark.slow),
    ],
)
def test_a_console_says_what_became_of_its_kernel_and_is_left_at_once(
    client: LineClient,
    session_id: str,
    attach: Callable[[], Console],
    end: Callable[[LineClient, str], None],
    words: str,
    farewell: str,
) -> None:
    """A cell is told too, and that it was not run."""
    console = attach()
    end(client, session_id)
    console.until("The kernel gives no sign of life: .*" + words)
    assert f"Your cell was not run. The kernel gives no sign of life: {words}" in console.run("1")
    console.terminal.send(farewell if farewell == "\x04" else f"{farewell}\r")
    last = console.ended()
    assert "Do you really want to exit" not in last
    assert "go on" not in last


def test_a_cell_that_takes_the_kernel_along_is_told(attach: Callable[[], Console]) -> None:
    """It waits for no answer that cannot come."""
    console = attach()
    console.type("import os; os.abort()")
    console.until("No answer comes to your cell. The kernel gives no sign of life")
    console.until(PROMPT)
    console.type("exit")
    console.ended()


def test_a_kernel_recommends_nothing_that_it_refuses(attach: Callable[[], Console]) -> None:
    """IPython's tips are of shell escapes and magics."""
    greeting = attach().greeting
    assert "IPython" in greeting
    assert "Tip:" not in greeting
