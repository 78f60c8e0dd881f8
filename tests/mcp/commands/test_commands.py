"""The command line beside a running server: sessions, attach, trace, doctor, kernelspec."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_kernel_mcp.commands.showing.forms import Form
from rlm_kernel_mcp.commands.trace import print_trace
from rlm_kernel_mcp.settings import load_settings
from tests.mcp.line_client import LineClient
from tests.specs import write_spec
from tests.warm.python import run_python

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def session_id(client: LineClient) -> str:
    """A live session with two steps, the second of which failed and printed what would act on a terminal."""
    session_id = client.open_session("the text")
    client.run(session_id, "x = 41 + 1\nx")
    client.run(session_id, "print('\\x1b[31mred\\u202e')\n1 / 0")
    return session_id


@pytest.fixture(scope="module")
def rlm(client: LineClient) -> Command:
    """Run a command of the command line with the server's settings."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        settings = {"RLM_STATE_DIR": client.env["RLM_STATE_DIR"], **env}
        return run_python(["-m", "rlm_kernel_mcp", *arguments], {**os.environ, **settings})

    return run


def test_sessions_lists_the_live_ones_and_all_the_others_on_request(
    client: LineClient, session_id: str, rlm: Command
) -> None:
    """With the server that drives each."""
    ended = client.open_session()
    client.data("rlm_finalize", session_id=ended, final_text="done")
    live = rlm("sessions").stdout.splitlines()
    (row,) = (line for line in live if line.startswith(session_id))
    assert f"pid {client.server_pid}" in row
    assert "text, 8 characters" in row
    assert not any(line.startswith(ended) for line in live)
    assert any(line.startswith(ended) and "finalized" in line for line in rlm("sessions", "--all").stdout.splitlines())


@pytest.mark.slow
def test_a_misspelt_session_id_is_told_a_few_live_ones_and_how_many_more(client: LineClient, rlm: Command) -> None:
    """The last used first; a server may have thousands."""
    opened = [client.open_session() for _ in range(7)]
    live = len(rlm("sessions").stdout.splitlines()) - 1
    for command in ("trace", "attach"):
        told = rlm(command, "s_nothing").stderr.splitlines()[0]
        assert ", ".join(reversed(opened[2:])) in told
        assert told.endswith(f" and {live - 5} more.")
    for session_id in opened:
        client.data("rlm_finalize", session_id=session_id, final_text="done")


