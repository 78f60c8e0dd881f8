"""A step that holds all descriptors it can have: what the host passes is taken all the same, for the right request."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.session.contexts.given import Given, Options
from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio

MANY_BYTES = 1 << 20
HOLDING_ALL = """
mine, large = 'kept', list(range(300_000))
held = []
try:
    while True:
        held.append(open(f'{scratch}/file', 'a'))
except OSError as error:
    print(error.strerror)
"""


async def holding_all(session: SessionDriver) -> None:
    """Run the step, and wait until its values are kept or given up."""
    assert (await session.ok(HOLDING_ALL)).stdout == "Too many open files\n"
    await session.session.kernel.recovery.snapshots.settle()
    assert session.session.kernel.recovery.snapshots.step == 1


async def test_values_too_large_for_a_message_are_kept_after_a_step_that_holds_all_descriptors(
    session: SessionDriver,
) -> None:
    """The pipe that they go through is one more descriptor; without an answer the host would end the kernel."""
    await holding_all(session)
    report = await session.ok("held = None\nmine, len(large)")
    assert (report.result, report.lost) == ("('kept', 300000)", None)


async def test_contexts_are_added_beside_such_a_step_and_each_is_its_own(session: SessionDriver) -> None:
    """One that found no room would leave its file to the request after it."""
    await holding_all(session)
    for letter in "ab":
        given = Given(text=letter * MANY_BYTES)
        await session.registry.add_context(session.session_id, given, Options(letter))
    report = await session.ok("len(a), set(a), len(b), set(b)")
    assert (report.result, report.lost) == (f"({MANY_BYTES}, {{'a'}}, {MANY_BYTES}, {{'b'}})", None)


async def test_what_is_held_for_requests_is_no_file_of_the_codes_own(any_session: SessionDriver) -> None:
    """Code that closes what it does not know may have its own files at these numbers: those stay open."""
    replaced = await any_session.ok(
        "import os\n"
        "from rlm_kernel_mcp.in_kernel.ipython import descriptors\n"
        "numbers, large = list(descriptors._spare), list(range(300_000))\n"
        "files = [open(f'{scratch}/{n}', 'w') for n in range(len(numbers))]\n"
        "for file, number in zip(files, numbers): os.dup2(file.fileno(), number)\n"
        "len(numbers)"
    )
    assert replaced.result == "6"
    await any_session.session.kernel.recovery.snapshots.settle()
    report = await any_session.ok("[os.write(number, b'x') for number in numbers]")
    assert report.result == "[1, 1, 1, 1, 1, 1]"
