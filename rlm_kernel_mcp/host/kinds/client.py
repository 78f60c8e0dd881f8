"""A client's own: its settings, and its roots as it opened them.

Is: what fronts and programs have in common. Is not: how either is served (`pipes.py`, `programs.py`), or the check of
what it handed over (`entry/rights.py`). Above: `pipes.py`, `programs.py`, `serving.py`. Below: `entry/rights.py`,
`session/callers/caller.py`, `settings.py`.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.host.entry.handshake import Asked
from rlm_kernel_mcp.host.entry.rights import LOOKS, Directories
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.callers.profiles import require_kernelspec
from rlm_kernel_mcp.settings import Settings, load_settings
from rlm_kernel_mcp.shielded import made_in_thread
from rlm_kernel_mcp.variables.table import TABLE

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)

ROOTS: Final = "RLM_CONTEXT_ROOTS"
"""The one setting that a client turns into descriptors; what it says is not looked at here."""


class Registries(Protocol):
    """Where a client's registry is found."""

    async def registry_for(self, settings: Settings) -> Registry:
        """A registry for these settings; closing it ends nothing that others use."""

    async def of_session(self, settings: Settings, session_id: str) -> Registry:
        """The registry that answers for a handle."""


class Clients:
    """Those whom the door has let in, whatever they speak."""

    def __init__(self, registries: Registries) -> None:
        self.registries = registries
        self._numbers = itertools.count(1)

    async def caller(self, settings: Settings, directories: Directories) -> Caller:
        """Who calls, with roots of its own, until it is closed.

        Not before it is served: of a client that does not go on after it was prepared nobody would close them.
        """
        copies = _copies(descriptor for _, descriptor in directories.roots)
        roots = await made_in_thread(lambda: _roots(copies), Roots.close, LOOKS)
        return Caller(f"client {next(self._numbers)}", settings, roots)


def _copies(descriptors: Iterable[int]) -> list[int]:
    """As many descriptors, or none: where there is no room for all, nobody would close the first ones."""
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, descriptors))
    except OSError:
        for copy in copies:
            os.close(copy)
        raise
    return copies


def _roots(descriptors: list[int]) -> Roots:
    """Roots that have these descriptors for their own; it may wait for a file system."""
    try:
        return Roots.of_descriptors(descriptors.pop(0) for _ in range(len(descriptors)))
    finally:
        for left in descriptors:
            os.close(left)


def settings_of(asked: Asked, directories: Directories) -> Settings:
    """A client's settings, with the roots that it opened.

    Raises:
        NoHost: a setting is wrong, or it is to be served in a process of its own.
    """
    known = {row.variable for row in TABLE}
    if unknown := set(asked.options) - known:
        raise NoHost(f"a host takes no option for {', '.join(sorted(unknown))}")
    values = {name: value for name, value in asked.environ.items() if name != ROOTS}
    options = {name: values[name] for name in asked.options if name in values}
    given = {name: values[name] for name in values.keys() - options.keys()}
    try:
        settings = load_settings(directories.cwd, given, options)
        require_kernelspec(settings)
    except RlmError as error:
        raise NoHost(error.message) from error
    if settings.sandbox_mode == "container":
        raise NoHost(
            "with RLM_SANDBOX_MODE=container each client has its own server, which calls the engine by its own rights"
        )
    if os.path.realpath(settings.state_dir) != asked.state:
        raise NoHost("RLM_STATE_DIR is not what the client took it for")
    return replace(settings, context_roots=tuple(path for path, _ in directories.roots))
