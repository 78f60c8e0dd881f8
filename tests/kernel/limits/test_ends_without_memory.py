"""The end of a step that has left no memory: the limit is lifted before anything is made, and its values are kept."""

from __future__ import annotations

import pytest

from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio

NOTING = """
import resource
state, lifted = get_ipython().kernel.state, []
put_back = state.put_back
def noting():
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    lifted.append(soft == hard)
    put_back()
state.put_back = noting
"""
FAILING_ONCE = """
mine = 'kept'
state = get_ipython().kernel.state
put_back = state.put_back
def failing():
    state.put_back = put_back
    raise MemoryError
state.put_back = failing
"""


@pytest.mark.parametrize("end", ["", "1 / 0", "raise KeyboardInterrupt", "import asyncio; await asyncio.sleep(0)"])
async def test_the_limit_is_lifted_before_anything_else_is_done_at_a_steps_end(
    any_session: SessionDriver, end: str
) -> None:
    """However it ends. What is made under the limit may find no memory; then the limit would stay in force for good."""
    await any_session.run(NOTING + end)
    assert (await any_session.ok("state.put_back = put_back; lifted")).result == "[True, True]"


async def test_a_step_whose_end_fails_is_followed_by_its_snapshot_and_the_next_step_finds_its_kernel(
    any_session: SessionDriver,
) -> None:
    """As any step is: a host that hears nothing takes the kernel for one that hangs, and ends it."""
    await any_session.ok("before = 'kept too'")
    report = await any_session.run(FAILING_ONCE)
    assert (report.status, report.error and report.error.ename) == ("error", "MemoryError")
    report = await any_session.ok("mine")
    assert (report.result, report.lost) == ("'kept'", None)
