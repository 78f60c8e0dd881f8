"""A developer attaches while the agent's step runs, and types while one runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attach.console import PROMPT, Console
from tests.mcp.line_client import LineClient

Attach = Callable[[], Console]
ENDLESS = "import time\nwhile True: time.sleep(0.01); print('\\x1b]0;evil\\x07 agent goes on')"

FORGED = """
import time
kernel = get_ipython().kernel
answer, asked = kernel.control_handlers["kernel_info_request"], None
def note(stream, ident, parent):
    global asked
    asked = parent["header"]
    return answer(stream, ident, parent)
kernel.control_handlers["kernel_info_request"] = note
while True:
    time.sleep(0.01)
    if asked:
        parent = {parent}
        content = {{"name": "stdout", "text": "\\x1b]0;evil\\x07 forged\\n"}}
        message = kernel.session.msg("stream", content)
        message["parent_header"] = parent
        kernel.session.send(kernel.iopub_socket, message)
        print("the step goes on")
"""


def running(client: LineClient, session_id: str) -> int:
    """Begin a step that runs until it is interrupted; its number."""
    started = client.data("rlm_run_repl", session_id=session_id, code=ENDLESS, wait_ms=0)
    assert started["status"] == "running"
    return int(started["step_index"])


def test_a_console_attached_during_a_step_has_a_prompt_and_says_what_runs(
    client: LineClient, session_id: str, attach: Attach
) -> None:
    """Its output is shown as it comes, and does nothing to the terminal; a cell waits for its end, and then runs."""
    index = running(client, session_id)
    console = attach()
    assert f"The agent's step {index} is running." in console.greeting
    console.until("agent goes on")
    console.type("agents + 1")
    shown = console.until("This cell runs when the agent's step has ended.")
    client.data("rlm_interrupt", session_id=session_id)
    shown += console.until(PROMPT)
    assert f"The agent's step {index} has ended." in shown
    assert "42" in shown
    assert "\x1b]0;" not in shown
    assert "\x07" not in shown
    assert "42" in console.run("agents + 1")
    assert "agent" not in console.run("7").replace("agents", "")


def test_a_console_attached_before_goes_on_typing_during_a_step(
    client: LineClient, session_id: str, attach: Attach
) -> None:
    """Enter ends a cell, also one of several lines, without a word of the kernel; the cells run in their order."""
    console = attach()
    assert "is running" not in console.greeting
    running(client, session_id)
    console.type("typed = []")
    console.until("This cell runs when the agent's step has ended.")
    client.data("rlm_interrupt", session_id=session_id)
    console.until(PROMPT)
    running(client, session_id)
    console.type("for number in range(3):")
    console.type("typed.append(number)")
    console.type("")
    console.until("This cell runs when the agent's step has ended.")
    client.data("rlm_interrupt", session_id=session_id)
    console.until(PROMPT)
    assert "[0, 1, 2]" in console.run("typed")
    assert client.run(session_id, "typed")["result"] == "[0, 1, 2]"


def test_ctrl_c_says_that_a_cell_still_waits_behind_the_agents_step(
    client: LineClient, session_id: str, attach: Attach
) -> None:
    """What was sent cannot be taken back, and runs in its turn."""
    console = attach()
    running(client, session_id)
    console.type("'ran ' + 'late'")
    console.until("This cell runs when the agent's step has ended.")
    console.interrupt()
    console.until("The agent's step goes on, and your cell still runs when it has ended.")
    client.data("rlm_interrupt", session_id=session_id)
    console.until("'ran late'")
    console.until(PROMPT)


@pytest.mark.parametrize("banner", ["'\\x1b]0;evil\\x07'", "'\\u202eevil'", "7", "None"])
def test_a_banner_acts_on_nobody_s_terminal(tmp_path: Path, banner: str) -> None:
    """A session's code can make its kernel say anything of itself, and a person sees it before anything is run."""
    client = LineClient(tmp_path, {"RLM_IMPORT_POLICY": "any"})
    try:
        client.initialize()
        session_id = client.open_session()
        assert client.run(session_id, f"type(get_ipython().kernel).banner = {banner}\n1")["result"] == "1"
        console = Console(["-m", "rlm_kernel_mcp", "attach", session_id], client.env)
        try:
            assert "evil" in console.greeting or "evil" not in banner
            assert not {"\x1b]", "\x07", "\u202e"} & set(re.findall(r"\x1b\]|\x07|\u202e", console.greeting))
            assert "2" in console.run("1 + 1")
        finally:
            console.close()
    finally:
        client.kill()


@pytest.mark.parametrize("parent", ["{}", "asked", "{**asked, 'msg_id': ''}"], ids=["nobody", "asked", "session"])
def test_what_nobody_asked_for_acts_on_nobody_s_terminal(tmp_path: Path, parent: str) -> None:
    """A session's code can say whose cell its messages are of: before the person ran one, none of them is theirs."""
    client = LineClient(tmp_path, {"RLM_IMPORT_POLICY": "any"})
    try:
        client.initialize()
        session_id = client.open_session()
        begun = client.data("rlm_run_repl", session_id=session_id, code=FORGED.format(parent=parent), wait_ms=0)
        assert begun["status"] == "running"
        console = Console(["-m", "rlm_kernel_mcp", "attach", session_id], client.env)
        try:
            console.until("the step goes on")
            console.type("")
            shown = console.until("the step goes on")
            client.data("rlm_interrupt", session_id=session_id)
            shown += console.until("has ended") + console.run("") + console.run("1 + 1")
            assert not re.findall(r"\x1b\]|\x07", console.greeting + shown)
            assert "2" in shown
        finally:
            console.close()
    finally:
        client.kill()
