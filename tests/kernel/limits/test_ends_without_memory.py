"""A step that has left no memory: its limit is lifted first at its end, and a little for a request beside it."""

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

RAISING_LATE = """
import sys
def once(frame, event, arg):
    if frame.f_code.co_name == 'soft_memory':
        sys.settrace(None)
        raise ValueError('as a signal handler may')
sys.settrace(once)
"""
LEFT = """
mine = 'kept'
import asyncio
state = get_ipython().kernel.state
put_back = state.put_back
def leaving():
    state.put_back = put_back
    raise asyncio.CancelledError
state.put_back = leaving
"""

LOOKING = """
import resource
looks = []
def looking(lines):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    looks.append(soft == hard)
    return lines
get_ipython().input_transformers_cleanup.append(looking)
"""

SERVED = """
import resource, time
limits = lambda: resource.getrlimit(resource.RLIMIT_AS)
handlers, seen, ended = get_ipython().kernel.control_handlers, [], []
serve = handlers['rlm_get_var_request']
async def noting(*asked):
    seen.append(limits())
    await serve(*asked)
handlers['rlm_get_var_request'] = noting
soft, hard = limits()
"""
ITS_STEP_RUNS = """
print('begun', flush=True)
while not seen or limits() != (soft, hard):
    time.sleep(0.001)
"""
ITS_STEP_ENDS = """
async def outlasting(*asked):
    seen.append(limits())
    while not ended:
        time.sleep(0.001)
    handlers['rlm_get_var_request'] = noting
    await serve(*asked)
handlers['rlm_get_var_request'] = outlasting
state = get_ipython().kernel.state
put_back = state.put_back
def noting_end():
    state.put_back = put_back
    put_back()
    ended.append(limits())
state.put_back = noting_end
print('begun', flush=True)
while not seen:
    time.sleep(0.001)
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


async def test_a_step_whose_signal_handler_raises_as_it_ends_leaves_its_limit_to_no_other(
    any_session: SessionDriver,
) -> None:
    """It may raise instead of the lifting itself, which is done again then."""
    await any_session.run(NOTING + RAISING_LATE)
    assert (await any_session.ok("state.put_back = put_back; all(lifted)")).result == "True"


async def test_a_step_that_ends_by_what_ipykernel_does_not_catch_is_followed_by_its_own_snapshot(
    any_session: SessionDriver,
) -> None:
    """At once, and not behind the next request: its host would have ended the kernel by then."""
    report = await any_session.run(LEFT)
    assert (report.status, report.error and report.error.ename) == ("error", "CancelledError")
    report = await any_session.ok("mine")
    assert (report.result, report.lost) == ("'kept'", None)


async def test_a_request_beside_a_step_is_served_with_memory_that_the_step_has_not(any_session: SessionDriver) -> None:
    """Some of what is set aside for the step's end, most of which stays; once it is served the limit is as before."""
    await any_session.ok("mine = 'kept'")
    await any_session.begin(SERVED + ITS_STEP_RUNS)
    await any_session.until_printed("begun")
    assert await any_session.value("mine") == "kept"
    assert (await any_session.end_of(2)).status == "ok"
    told = await any_session.ok("[soft < seen[0][0] <= soft + (hard - soft) // 4, seen[0][1] == hard]")
    assert told.result == "[True, True]"


async def test_a_request_that_outlasts_its_step_does_not_put_the_steps_limit_back(any_session: SessionDriver) -> None:
    """What is done between steps, and the next one's beginning, would find no memory."""
    await any_session.ok("mine = 'kept'")
    await any_session.begin(SERVED + ITS_STEP_ENDS)
    await any_session.until_printed("begun")
    assert await any_session.value("mine") == "kept"
    assert (await any_session.end_of(2)).status == "ok"
    assert await any_session.value("mine") == "kept"  # the requests are served in turn: the first is done by now
    assert (await any_session.ok("[ended == [(hard, hard)], seen[1:] == [(hard, hard)]]")).result == "[True, True]"


async def test_a_step_is_read_before_its_limit_is_in_force(any_session: SessionDriver) -> None:
    """What earlier steps hold may have left no memory to take its code apart: threads that wait did so."""
    await any_session.ok(LOOKING)
    report = await any_session.ok("soft, hard = resource.getrlimit(resource.RLIMIT_AS)\nlooks[0], soft < hard")
    assert report.result == "(True, True)"
