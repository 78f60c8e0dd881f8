"""The command line where something is wrong around it: each message says what, and what to do. Never a traceback."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest

from rlm_kernel_mcp.commands.doctoring.store import store_lines
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from tests.parts import skip_for_lack_of
from tests.rights import NOBODY, in_own_mounts, reachable_directory, without_root_rights
from tests.warm.python import run_python

COMMAND = [sys.executable, "-I", "-m", "rlm_kernel_mcp"]


def rlm(*arguments: str, env: dict[str, str], unset: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in {**os.environ, **env}.items() if name not in unset}
    done = run_python(["-m", "rlm_kernel_mcp", *arguments], environment)
    assert "Traceback" not in done.stderr + done.stdout
    return done


def listed(state: Path, output: IO[bytes]) -> subprocess.CompletedProcess[str]:
    """All sessions, written to a file that may not take it."""
    return subprocess.run(
        [*COMMAND, "sessions", "--all"],
        env=os.environ | {"RLM_STATE_DIR": str(state)},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with one ended session."""
    store = Store.open(tmp_path / "state")
    store.add_session(SessionRecord("s_1", "2026-11-22T10:00:00.000Z", "text", "idle", context="{}", counters="{}"))
    store.close()
    return tmp_path / "state"


@pytest.mark.parametrize("command", [["sessions", "--all"], ["trace", "s_1"], ["attach", "s_1", "--print"]])
def test_a_damaged_store_is_told_by_whoever_reads_it(state: Path, command: list[str]) -> None:
    """The old one is set aside; no session that it had is called unknown without a word."""
    (state / "sessions.db").write_bytes(b"garbage" * 1_000)
    done = rlm(*command, env={"RLM_STATE_DIR": str(state)})
    assert "The session store was damaged and is now called sessions.db.damaged-" in done.stderr


@pytest.mark.parametrize("command", [["trace"], ["attach", "--print"]])
def test_a_session_id_that_is_no_unicode_is_nobodys(state: Path, command: list[str]) -> None:
    """It is shown by its bytes."""
    done = rlm(*command, os.fsdecode(b"s_\xff1"), env={"RLM_STATE_DIR": str(state)})
    assert done.returncode == 1
    assert "There is no session 's_" in done.stderr
    assert "udcff1'" in done.stderr


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_what_cannot_be_written_is_told_though_nothing_is_buffered(option: str) -> None:
    """argparse passes over what it could not write; with a buffer that is noticed later."""
    with Path("/dev/full").open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-u", *COMMAND[1:], option],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "rlm-kernel-mcp: No space left on device.\n")


