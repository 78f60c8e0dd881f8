"""A developer attaches the real jupyter console to a session of a running server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attach.console import PROMPT, Console
from tests.mcp.line_client import LineClient
from tests.warm.python import run_python

Attach = Callable[[], Console]


def console_cells(client: LineClient, session_id: str) -> list[dict[str, Any]]:
    """The trace's events of consoles, whole."""
    events = client.data("rlm_get_trace", session_id=session_id, detail="full", max_output_chars=200_000)["events"]
    return [event for event in events if event["source"] == "console"]


def command(*arguments: str, env: dict[str, str]) -> str:
    """What a command of the command line prints."""
    done = run_python(["-m", "rlm_kernel_mcp", *arguments], env)
    done.check_returncode()
    return done.stdout.strip()


def test_the_developer_sees_and_changes_the_agents_variables(
    client: LineClient, session_id: str, attach: Attach
) -> None:
    """The cells stand in the trace as the console's, and are not steps of the agent's account."""
    console = attach()
    assert "42" in console.run("agents + 1")
    console.run("agents = 'changed'; print('said')")
    console.run("1 / 0")
    step = client.run(session_id, "agents")
    assert (step["result"], step["stdout"], step["step_index"]) == ("'changed'", "", 2)
    assert step["budget"]["steps_left"] == 62
    cells = console_cells(client, session_id)
    assert [(cell["code"], cell["result_status"]) for cell in cells] == [
        ("agents + 1", "ok"),
        ("agents = 'changed'; print('said')", "ok"),
        ("1 / 0", "error"),
    ]
    assert (cells[0]["result"], cells[1]["stdout"]) == ("42", "said\n")
    assert cells[2]["error"]["ename"] == "ZeroDivisionError"
    assert all(cell["step_index"] == 1 for cell in cells)
    assert "agents + 1" in command("trace", session_id, env=client.env)


def test_neither_sides_output_reaches_the_other(client: LineClient, session_id: str, attach: Attach) -> None:
    """Also while threads of both sides print all the time."""
    threads = (
        "import threading, time; stop_{0} = threading.Event()\n"
        "def talk_{0}():\n"
        "    while not stop_{0}.is_set(): print('{0} speaks', flush=True); time.sleep(0.001)\n"
        "threading.Thread(target=talk_{0}).start()"
    )
    console = attach()
    client.run(session_id, threads.format("agent"))
    client.run(session_id, f"consoles_threads = {threads.format('console')!r}")
    console.run("exec(consoles_threads)")
    running = client.begin("rlm_run_repl", {"session_id": session_id, "code": "time.sleep(0.5); 'agent ended'"})
    shown = console.run("time.sleep(0.5); 'console ended'")
    step = client.result(running)["structuredContent"]["data"]
    assert step["result"] == "'agent ended'"
    assert "agent speaks" in step["stdout"]
    assert "console" not in step["stdout"]
    assert "console ended" in shown
    assert "agent speaks" not in shown
    step = client.run(session_id, "stop_agent.set(); stop_console.set()")
    assert "console" not in step["stdout"]
    assert not any("agent speaks" in cell["stdout"] for cell in console_cells(client, session_id))


@pytest.mark.parametrize(
    "farewell",
    [
        pytest.param("exit", marks=pytest.mark.slow),
        pytest.param("quit", marks=pytest.mark.slow),
        pytest.param("exit()", marks=pytest.mark.slow),
        pytest.param("\x04", id="Ctrl-D"),
    ],
)
def test_leaving_the_console_leaves_the_session_alive(
    client: LineClient, session_id: str, attach: Attach, farewell: str
) -> None:
    """Names, kernel and all; another console can attach."""
    console = attach()
    console.run("consoles = 7")
    if farewell == "\x04":
        console.terminal.send(farewell)
        console.until("Do you really want to exit")
        console.type("y")
    else:
        console.type(farewell)
    console.ended()
    step = client.run(session_id, "agents + consoles")
    assert (step["result"], step["lost"]) == ("48", None)
    assert "48" in attach().run("agents + consoles")


def test_ctrl_c_ends_the_consoles_own_cell(client: LineClient, session_id: str, attach: Attach) -> None:
    """The session lives on, and so does the console."""
    client.run(session_id, "def endless():\n    print('begun', flush=True)\n    n = 0\n    while True: n += 1")
    console = attach()
    console.type("endless()")
    console.until("begun")
    console.interrupt()
    console.until("KeyboardInterrupt")
    console.until(r"In \[")
    assert "42" in console.run("agents + 1")
    assert client.run(session_id, "agents")["lost"] is None
    (cell,) = (cell for cell in console_cells(client, session_id) if cell["summary"] == "endless()")
    assert (cell["result_status"], cell["duration_ms"] > 0) == ("interrupted", True)


def test_a_cell_of_the_console_may_ask_its_person(client: LineClient, session_id: str, attach: Attach) -> None:
    """Questions, passwords, Ctrl-C at a question, help in the console's pager; the agent's step asks nobody."""
    console = attach()
    console.type("name = input('who? ')")
    console.until(r"\nwho\? ")
    console.run("me")
    console.type("import getpass; secret = getpass.getpass('code? ')")
    console.until(r"\ncode\? ")
    console.terminal.send("12345\n")
    assert "12345" not in console.until(PROMPT)
    console.type("input('again? ')")
    console.until(r"\nagain\? ")
    console.interrupt()
    console.until("KeyboardInterrupt")
    console.until(r"In \[")
    assert "Yield tuples" in console.run("zip?")
    assert client.run(session_id, "name, secret")["result"] == "('me', '12345')"
    step = client.run(session_id, "input('who?')")
    assert step["error"]["ename"] == "BuiltinRefused"
    assert "Yield tuples" in client.run(session_id, "zip?")["stdout"]


