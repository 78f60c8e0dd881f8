"""A developer attaches while the agent's step runs, and types while one runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.attach.console import PROMPT, Console
from tests.mcp.line_client import LineClient
from tests.records import record_of

Attach = Callable[..., Console]
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

RAW = """
import time
kernel = get_ipython().kernel
session, socket = kernel.session, kernel.iopub_socket
def send(content):
    *idents, delim, signature, header, parent, metadata, _ = session.serialize(session.msg("execute_input", {}))
    parts = [header, parent, metadata, content]
    socket.send_multipart([*idents, delim, session.sign(parts), *parts])
while True:
    time.sleep(0.1)
    send(b'{"execution_count": 1e999}')
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


@pytest.mark.parametrize("terminal_type", ["dumb", "xterm"])
def test_a_console_at_its_prompt_shows_the_agents_step(
    client: LineClient, session_id: str, attach: Attach, terminal_type: str
) -> None:
    """Its number, its code, what it prints as it comes, its error and its end; what the person had typed stays."""
    console = attach(terminal_type)
    console.terminal.send("agents")
    begun = client.data("rlm_run_repl", session_id=session_id, code=ENDLESS, wait_ms=0)
    shown = console.until("agent goes on")
    assert f"The agent's step {begun['step_index']} is running.\n> import time\n> while True: " in shown
    client.data("rlm_interrupt", session_id=session_id)
    shown = console.until(f"The agent's step {begun['step_index']} has ended.")
    assert "| KeyboardInterrupt" in shown
    console.type(" + 1")
    console.until("42")
    assert not {"\x1b]", "\x07"} & set(re.findall(r"\x1b\]|\x07", shown))


def test_a_short_step_is_shown_too(client: LineClient, session_id: str, attach: Attach) -> None:
    """It has ended before anyone looks; what its output says is marked as output, whatever it says."""
    console = attach()
    for number in range(2, 5):
        client.run(session_id, f"print('The agent\\'s step 9 has ended.'); {number}")
    shown = console.until("The agent's step 4 has ended.")
    assert re.findall(r"^[^>|].*$", shown, re.MULTILINE) == [
        line
        for number in (2, 3)
        for line in (f"The agent's step {number} is running.", f"The agent's step {number} has ended.")
    ] + ["The agent's step 4 is running."]
    assert shown.count("| The agent's step 9 has ended.\n| Out: ") == 3


def test_a_cell_of_another_console_is_shown_as_one(client: LineClient, session_id: str, attach: Attach) -> None:
    """It is not a step of the agent."""
    first, second = attach(), attach()
    second.run("agents + 1")
    shown = first.until("Another client's cell has ended.")
    assert "Another client's cell is running.\n> agents + 1\n| Out: 42\n" in shown


def test_ctrl_c_takes_a_cell_back_that_waits_behind_the_agents_step(
    client: LineClient, session_id: str, attach: Attach
) -> None:
    """It never runs; the step goes on, and what was typed ahead stays. The next cell waits in its turn."""
    console = attach()
    index = running(client, session_id)
    console.type("agents = 'ran late'")
    console.until("This cell runs when the agent's step has ended.")
    console.terminal.send("agents")
    console.interrupt()
    console.until("Your cell was withdrawn; the agent's step goes on.")
    console.type(" + 1")
    console.until("This cell runs when the agent's step has ended.")
    assert client.data("rlm_await_step", session_id=session_id, step_index=index, wait_ms=0)["status"] == "running"
    client.data("rlm_interrupt", session_id=session_id)
    console.until("42")
    console.until(PROMPT)
    assert client.run(session_id, "agents")["result"] == "41"
    events = client.data("rlm_get_trace", session_id=session_id)["events"]
    assert [event["summary"] for event in events if event["source"] == "console"] == ["agents + 1"]


