"""A traceback calls a step by the number that its agent and the trace know, whatever the kernel has counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from rlm_kernel_mcp.session.reports import StepReport
from tests.losses import lose_kernel
from tests.sessions import WAIT_S, SessionDriver

pytestmark = pytest.mark.anyio

DEFINED = """class Box:
    def open(self):
        return 1 / 0
def fail():
    return Box().open()
later = lambda: fail()"""


@contextmanager
def console(session: SessionDriver) -> Iterator[BlockingKernelClient]:
    """A client that is attached to the session's kernel as a person's console is."""
    client = BlockingKernelClient(connection_file=str(session.kernel.directories.connection_file))
    client.load_connection_file()
    client.start_channels(hb=False)
    try:
        client.wait_for_ready(timeout=WAIT_S)  # what is sent before it listens is lost to it
        yield client
    finally:
        client.stop_channels()


def run(client: BlockingKernelClient, code: str) -> tuple[int, str]:
    """The count of a console's cell, and its traceback."""
    reply = client.execute_interactive(code, allow_stdin=True, timeout=WAIT_S, output_hook=lambda message: None)
    return reply["content"]["execution_count"], "\n".join(reply["content"].get("traceback", []))


def traceback(report: StepReport) -> str:
    assert report.error is not None, report
    return report.error.traceback


async def test_an_earlier_steps_function_is_named_with_its_own_step_and_lines(session: SessionDriver) -> None:
    """Not with the lines of the step that calls it."""
    await session.ok("1")
    made = await session.ok(DEFINED)
    failed = traceback(await session.run("x = 1\nlater()"))
    assert f"In[{made.step_index}], line 5, in fail\n    return Box().open()\n" in failed
    assert f"In[{made.step_index + 1}], line 2, in <module>\n    later()\n" in failed


async def test_after_a_lost_kernel_a_step_has_its_own_number_and_functions_have_their_lines(
    session: SessionDriver,
) -> None:
    """The fresh kernel counts from 1; what came back was defined in a step, and its lines come back with it."""
    await session.ok("1")
    made = await session.ok(DEFINED)
    for _ in range(2):  # what came back is kept again, with its lines
        await lose_kernel(session)
        report = await session.run("x = 1\nlater()")
        failed = traceback(report)
        assert f"In[{report.step_index}], line 2, in <module>\n    later()\n" in failed
        assert f"In[{made.step_index}], line 6, in <lambda>\n    later = lambda: fail()" in failed
        assert f"In[{made.step_index}], line 5, in fail\n    return Box().open()\n" in failed
        assert f"In[{made.step_index}], line 3, in Box.open\n    return 1 / 0\n" in failed
    source = await session.ok("import inspect\ninspect.getsource(fail)")
    assert source.result == repr("def fail():\n    return Box().open()\n")
    syntax = await session.run("x =\n")
    assert f"In[{syntax.step_index}], line 1" in traceback(syntax)
    warned = await session.ok("import warnings\nwarnings.warn('careful')")
    assert warned.stderr.startswith(f"In[{warned.step_index}]:2: UserWarning")


async def test_a_consoles_cells_have_their_own_count_and_name(session: SessionDriver) -> None:
    """A person's prompt goes on counting all cells; no step is called by its number, nor a cell by a step's."""
    await session.ok("1")
    with console(session) as client:
        count, failed = run(client, "def of_console():\n    return {}['missing']\nof_console()")
        assert count == 2
        assert "console In[2], line 3, in <module>" in failed
        assert run(client, "2")[0] == 3
        report = await session.run("x = 1\nof_console()")
        failed = traceback(report)
        assert report.step_index == 2
        assert "  In[2], line 2, in <module>\n    of_console()\n" in failed
        assert "  console In[2], line 2, in of_console\n    return {}['missing']\n" in failed
        assert run(client, "3")[0] == 5