def test_no_session_at_all_is_said_on_stderr(rlm: Command, tmp_path: Path) -> None:
    """A state directory that does not exist is not made by looking."""
    done = rlm("sessions", RLM_STATE_DIR=str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "RLM_STATE_DIR" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_attach_print_tells_the_connection_file_of_the_kernel(session_id: str, rlm: Command) -> None:
    """For a client of one's own; the file is for this user alone."""
    done = rlm("attach", session_id, "--print")
    assert done.returncode == 0
    path = Path(done.stdout.strip())
    assert "key" in json.loads(path.read_text())
    assert path.stat().st_mode & 0o077 == 0


def test_attach_to_a_session_that_is_not_there_names_the_live_ones(session_id: str, rlm: Command) -> None:
    """And the command that lists them."""
    done = rlm("attach", "s_nobody22")
    assert (done.returncode, done.stdout) == (1, "")
    assert session_id in done.stderr
    assert "rlm-kernel-mcp sessions --all" in done.stderr
    assert "nearest" not in done.stderr


@pytest.mark.parametrize("command", ["trace", "attach"])
def test_an_id_with_a_slip_in_it_is_told_the_one_that_was_meant(client: LineClient, rlm: Command, command: str) -> None:
    """Also of a session that has ended: the list of the live ones would not have it."""
    ended = client.open_session()
    client.data("rlm_finalize", session_id=ended, final_text="done")
    assert f"the nearest id is {ended};" in rlm(command, ended[:-1]).stderr


def test_attach_to_a_finished_session_says_what_can_still_be_done(client: LineClient, rlm: Command) -> None:
    """Its kernel is gone; its trace is not."""
    ended = client.open_session()
    client.data("rlm_finalize", session_id=ended, final_text="done")
    done = rlm("attach", ended)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"rlm-kernel-mcp trace {ended}" in done.stderr


def test_trace_prints_every_step_in_full_and_acts_on_no_terminal(session_id: str, rlm: Command) -> None:
    """Code, output and error; control characters are shown, not sent."""
    done = rlm("trace", session_id)
    assert done.returncode == 0
    assert "x = 41 + 1\nx" in done.stdout
    assert "ZeroDivisionError" in done.stdout
    assert "\\x1b[31mred\\u202e" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


@pytest.mark.slow
def test_live_means_the_same_to_the_command_and_to_the_tool(tmp_path: Path, rlm: Command) -> None:
    """What something can still be run in, also where its server has ended: it comes back on use."""
    directory = tmp_path / "server"
    directory.mkdir()
    first = LineClient(directory)
    try:
        first.initialize()
        left = first.open_session()
        ended = first.open_session()
        first.data("rlm_finalize", session_id=ended, final_text="done")
        assert first.end() == 0
    finally:
        first.kill()
    second = LineClient(directory)
    try:
        second.initialize()
        own = second.open_session()
        live = [row["session_id"] for row in second.data("rlm_list_sessions")["sessions"]]
        state_dir = second.env["RLM_STATE_DIR"]
        head, *rows = rlm("sessions", RLM_STATE_DIR=state_dir).stdout.splitlines()
        assert set(live) == {row.split()[0] for row in rows} == {own, left}
        servers = {row.split()[0]: row[head.index("SERVER") :] for row in rows}
        assert servers == {own: f"pid {second.server_pid}", left: "none"}
        told = rlm("trace", "s_nothing", RLM_STATE_DIR=state_dir).stderr.splitlines()[0]
        assert told.endswith(f"live sessions: {own}, {left}.")
        assert second.error("rlm_get_var", session_id="s_nothing", var_name="x")["message"].endswith(
            f"live sessions of this server: {own}."
        )
    finally:
        second.kill()


def test_trace_json_is_one_event_a_line(session_id: str, rlm: Command) -> None:
    """For a program."""
    events = [json.loads(line) for line in rlm("trace", session_id, "--json").stdout.splitlines()]
    assert [event["action"] for event in events][:3] == ["init_context", "run_repl", "run_repl"]
    assert events[1]["result"] == "42"


def test_trace_has_what_the_final_answer_cites(
    client: LineClient, session_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As footnotes, as fields, and as W3C annotations; a session without an answer has none."""
    settings = load_settings(Path.cwd(), {"RLM_STATE_DIR": client.env["RLM_STATE_DIR"]})

    def told(session: str, *, as_json: bool = False, as_annotations: bool = False, status: int = 0) -> str:
        form: Form = "jsonl" if as_json else "text"
        assert print_trace(settings, session, form=form, as_annotations=as_annotations) == status
        return capsys.readouterr().out

    cites = client.open_session("one\r\ntwo needles 🎉\r\nthree\r\n")
    client.run(cites, "cite(search('needles')[0])")
    client.data("rlm_finalize", session_id=cites, final_text="There are two [c1].", quotes=["two needles 🎉"])
    assert "[^c1]: `context:2` verified: `needles`" in told(cites)
    event = json.loads(told(cites, as_json=True).splitlines()[-1])
    assert [one["id"] for one in event["citations"]] == ["c1", "q1"]
    assert event["coverage"]["cited"] == len("two needles 🎉")
    selectors = json.loads(told(cites, as_annotations=True))["first"]["items"][1]["target"]["selector"]
    assert [(one["start"], one["end"]) for one in selectors if "start" in one] == [(5, 18), (5, 21)]
    assert told(session_id, as_annotations=True, status=1) == ""


def test_trace_takes_one_form_at_a_time(session_id: str, rlm: Command) -> None:
    """Asked for two, it says so."""
    done = rlm("trace", session_id, "--json", "--annotations")
    assert (done.returncode, done.stdout) == (2, "")
    assert "not allowed with argument --json" in done.stderr


def test_trace_works_when_the_server_is_gone(tmp_path: Path, rlm: Command) -> None:
    """The record outlives it."""
    directory = tmp_path / "server"
    directory.mkdir()
    server = LineClient(directory)
    try:
        server.initialize()
        session_id = server.open_session()
        server.run(session_id, "print('still here')")
        server.die()
    finally:
        server.kill()
    state = server.env["RLM_STATE_DIR"]
    assert "still here" in rlm("trace", session_id, RLM_STATE_DIR=state).stdout
    for every in ([], ["--all"]):
        (row,) = rlm("sessions", *every, RLM_STATE_DIR=state).stdout.splitlines()[1:]
        assert row.startswith(session_id)
        assert row.endswith(" none")  # no server drives it: it comes back on use


@pytest.fixture(scope="module")
def doctor(rlm: Command) -> subprocess.CompletedProcess[str]:
    """What it says of this machine."""
    return rlm("doctor")


def test_doctor_says_which_walls_hold_and_starts_a_kernel(doctor: subprocess.CompletedProcess[str]) -> None:
    """Status 0 here, where sessions open."""
    done = doctor
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("seccomp") for line in lines)
    assert any("A kernel starts" in line for line in lines)
    assert "bare kernel" not in done.stdout  # what it measures in the process of the probe is none


def test_doctor_starts_a_kernel_each_way_and_says_so_of_each(
    doctor: subprocess.CompletedProcess[str], rlm: Command, tmp_path: Path
) -> None:
    """The server's own, and another Jupyter client's; a start that fails hides no other."""
    ways = [line for line in doctor.stdout.splitlines() if line.startswith("A kernel starts in ")]
    assert [re.sub(r"[\d,]+ ms", "N ms", line) for line in ways] == [
        "A kernel starts in the server, takes a context and answers: N ms.",
        "A kernel starts in another Jupyter client as well, and answers: N ms.",
    ]
    write_spec(tmp_path, "other", {"pool": {"spare_kernels": 0}})
    spec = tmp_path / "kernels" / "other" / "kernel.json"
    other = json.loads(spec.read_text(encoding="utf-8"))
    other["argv"] = [sys.executable, "-c", "import sys; sys.exit(5)", *other["argv"][4:]]
    spec.write_text(json.dumps(other), encoding="utf-8")
    done = rlm("doctor", RLM_KERNEL="other", JUPYTER_PATH=str(tmp_path))
    assert done.returncode == 1
    assert "A kernel starts in the server" in done.stdout  # forked from the fork server, whatever the program is
    assert "No kernel starts in another Jupyter client: KERNEL_START_FAILED: " in done.stdout
    assert "exit status 5" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_refuses_a_kernelspec_that_is_not_ours(rlm: Command) -> None:
    """It has no policy of this package's to look at."""
    done = rlm("doctor", RLM_KERNEL="python3")
    assert done.returncode == 2
    assert "python3" in done.stderr


def test_the_kernelspec_is_installed_listed_and_removed(rlm: Command, tmp_path: Path) -> None:
    """Below a prefix, as Jupyter's own command does it."""
    data = str(tmp_path / "share" / "jupyter")
    installed = rlm("kernelspec", "install", "--prefix", str(tmp_path))
    assert installed.returncode == 0
    assert "HTML from a locked kernel acts with the notebook's rights" in installed.stdout
    assert (tmp_path / "share/jupyter/kernels/rlm-python/kernel.json").is_file()
    assert data in rlm("kernelspec", "list", JUPYTER_PATH=data).stdout
    assert rlm("kernelspec", "remove", "--prefix", str(tmp_path)).returncode == 0
    assert not (tmp_path / "share/jupyter/kernels/rlm-python").exists()
    again = rlm("kernelspec", "remove", "--prefix", str(tmp_path))
    assert (again.returncode, again.stdout) == (2, "")
