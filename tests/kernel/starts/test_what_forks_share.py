"""A kernel makes and imports little of its own: what is there before the fork is shared by all."""

from __future__ import annotations

import ast
import asyncio
import json
import sys
from pathlib import Path

import pytest

from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import CHECKING
from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio

SPEC = Path(__file__).resolve().parents[3] / "kernelspecs" / "rlm-python" / "policy.json"
PRELOADED = """
import json, sys, threading
from rlm_kernel_mcp.in_kernel import fork_server
from rlm_kernel_mcp.in_kernel.preload import preload
policy = json.load(open(sys.argv[1]))
policy["imports"]["preload"] += sys.argv[2:]
preload(policy)
print(json.dumps([sorted(sys.modules), threading.active_count()]))
"""


async def test_a_kernel_imports_nothing_after_its_fork_and_preloading_starts_no_thread(any_registry: Registry) -> None:
    """Each module would be read from disk at every start, and be in each kernel's own memory."""
    argv = (sys.executable, "-I", "-c", PRELOADED, str(SPEC), *CHECKING)
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    preloaded, threads = json.loads((await child.communicate())[0])
    session = await SessionDriver.open(any_registry)
    await session.ok("1 + 1")
    found = await session.ok("import sys; print(sorted(sys.modules))")
    # The first is how the fork server runs, the second how it has read its tables.
    assert set(ast.literal_eval(found.stdout)) - set(preloaded) == {"runpy", "encodings.ascii"}
    assert threads == 1


async def test_the_shell_that_was_made_before_the_fork_is_this_session_s(any_registry: Registry) -> None:
    """It knows its kernel, and no directory of whoever started the fork server."""
    session = await SessionDriver.open(any_registry)
    got = await session.ok(
        "shell = get_ipython()\n"
        "directories = {str(place) for place in (*_dh, shell.starting_dir, shell.home_dir)}\n"
        "directories == {str(scratch)}, shell.kernel.shell is shell, shell.parent is shell.kernel"
    )
    assert got.result == "(True, True, True)"


async def test_the_files_of_all_modules_are_not_listed_for_a_debugger_that_is_not_there(any_registry: Registry) -> None:
    """To list them writes to 1.5 MB of what forks share."""
    session = await SessionDriver.open(any_registry)
    assert (await session.ok("get_ipython().kernel._kernel_modules")).result == "[]"
    assert (await session.ok("import sys, ipykernel.ipkernel as k; k.sys is sys")).result == "True"
