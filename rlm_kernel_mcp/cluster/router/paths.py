"""What a client gives for a context, as a node can have it: paths mean something where the client is, and nowhere else.

Is: the copying of what they name to the store, by the client's own rights, and the call that a node then gets. Is not:
the copying itself (`cluster/contexts/gathering.py`). Above: `door.py`, `routed.py`. Below:
`cluster/contexts/gathering.py`, `server/validation.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.cluster.contexts.gathering import Wanted, gathered
from rlm_kernel_mcp.cluster.node.messages import Asked
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.roots.opening import held
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.kernel.placement.builder import effective_policy
from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec
from rlm_kernel_mcp.server import requests, validation
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.text.home_directory import with_home

NO_FUNCTIONS: Final = (
    "host_functions are not offered in a cluster: they run in the program's own process, and a call of one would have "
    "to find its way back from whichever node has the session."
)
NO_FUNCTIONS_NEXT: Final = (
    'Open the session without them, or at home (cluster=None, host="auto" or "off"); code can ask by llm_query, which '
    "`answer` of run answers in a cluster too."
)


async def opening(arguments: Mapping[str, Any], caller: Caller, store: SharedStore) -> Asked:
    """`rlm_init_context`, as a node gets it. Raises: InvalidInput, ContextNotFound, ContextDenied, ContextTooLarge."""
    if arguments.get("host_functions"):
        raise InvalidInput(NO_FUNCTIONS, NO_FUNCTIONS_NEXT)
    asked = validation.parse("rlm_init_context", requests.InitContext, arguments)
    return await _with_copies(arguments, "context_paths", asked.context_paths, asked.exclude, caller, store)


async def adding(arguments: Mapping[str, Any], caller: Caller, store: SharedStore) -> Asked:
    """`rlm_add_context`, the same."""
    asked = validation.parse("rlm_add_context", requests.AddContext, arguments)
    return await _with_copies(arguments, "paths", asked.paths, asked.exclude, caller, store)


def room_of(settings: Settings) -> Room:
    """How large a context may be, by the policy that this client's kernels would have here. Raises: InvalidInput."""
    return Room.of(effective_policy(locked_kernelspec(settings.kernel, settings.jupyter), settings.of_kernel()))


async def _with_copies(
    arguments: Mapping[str, Any],
    name: str,
    paths: Sequence[str] | None,
    exclude: Sequence[str],
    caller: Caller,
    store: SharedStore,
) -> Asked:
    if paths is None:
        return Asked(arguments)
    settings = caller.settings
    room = room_of(settings)
    reading: AbstractContextManager[Roots] = held(caller.roots)  # its connection may end before all is copied
    with reading as roots:
        wanted = Wanted(paths, exclude, roots, settings.working_dir, settings.home, room)
        manifest = await gathered(wanted, store)
    there = [_absolute(path, settings.working_dir, settings.home) for path in paths]
    return Asked({**arguments, name: there}, manifest=manifest)


def _absolute(path: str, working_dir: Path, home: str | None) -> str:
    """The path as the record has it: where it begins is nothing that a node knows."""
    found = os.path.join(working_dir, path)  # noqa: PTH118 (keeps the path as it was given)
    if path.startswith("~") and not os.path.lexists(found):
        found = os.path.join(working_dir, with_home(path, home))  # noqa: PTH118 (as above)
    return found
