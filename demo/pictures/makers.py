"""How each picture of the README is made: the programs that a person runs, at a terminal or in a browser of its own.

Is: which program, and what is typed; the sessions are real, their agent is a script. Is not: how a picture is drawn
(`drawing.py`). Whoever has a new program to show adds a maker, and its name to `MAKERS`. Above: `__main__.py`. Below:
`recording.py`, `incident.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.agent import ROOT
from demo.pictures.drawing import moving, still
from demo.pictures.incident import QUESTION, STEPS, write_log
from demo.pictures.recording import Terminal
from rlm_kernel_mcp.api import Session, Sessions
from tests.parts import chromium, lab_python

COMMAND: Final = (sys.executable, "-I", "-m", "rlm_kernel_mcp")
PAGE_SIZE: Final = "980,1500"
WATCH_SIZE: Final = "1440,1000"
PAGE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Incident:
    """The session, open, in a directory that is removed with it."""

    session: Session
    directory: Path
    env: dict[str, str]
    """Of a command of the person whose session it is."""

    def command(self, *arguments: str) -> list[str]:
        return [*COMMAND, *arguments]


@contextmanager
def incident() -> Iterator[Incident]:
    """One in which nothing has run."""
    with tempfile.TemporaryDirectory(prefix="rlm-pictures-") as around:
        directory = Path(around, "logs")
        directory.mkdir()
        write_log(directory)
        settings = {"RLM_STATE_DIR": str(Path(around, "state")), "RLM_CONTEXT_ROOTS": str(directory), "RLM_HOST": "off"}
        env = {"PATH": os.environ["PATH"], "HOME": around, "LANG": "C.UTF-8", "TMPDIR": around, **settings}
        with (
            Sessions(host="off", env=settings) as sessions,
            sessions.open(
                context_paths=[str(directory / "api.log")],
                question=QUESTION,
                max_steps=64,
                max_runtime_ms=120_000,
                budget_limit=100_000,
            ) as session,
        ):
            yield Incident(session, directory, env)


def console() -> str:
    """`attach`: the agent's steps come in, and a person looks at the same variables."""
    with incident() as there:
        argv = there.command("attach", there.session.session_id)
        with Terminal(argv, there.env, there.directory, 104, 30) as terminal:
            terminal.until("In [")
            terminal.until_calm()
            for code in STEPS[1:3]:
                there.session.run(code)
                terminal.until_calm()
            terminal.type("sorted(often, key=often.get)[-1]\r")
            terminal.until_calm()
            rows = terminal.screen.lines
    return still(rows, 104, "rlm-kernel-mcp attach")


def trace() -> str:
    """`trace` of a session that has its answer."""
    with incident() as there:
        _to_the_end(there)
        argv = there.command("trace", there.session.session_id)
        with Terminal(argv, {**there.env, "PAGER": "cat"}, there.directory, 104, 60) as terminal:
            terminal.until_ended()
            rows = terminal.screen.all_lines
    while rows and not rows[-1]:
        rows.pop()
    return still(rows, 104, "rlm-kernel-mcp trace")


def notebook() -> bytes:
    """The page of the same session, by the Python of `bin/setup --with lab`, in headless Chromium."""
    with incident() as there:
        _to_the_end(there)
        argv = [str(lab_python()), "-I", "-m", "rlm_kernel_mcp", "trace", there.session.session_id, "--format", "html"]
        page = subprocess.run(argv, env=there.env, capture_output=True, check=True, timeout=PAGE_S).stdout
        path = there.directory / "page.html"
        path.write_bytes(page)
        return browsed(path.as_uri())


def lab() -> bytes:
    """JupyterLab on the agent's kernel, in which a person looks at what its steps have bound."""
    from demo.pictures.browser import jupyterlab  # it brings what the tests of pages need

    with incident() as there:
        for code in STEPS[:3]:
            there.session.run(code)
        return jupyterlab(there.session, there.directory, there.env)


def watch() -> bytes:
    """The live page of the same session, as the one file that `watch --export` writes."""
    with incident() as there:
        _to_the_end(there)
        path = there.directory / "watch.html"
        argv = there.command("watch", there.session.session_id, "--export", str(path))
        subprocess.run(argv, env=there.env, capture_output=True, check=True, timeout=PAGE_S)
        return browsed(path.as_uri(), WATCH_SIZE)


def demo() -> str:
    """`bin/demo`, line by line."""
    with tempfile.TemporaryDirectory(prefix="rlm-pictures-") as around:
        env = {"PATH": os.environ["PATH"], "HOME": around, "LANG": "C.UTF-8", "TMPDIR": around}
        with Terminal([sys.executable, "-I", "-m", "demo"], env, ROOT, 118, 34) as terminal:
            status = terminal.until_ended()
            screen = terminal.screen
            if status:
                raise RuntimeError(f"the demo ended with {status}:\n{screen.text()}")
            rows = screen.all_lines[: len(terminal.came_s)]
            return moving(rows, terminal.came_s, 118, 34, "bin/demo")


def browsed(address: str, size: str = PAGE_SIZE) -> bytes:
    """What a browser shows of a page, as PNG. `size`: of its window."""
    with tempfile.TemporaryDirectory(prefix="rlm-pictures-") as around:
        picture = Path(around, "page.png")
        argv = [str(chromium()), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        argv += [f"--user-data-dir={around}/profile", f"--window-size={size}", f"--screenshot={picture}", address]
        env = {"HOME": around, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        subprocess.run(argv, env=env, check=True, capture_output=True, timeout=PAGE_S)
        return picture.read_bytes()


def _to_the_end(there: Incident) -> None:
    for code in STEPS:
        report = there.session.run(code)
        if report.status != "ok":
            raise RuntimeError(f"a step ended with {report.status}: {report.error}")
    there.session.finalize(final_var_name="answer")


MAKERS: Final[dict[str, Callable[[], str | bytes]]] = {
    "demo.svg": demo,
    "console.svg": console,
    "trace.svg": trace,
    "notebook.png": notebook,
    "watch.png": watch,
    "lab.png": lab,
}
