"""What Python says on stderr by itself: in words that a client can use, without a path of the installation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import rlm_kernel_mcp
from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio

NOTICES = {
    "a warning of the step": (
        "import warnings\nwarnings.warn('hey')",
        "In[N]:2: UserWarning: hey\n  warnings.warn('hey')\n",
    ),
    "one blamed on the shell": ("import warnings\nwarnings.warn('deep', stacklevel=3)", "UserWarning: deep\n"),
    "one blamed on the kernel": ("import warnings\nwarnings.warn('deeper', stacklevel=9)", "UserWarning: deeper\n"),
    "one blamed on a library": (
        "import warnings, functools\nfunctools.reduce(lambda a, b: warnings.warn('lib', stacklevel=1), [1, 2])",
        "In[N]:2: UserWarning: lib\n  functools.reduce(lambda a, b: warnings.warn('lib', stacklevel=1), [1, 2])\n",
    ),
    "a deprecation": (
        "import warnings\nwarnings.warn('old', DeprecationWarning)",
        "In[N]:2: DeprecationWarning: old\n  warnings.warn('old', DeprecationWarning)\n",
    ),
    "a warning of the compiler, once": (
        "x = 1 is 1",
        'In[N]:1: SyntaxWarning: "is" with a literal. Did you mean "=="?\n  x = 1 is 1\n',
    ),
    "a coroutine that nobody awaited": (
        "async def c(): pass\nc()\nNone",
        "In[N]:2: RuntimeWarning: coroutine 'c' was never awaited\n  c()\n",
    ),
    "a destructor": (
        "class D:\n    def __del__(self): 1 / 0\nd = D(); del d",
        (
            "Exception ignored in: D.__del__\nTraceback (most recent call last):\n  In[N], line 2, in D.__del__\n"
            "    def __del__(self): 1 / 0\n                       ^^^^^\nZeroDivisionError: division by zero\n"
        ),
    ),
}


@pytest.mark.parametrize("notice", NOTICES)
async def test_a_notice_names_the_step_and_its_line(any_session: SessionDriver, notice: str) -> None:
    """As a traceback does."""
    code, expected = NOTICES[notice]
    report = await any_session.ok(code)
    assert report.stderr == expected.replace("In[N]", f"In[{report.step_index}]")


@pytest.mark.parametrize(
    "code",
    [
        "import threading, json\nt = threading.Thread(target=json.loads, args=['{'])\nt.start(); t.join()",
        "import json, traceback\ntry: json.loads('{')\nexcept ValueError: traceback.print_exc()",
        "import json, logging\ntry: json.loads('{')\nexcept ValueError: logging.exception('failed')",
        (
            "import asyncio, gc, json\nasync def bad(): json.loads('{')\ntask = asyncio.create_task(bad())\n"
            "await asyncio.wait({task})\ndel task; gc.collect()"
        ),
        "import json, weakref\nclass C: pass\nc = C(); weakref.finalize(c, json.loads, '{'); del c",
    ],
    ids=["a thread", "print_exc", "logging", "a task", "a finalizer"],
)
async def test_a_traceback_on_stderr_names_the_library_s_file_alone(any_session: SessionDriver, code: str) -> None:
    """Whoever prints it."""
    shown = (await any_session.run(code)).stderr
    assert "json/decoder.py" in shown
    for directory in (sys.prefix, sys.base_prefix, str(Path(rlm_kernel_mcp.__file__).parents[1])):
        assert directory not in shown


@pytest.mark.parametrize(
    "code", ["raise SystemExit", "raise SystemExit('bye')", "raise SystemExit(3)", "exit()", "quit()"]
)
async def test_an_exit_says_nothing_about_how_to_exit(any_session: SessionDriver, code: str) -> None:
    """Nobody could follow it; the exception is an error like any other, and the session lives."""
    report = await any_session.run(code)
    assert report.stderr == ""
    assert report.error is not None
    assert report.error.ename == "SystemExit"
    assert (await any_session.ok("1 + 1")).result == "2"


async def test_a_thread_that_exits_says_nothing(any_session: SessionDriver) -> None:
    """As Python has it."""
    code = "import sys, threading\nthread = threading.Thread(target=sys.exit)\nthread.start(); thread.join()"
    assert (await any_session.ok(code)).stderr == ""