def test_a_state_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """On a file system that is read-only; with the setting that names another."""
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)]
    script = f"{' '.join(mount)}; exec {' '.join(COMMAND)} sessions"
    done = subprocess.run(
        [*in_own_mounts(), "sh", "-c", script],
        env=os.environ | {"RLM_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "make it writable, or set RLM_STATE_DIR to a directory that is." in done.stderr


READING = [["sessions"], ["sessions", "--all"], ["trace", "s_1"], ["attach", "s_1", "--print"]]


@pytest.mark.parametrize(
    "command", [READING[0], *(pytest.param(command, marks=pytest.mark.slow) for command in READING[1:])]
)
@pytest.mark.parametrize(
    "closed", ["state", "store", *(pytest.param(one, marks=pytest.mark.slow) for one in ("above", "enter", "list"))]
)
def test_a_record_that_may_not_be_looked_at_is_not_called_empty(command: list[str], closed: str) -> None:
    """Who is kept out of the directory, or one above it, or the file in it, is told so, with a status."""
    if closed == "store" and os.geteuid() != 0:
        skip_for_lack_of("a file of another user", "run as root")
    with reachable_directory() as directory:
        state = directory / "above" / "state"
        store = Store.open(state)
        store.add_session(SessionRecord("s_1", "2026-11-22T10:00:00.000Z", "text", "idle", context="{}", counters="{}"))
        store.close()
        for path in (state.parent, state):
            path.chmod(0o755)
        which = state.parent if closed == "above" else state
        which.chmod({"enter": 0o444, "list": 0o311, "store": 0o777}.get(closed, 0))
        done = as_nobody(state, command)
        which.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not known" in done.stderr
    assert "no live session" not in done.stderr
    assert str(state) in done.stderr


def as_nobody(state: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """The command as a user whom file modes bind, imported before: the checkout may be root's alone."""
    script = f"""
import contextlib, io, os, sys
from rlm_kernel_mcp.cli import main
state, os.environ["RLM_STATE_DIR"] = os.environ["RLM_STATE_DIR"], "/proc/none"
with contextlib.redirect_stderr(io.StringIO()):
    main(sys.argv[1:])
os.environ["RLM_STATE_DIR"] = state
import rlm_kernel_mcp.commands.trace, rlm_kernel_mcp.store.store, sqlite3, difflib
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
sys.exit(main(sys.argv[1:]))
"""
    return run_python(["-c", script, *command], os.environ | {"RLM_STATE_DIR": str(state)})


@pytest.mark.parametrize("command", READING)
def test_who_looks_where_no_session_was_recorded_leaves_nothing_there(tmp_path: Path, command: list[str]) -> None:
    """A directory that was named by mistake is not made a state directory by looking into it."""
    tmp_path.chmod(0o755)
    (tmp_path / "other").touch()
    done = rlm(*command, env={"RLM_STATE_DIR": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"rlm-kernel-mcp: No session was ever recorded in {tmp_path}.")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_record_that_cannot_be_opened_is_not_called_empty(state: Path) -> None:
    """One of a newer version."""
    with closing(sqlite3.connect(state / "sessions.db")) as connection:
        connection.execute("PRAGMA user_version = 999")
    done = rlm("sessions", env={"RLM_STATE_DIR": str(state)})
    assert (done.returncode, done.stdout) == (1, "")
    assert "written by a newer version" in done.stderr
    assert "no live session" not in done.stderr


@pytest.mark.parametrize("below", ["/proc/x", "/proc/x/y", __file__, f"{__file__}/below"])
def test_doctor_says_that_a_state_folder_cannot_be_made(below: str) -> None:
    """And what mends it, as the server does."""
    (told,) = store_lines(load_settings(Path.cwd(), {"RLM_STATE_DIR": below}, {}))
    assert told.startswith("The session store cannot be used: ")
    assert "set RLM_STATE_DIR to" in told


def test_doctor_says_that_a_state_folder_cannot_be_looked_for() -> None:
    """Where a directory above it is closed to this user."""
    with reachable_directory() as directory:
        directory.chmod(0)
        with without_root_rights():
            (told,) = store_lines(load_settings(Path.cwd(), {"RLM_STATE_DIR": f"{directory}/x/y"}, {}))
    assert told.startswith("The session store cannot be used: its directory cannot be written; make it writable")


def test_doctor_makes_no_state_folder(tmp_path: Path) -> None:
    """Nor leaves anything where it tried whether one could be made."""
    for directory in (tmp_path, tmp_path / "below" / "state"):
        (told,) = store_lines(load_settings(Path.cwd(), {"RLM_STATE_DIR": str(directory)}, {}))
        assert told.startswith("No session has been recorded yet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ["sessions", "x"],
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in (["serve", "--frob"], ["--frob"], ["kernelspec", "list", "x"])
        ),
    ],
)
def test_an_argument_too_many_is_answered_by_the_command_s_own_usage(command: list[str]) -> None:
    """Which is not that of the whole program."""
    done = rlm(*command, env={})
    name = " ".join(word for word in command if word.isalpha() and word != "x") or "serve"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"usage: rlm-kernel-mcp {name} ")
    assert f"unrecognized arguments: {command[-1]}" in done.stderr


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_state_folder_that_is_a_file_is_told(tmp_path: Path, below: str) -> None:
    """Or lies below one."""
    file = tmp_path / "file"
    file.touch()
    done = rlm("sessions", env={"RLM_STATE_DIR": f"{file}{below}"})
    assert done.returncode in (1, 2)
    assert str(file) in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_home_folder_that_nobody_has_is_named(tmp_path: Path) -> None:
    """In each setting that may begin with one."""
    for variable in ("RLM_STATE_DIR", "RLM_CONTEXT_ROOTS"):
        done = rlm("sessions", env={variable: "~no-such-user/x"})
        assert (done.returncode, f"{variable} names '~no-such-user/x'" in done.stderr) == (2, True)


def test_without_home_the_user_s_own_is_taken() -> None:
    """As the system knows it."""
    done = rlm("sessions", env={}, unset=("HOME", "XDG_STATE_HOME", "RLM_STATE_DIR"))
    assert done.returncode in (0, 1)


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    """Also by serve."""
    gone = tmp_path / "gone"
    gone.mkdir()
    for command in ("sessions", "serve"):
        script = f"rmdir {gone} 2>/dev/null; exec {' '.join(COMMAND)} {command}"
        gone.mkdir(exist_ok=True)
        done = subprocess.run(["sh", "-c", script], cwd=gone, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert "working directory cannot be used" in done.stderr


@pytest.mark.parametrize("spec", ["{bad", '{"argv": []}', "[]", '{"argv": null}'])
def test_a_damaged_kernelspec_is_listed_as_such(tmp_path: Path, spec: str) -> None:
    """The others are listed too."""
    directory = tmp_path / "kernels" / "rlm-python"
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(spec)
    done = rlm("kernelspec", "list", env={"JUPYTER_PATH": str(tmp_path)})
    assert f"rlm-python  {directory}  (damaged: install it again, or remove it)" in done.stdout.splitlines()


@pytest.mark.parametrize(
    "prefix", ["", *(pytest.param(one, marks=pytest.mark.slow) for one in ("/proc/none", __file__))]
)
def test_a_prefix_that_cannot_be_one_is_refused(prefix: str) -> None:
    """An empty one most likely comes from a variable that is not set."""
    done = rlm("kernelspec", "install", "--prefix", prefix, env={})
    assert (done.returncode, done.stdout) == (2, "")
    assert "--prefix" in done.stderr


def test_output_that_nobody_reads_to_its_end_is_no_fault(state: Path) -> None:
    """As behind `| head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        done = listed(state, output)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_told(state: Path) -> None:
    """A full disk."""
    with Path("/dev/full").open("wb") as output:
        done = listed(state, output)
    assert (done.returncode, done.stderr) == (1, "rlm-kernel-mcp: No space left on device.\n")


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR"])
def test_a_path_too_long_for_sockets_is_told_with_its_length_and_the_limit(tmp_path: Path, variable: str) -> None:
    """By doctor, as by a server; both go on in a shorter place."""
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    done = rlm("doctor", unset=("XDG_RUNTIME_DIR",) if variable == "TMPDIR" else (), env={variable: str(directory)})
    assert "the limit is 84" in done.stderr
    assert done.returncode == 0


def test_an_interrupted_command_ends_without_a_traceback(state: Path) -> None:
    """Ctrl-C in the middle of a long trace, which waits for its reader."""
    store = Store.open(state)
    store.add_event(EventRow("s_1", "2026-11-22T10:00:00.000Z", 1, "run_repl", stdout="x" * 1_000_000))
    store.close()
    command, environment = [*COMMAND, "trace", "s_1"], os.environ | {"RLM_STATE_DIR": str(state)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)  # it writes, and the pipe holds less than it has
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")


def test_a_trace_is_printed_whatever_the_terminal_can_show(state: Path) -> None:
    """What its encoding does not have is shown as an escape."""
    store = Store.open(state)
    store.add_event(EventRow("s_1", "2026-11-22T10:00:00.000Z", 1, "run_repl", result_status="ok", code="'\u20ac'"))
    store.close()
    for option in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "rlm_kernel_mcp", "trace", "s_1", *option],
            env=os.environ | {"RLM_STATE_DIR": str(state), "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert r"'\u20ac'" in done.stdout


COMMANDS = {
    "serve": ["serve"],
    "sessions": ["sessions", "--all"],
    "trace": ["trace", "s_1"],
    "attach": ["attach", "s_1", "--print"],
    "kernelspec": ["kernelspec", "list"],
    "version": ["--version"],
    "help": ["sessions", "--help"],
}


@pytest.mark.parametrize(
    ("command", "redirection"),
    [
        *((command, ">/dev/full") for command in COMMANDS),
        *(pytest.param(command, ">&-", marks=pytest.mark.slow) for command in COMMANDS),
        *(("sessions", redirection) for redirection in ("2>&-", "2>/dev/full", "<&-", "<&- >&- 2>&-")),
        *(("serve", redirection) for redirection in ("<&-", "<&- >&- 2>&-")),
        ("attach", "2>/dev/full"),
        ("version", "2>&-"),
    ],
)
def test_a_stream_that_is_closed_or_full_costs_one_line_and_a_status(
    state: Path, command: str, redirection: str
) -> None:
    """What is written nowhere is told where it can be; the errors of a command never get into its output."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" "$@" {redirection}', *COMMAND, *COMMANDS[command]],
        env=os.environ | {"RLM_STATE_DIR": str(state)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception" not in done.stdout + done.stderr
    prints = command not in ("serve", "attach")
    if ">&-" in redirection.replace("2>&-", ""):
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1:] in ([], ["rlm-kernel-mcp: closed: stdout. Nothing was done."])
        assert bool(done.stderr) == (redirection == ">&-")
    elif redirection == ">/dev/full":
        assert (done.returncode, done.stderr) == (
            (1, "rlm-kernel-mcp: No space left on device.\n") if prints else (done.returncode, done.stderr)
        )
    elif redirection.startswith("2>"):
        assert (done.returncode, bool(done.stdout)) == ((0, True) if prints else (1, False))
    elif command == "serve":
        assert (done.returncode, done.stderr) == (2, "rlm-kernel-mcp: closed: stdin. Nothing was done.\n")
    else:
        assert done.returncode == (0 if prints else 1)
