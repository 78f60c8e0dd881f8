"""Libraries that a policy has imported at first use: they come after the walls have risen, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.in_kernel.walls import namespaces
from tests.kernel.courtesies.test_any_import import EXECUTABLE_MEMORY
from tests.sessions import SessionDriver, open_registry
from tests.specs import SHIPPED

pytestmark = pytest.mark.anyio
LATE = "_lsprof"
"""An extension module that nothing of ours imports."""


def policy_with(modules: list[str], **imports: Any) -> dict[str, Any]:
    """The shipped one with these modules too."""
    shipped = json.loads((SHIPPED / "policy.json").read_text(encoding="utf-8"))["imports"]["modules"]
    return {"imports": {"modules": [*shipped, *modules], **imports}, "pool": {"spare_kernels": 0}}


async def test_a_library_is_mapped_when_a_step_imports_it_and_what_code_wrote_is_not(tmp_path: Path) -> None:
    """The allowlist stands beside it: with `any` all of that is so for every installed module."""
    policy = policy_with([LATE, "mmap"], at_first_use=[LATE])
    async with open_registry(tmp_path, policy=policy) as registry:
        session = await SessionDriver.open(registry)
        assert (await session.ok(f"import {LATE}\n{LATE}.Profiler.__name__")).result == "'Profiler'"
        if not namespaces.refusal():  # the scratch directory is read-only without them
            refused = (await session.ok(EXECUTABLE_MEMORY)).result
            assert refused == "['anonymous', 'a file of its own', 'writable too']"
        assert (await session.run("import subprocess")).status == "error"


async def test_without_that_the_same_library_is_loaded_ahead(tmp_path: Path) -> None:
    """As all that a policy lists is, since no file can be mapped executable later."""
    async with open_registry(tmp_path, policy=policy_with([LATE])) as registry:
        session = await SessionDriver.open(registry)
        assert (await session.ok(f"import {LATE}\n{LATE}.Profiler.__name__")).result == "'Profiler'"


@pytest.mark.parametrize(
    "at_first_use", [[], pytest.param(["no_such_library"], marks=pytest.mark.slow)], ids=["ahead", "at_first_use"]
)
async def test_a_kernel_that_lacks_what_its_policy_needs_is_refused_with_what_brings_it(
    tmp_path: Path, at_first_use: list[str]
) -> None:
    """Any other module that is not there is left out, and its import says so."""
    policy = policy_with(["no_such_library", "another"], at_first_use=at_first_use, needed=["no_such_library"])
    async with open_registry(tmp_path, policy=policy) as registry:
        with pytest.raises(KernelStartFailed, match=r"needs the module 'no_such_library'.*its extra \[data\]"):
            await SessionDriver.open(registry)