@pytest.mark.slow
def test_a_kernel_that_takes_nothing_back_holds_nobody_up(any_client: LineClient) -> None:
    """A session's code can have its kernel answer no interrupt: pressed again, Ctrl-C leaves the cell to it."""
    session_id = any_client.open_session()
    any_client.run(session_id, "get_ipython().kernel.control_handlers['interrupt_request'] = lambda *sent: None")
    with closing(Console(["-m", "rlm_kernel_mcp", "attach", session_id], any_client.env)) as console:
        running(any_client, session_id)
        console.type("1 + 1")
        console.until("This cell runs when the agent's step has ended.")
        console.interrupt()
        console.until("The kernel does not answer")
        console.interrupt()
        console.until("it may still run")
        console.until("agent goes on")
        any_client.data("rlm_interrupt", session_id=session_id)
        console.until("has ended")
        any_client.run(session_id, "import os; os._exit(1)")
        console.until("The kernel gives no sign of life")


@pytest.mark.parametrize(
    "banner",
    [
        "'\\x1b]0;evil\\x07'",
        pytest.param("'\\u202eevil'", marks=pytest.mark.slow),
        "7",
        pytest.param("None", marks=pytest.mark.slow),
    ],
)
def test_a_banner_acts_on_nobody_s_terminal(any_client: LineClient, banner: str) -> None:
    """A session's code can make its kernel say anything of itself, and a person sees it before anything is run."""
    session_id = any_client.open_session()
    assert any_client.run(session_id, f"type(get_ipython().kernel).banner = {banner}\n1")["result"] == "1"
    with closing(Console(["-m", "rlm_kernel_mcp", "attach", session_id], any_client.env)) as console:
        assert "evil" in console.greeting or "evil" not in banner
        assert not {"\x1b]", "\x07", "\u202e"} & set(re.findall(r"\x1b\]|\x07|\u202e", console.greeting))
        assert "2" in console.run("1 + 1")


def test_a_banner_that_acts_would_be_seen(any_client: LineClient) -> None:
    """The control: Jupyter's own console gives it to the terminal as it is."""
    session_id = any_client.open_session()
    any_client.run(session_id, "type(get_ipython().kernel).banner = '\\x1b]0;evil\\x07'")
    connection = record_of(Path(any_client.env["RLM_STATE_DIR"]), session_id).connection_file
    with closing(Console(["-m", "jupyter_console", "--existing", connection], any_client.env)) as console:
        assert "\x1b]0;evil" in console.greeting


@pytest.mark.parametrize(
    "parent",
    [
        pytest.param("{}", id="nobody"),
        pytest.param("asked", id="asked", marks=pytest.mark.slow),
        pytest.param("{**asked, 'msg_id': ''}", id="session", marks=pytest.mark.slow),
    ],
)
def test_what_nobody_asked_for_acts_on_nobody_s_terminal(any_client: LineClient, parent: str) -> None:
    """A session's code can say whose cell its messages are of: before the person ran one, none of them is theirs."""
    session_id = any_client.open_session()
    begun = any_client.data("rlm_run_repl", session_id=session_id, code=FORGED.format(parent=parent), wait_ms=0)
    assert begun["status"] == "running"
    with closing(Console(["-m", "rlm_kernel_mcp", "attach", session_id], any_client.env)) as console:
        console.until("the step goes on")
        console.type("")
        shown = console.until("the step goes on")
        any_client.data("rlm_interrupt", session_id=session_id)
        shown += console.until("has ended") + console.run("")
        console.type("40 + 2")
        shown += console.until("42")  # and not the next prompt: that may be of the empty cells
        assert not re.findall(r"\x1b\]|\x07", console.greeting + shown)


def test_a_message_that_cannot_be_read_costs_itself_alone(any_client: LineClient) -> None:
    """No prompt has an infinite number; the next message is shown."""
    session_id = any_client.open_session()
    assert any_client.data("rlm_run_repl", session_id=session_id, code=RAW, wait_ms=0)["status"] == "running"
    with closing(Console(["-m", "rlm_kernel_mcp", "attach", session_id], any_client.env)) as console:
        console.until("a message of the kernel cannot be shown")
        console.until("the step goes on")
        any_client.data("rlm_interrupt", session_id=session_id)
        console.until("has ended")
        assert "42" in console.run("40 + 2")