def test_an_error_in_the_console_does_not_cost_the_agent_the_step_behind_it(
    client: LineClient, session_id: str, attach: Attach
) -> None:
    """ipykernel would abort what waits; the agent would be told that a step ran which did not."""
    client.run(session_id, "import time\ndef fail(): print('begun', flush=True); time.sleep(0.3); 1 / 0")
    console = attach()
    console.type("fail()")
    console.until("begun")
    assert client.run(session_id, "agents + 1")["result"] == "42"


@pytest.mark.parametrize("how", ["interrupt", "timeout"])
def test_a_step_that_waits_behind_a_cell_of_the_console_is_withdrawn_and_the_cell_goes_on(
    client: LineClient, session_id: str, attach: Attach, how: str
) -> None:
    """It was said to be stopped, and ran; the person's cell was stopped in its place."""
    client.run(session_id, "def wait():\n    print('begun', flush=True)\n    while True: pass")
    console = attach()
    console.type("wait()")
    console.until("begun")
    timeout = {"timeout_ms": 300} if how == "timeout" else {}
    begun = client.run(session_id, "ran = True", wait_ms=0, **timeout)
    if how == "interrupt":
        client.data("rlm_interrupt", session_id=session_id)
    ended = client.data("rlm_await_step", session_id=session_id, step_index=begun["step_index"])
    assert ended["status"] == {"interrupt": "interrupted", "timeout": "timeout"}[how]
    assert "the step did not begin, and nothing of it ran" in ended["stderr"]
    behind = client.run(session_id, "'ran' in globals()", wait_ms=200)
    assert behind["status"] == "running"
    console.interrupt()
    console.until("KeyboardInterrupt")
    ended = client.data("rlm_await_step", session_id=session_id, step_index=behind["step_index"])
    assert ended["result"] == "False"


CLIENT = (
    "import json, sys\n"
    "from jupyter_client import BlockingKernelClient\n"
    "client = BlockingKernelClient(connection_file=sys.argv[1])\n"
    "client.load_connection_file(); client.start_channels()\n"
    "def ask(msg_type, **content):\n"
    "    client.control_channel.send(client.session.msg(msg_type, content))\n"
    "    return client.get_control_msg(timeout=60)['content'].get('ename')\n"
)


def other_client(path: str, program: str) -> Any:
    """What a Jupyter client of another process prints, as JSON."""
    done = run_python(["-c", CLIENT + program, path], os.environ)
    done.check_returncode()
    return json.loads(done.stdout)


def test_cells_of_any_other_client_are_in_the_trace_once(client: LineClient, session_id: str) -> None:
    """`attach --print` gives the file to connect by; a silent cell is not a cell."""
    path = command("attach", session_id, "--print", env=client.env)
    program = (
        "client.wait_for_ready(timeout=60)\n"
        "client.execute_interactive('hidden = 1', silent=True, timeout=60)\n"
        "client.execute_interactive('shown = 2', timeout=60)\n"
        "print('null')\n"
    )
    other_client(path, program)
    assert client.run(session_id, "hidden + shown")["result"] == "3"
    for _ in range(2):
        assert [cell["code"] for cell in console_cells(client, session_id)] == ["shown = 2"]


def test_no_other_client_ends_the_agents_step_or_its_kernel(client: LineClient, session_id: str) -> None:
    """Interrupt and shutdown are refused to whoever does not own what they would end."""
    path = command("attach", session_id, "--print", env=client.env)
    code = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.01)"
    running = client.begin("rlm_run_repl", {"session_id": session_id, "code": code})
    while "begun" not in client.data("rlm_await_step", session_id=session_id, step_index=2, wait_ms=100)["stdout"]:
        continue
    program = "print(json.dumps([ask('interrupt_request'), ask('shutdown_request', restart=False)]))\n"
    assert other_client(path, program) == ["PermissionError", "PermissionError"]
    client.data("rlm_interrupt", session_id=session_id)
    step = client.result(running)["structuredContent"]["data"]
    assert (step["status"], step["lost"]) == ("interrupted", None)
    assert client.run(session_id, "agents")["result"] == "41"


def test_a_console_of_its_own_gets_the_same_locked_kernel(tmp_path: Path, short_dir: Path) -> None:
    """`jupyter console --kernel rlm-python`, with nothing of this project running; its end is the kernel's."""
    env = dict(os.environ)
    command("kernelspec", "install", "--prefix", str(tmp_path), env=env)
    env |= {"JUPYTER_PATH": str(tmp_path / "share" / "jupyter"), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    console = Console(["-m", "jupyter_console", "--kernel", "rlm-python"], {**env, "XDG_RUNTIME_DIR": str(short_dir)})
    try:
        assert "42" in console.run("6 * 7")
        assert "ImportRefused" in console.run("import os")
        console.type("exit")
        console.ended()
    finally:
        console.close()
    assert list((short_dir / "rlm").iterdir()) == []
