"""What a step changes of its process: what would make later steps mute or untrue is put back, and said."""

from __future__ import annotations

import pytest

from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio

CHANGED = {
    "import sys; sys.stdout = sys.__stdout__": "sys.stdout",
    "import sys; sys.stdout = None": "sys.stdout",
    "import contextlib, io\nleft = contextlib.redirect_stdout(io.StringIO()); left.__enter__()": "sys.stdout",
    "import contextlib, io\nleft = contextlib.redirect_stderr(io.StringIO()); left.__enter__()": "sys.stderr",
    "import sys; sys.stdout.close()": "sys.stdout",
    "import sys; sys.stderr.write = len": "sys.stderr",
    "import sys; sys.stdout.pub_thread = None": "sys.stdout",
    "import sys; sys.stdout.session = None": "sys.stdout",
    "import sys; sys.stdout.name = 'stderr'": "sys.stdout",
    "import sys; sys.stdout.topic = b'elsewhere'": "sys.stdout",
    "import sys; sys.stdout.flush = lambda: None": "sys.stdout",
    "import sys; sys.stdout._flush_buffers = lambda: iter(())": "sys.stdout",
    "import sys; sys.stderr.budget_chars = 10": "sys.stderr",
    "import builtins; builtins.print = len": "print",
    "from IPython.utils.capture import capture_output\nleft = capture_output(); left.__enter__()": "sys.stdout",
    "import sys; sys.settrace(lambda *event: None)": "sys.settrace",
    "import sys; sys.setrecursionlimit(200)": "sys.setrecursionlimit",
    "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)": "the handler of SIGUSR1",
    "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)": "the handler of SIGXCPU",
}


@pytest.mark.parametrize("code", CHANGED)
async def test_what_would_make_later_steps_mute_or_untrue_is_put_back_and_said(
    any_session: SessionDriver, code: str
) -> None:
    """Once, to the next step, whose output, display and result are all there."""
    await any_session.ok(code)
    report = await any_session.ok("import sys\nprint('out'); print('err', file=sys.stderr); display('shown'); 'result'")
    assert (report.stdout, report.result) == ("out\n'shown'\n", "'result'")
    assert f"[{CHANGED[code]} was changed by an earlier step and is the session's own again]\n" in report.stderr
    assert report.stderr.endswith("err\n")
    assert (await any_session.ok("print('again')")).stderr == ""


KEY = """
import sys
class Key:
    def __hash__(self): return hash("write")
    def __eq__(self, other): raise ValueError("asked")
sys.stdout.__dict__[Key()] = sys.stderr.__dict__[1] = None
"""


async def test_an_attribute_of_a_stream_that_is_no_text_takes_no_later_step_its_reply(
    any_session: SessionDriver,
) -> None:
    """It is let go before anything asks it whether it is another; each step ended without a reply."""
    await any_session.run(KEY)
    report = await any_session.ok("print('out'); 'result'")
    assert (report.stdout, report.result, report.stderr) == ("out\n", "'result'", "")


async def test_blocked_signals_do_not_keep_a_later_step_from_being_interrupted(any_session: SessionDriver) -> None:
    """The mask is the session's again."""
    await any_session.ok("import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])")
    report = await any_session.run("while True: len('')", timeout_ms=50)
    assert (report.status, report.lost) == ("timeout", None)


async def test_state_that_a_step_sets_for_later_steps_stays(any_session: SessionDriver) -> None:
    """It is the session's own."""
    await any_session.ok(
        "import decimal, sys, warnings\ndecimal.getcontext().prec = 5\nwarnings.simplefilter('ignore')\n"
        "sys.setrecursionlimit(3000)\nsys.unraisablehook = hook = lambda args: None"
    )
    report = await any_session.ok(
        "warnings.warn('unseen'); (decimal.getcontext().prec, sys.getrecursionlimit(), sys.unraisablehook is hook)"
    )
    assert (report.result, report.stderr) == ("(5, 3000, True)", "")


async def test_among_many_threads_the_interpreter_is_waited_for_longer(any_session: SessionDriver) -> None:
    """Twenty that wake up each 20 µs spend their time on that."""
    begin = "import sys, threading\nstop = threading.Event()\nfew = sys.getswitchinterval()\n"
    threads = "threads = [threading.Thread(target=stop.wait) for _ in range(4)]\nfor one in threads: one.start()\n"
    assert (await any_session.ok(f"{begin}{threads}sys.getswitchinterval() > 10 * few")).result == "True"
    assert (await any_session.ok("sys.getswitchinterval() > 10 * few")).result == "True"
    await any_session.ok("stop.set()\nfor one in threads: one.join()")
    assert (await any_session.ok("sys.getswitchinterval() == few")).result == "True"


@pytest.mark.parametrize(
    "code",
    [
        "asyncio.get_running_loop().stop()",
        "asyncio.get_running_loop().call_later(0.05, asyncio.get_running_loop().stop)\nawait asyncio.sleep(0.1)",
        "loop = asyncio.get_running_loop()\nfor _ in range(3):\n    loop.stop()\n    await asyncio.sleep(0)",
    ],
)
async def test_a_step_that_stops_the_event_loop_ends_no_kernel(session: SessionDriver, code: str) -> None:
    """A script ends so; here the session goes on, with its names and without a word of loss."""
    await session.ok("import asyncio\nkept = object()\nbefore = id(kept)")
    await session.ok(code)
    for _ in range(2):
        report = await session.ok("id(kept) == before")
        assert (report.result, report.lost) == ("True", None)
