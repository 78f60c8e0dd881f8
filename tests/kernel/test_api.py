"""The Python front door with real kernels, each time in a program of its own, as a user has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.parts import ROOT
from tests.sessions import WAIT_S

TWICE: Final = r"""
import os, re, sys, threading, time
from pathlib import Path
import psutil

code = re.search(r"```python\n(.*?)```", Path(sys.argv[1]).read_text(encoding="utf-8"), re.DOTALL)[1]
runs = Path(os.environ["XDG_RUNTIME_DIR"], "rlm")
runs.mkdir(mode=0o700)

def left():
    children = [child.name() for child in psutil.Process().children(recursive=True)]
    return len(os.listdir("/proc/self/fd")), children, list(runs.iterdir())

def threads():  # an idle one of a pool is the process's, and a pool gets one more whenever a busy machine has it so
    at = sys._current_frames()
    tops = {thread: at.get(thread.ident) for thread in threading.enumerate()}
    return {thread.name for thread, top in tops.items() if top is None or top.f_code.co_name != "_worker"}

before = left()
exec(code, {})
shared = threads()
exec(code, {})
while left() != before or threads() - shared:  # what a thread of the store has open, it closes a moment later
    time.sleep(0.01)
print("nothing is left")
"""

FORGETS: Final = r"""
import signal
from rlm_kernel_mcp.api import Session

session = Session(context_text="some text")
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests were started in the background

def tell(piece):
    print(piece, flush=True)

try:
    session.run("x = '\\x1b'\nprint('begun', flush=True)\nwhile True: pass", on_output=tell)
except KeyboardInterrupt:
    print(session.trace(from_step=1)[0].result_status, session.get("x").encode(), flush=True)
"""


def test_the_five_lines_of_the_readme_do_what_they_say_and_leave_nothing(short_dir: Path) -> None:
    """Not a process, a descriptor, a directory or, the second time, a thread that was not there before."""
    (short_dir / "logs").mkdir()
    (short_dir / "logs" / "app.log").write_text("INFO begun\nERROR one\nINFO\nERROR two\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-W", "default::ResourceWarning", "-c", TWICE, str(ROOT / "README.md")],
        cwd=short_dir,
        env=environment(short_dir),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == 2 * "2 errors\n\nin lines [2, 4]\n" + "nothing is left\n"
    assert "ResourceWarning" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_interrupts_the_step_and_a_program_that_forgets_to_close_leaves_no_kernel(short_dir: Path) -> None:
    """The session goes on after it; the end of the program is that of its kernels."""
    program = subprocess.Popen(
        [sys.executable, "-I", "-W", "default", "-c", FORGETS],
        env=environment(short_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert program.stdout is not None
    with program.stdout as said:
        assert said.readline() == "begun\n"
        kernels = psutil.Process(program.pid).children(recursive=True)
        assert len(kernels) > 1
        program.send_signal(signal.SIGINT)
        rest = said.read()
    assert "interrupted b'\\x1b'\n" in rest
    assert "ResourceWarning: sessions were not closed" in rest
    assert program.wait(WAIT_S) == 0
    assert psutil.wait_procs(kernels, WAIT_S)[1] == []


def environment(directory: Path) -> dict[str, str]:
    """As a user's, with places of its own."""
    places = {"RLM_STATE_DIR": str(directory / "state"), "XDG_RUNTIME_DIR": str(directory)}
    return {**os.environ, **places}
