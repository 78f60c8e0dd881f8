"""A node's registry as one call has it: with files that its router has put into the store, or of a lost step.

Is: what a router says beside the arguments of a tool, said to the registry. Is not: the call (`calls.py`), or what is
in a manifest (`session/contexts/manifests.py`). Above: `host.py`. Below: `session/registry.py`, `cluster/contexts/`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from rlm_kernel_mcp.cluster.contexts.placing import placed, used
from rlm_kernel_mcp.cluster.node.messages import Asked
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.session.calls.acknowledging import acknowledged
from rlm_kernel_mcp.session.carrying.durable import Durable
from rlm_kernel_mcp.shielded import shielded

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.callers.caller import Caller
    from rlm_kernel_mcp.session.contexts.given import Added, Given, Options
    from rlm_kernel_mcp.session.registry import Registry
    from rlm_kernel_mcp.session.reports import Opened, StepReport


class Withdrawing(Durable, Protocol):
    """A node's."""

    async def withdraw(self, session_id: str) -> None:
        """Drive a session no more that was just opened, and of which nobody has the handle; nor does the store."""


def registry_for(asked: Asked, registry: Registry, durable: Withdrawing, shared: SharedStore) -> Registry:
    """The registry that a call is done by."""
    if asked.is_lost:
        return cast("Registry", _OfLostStep(registry, durable))
    if asked.manifest is not None:
        return cast("Registry", _OfFiles(registry, durable, shared, asked.manifest))
    return registry


class _OfFiles:
    """A registry whose contexts are files of a manifest."""

    def __init__(self, registry: Registry, durable: Withdrawing, shared: SharedStore, manifest: str) -> None:
        self._registry, self._durable, self._shared, self._manifest = registry, durable, shared, manifest
        self._state_dir = registry.settings.state_dir

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    async def init_context(self, *, options: Options, **given: Any) -> Opened:
        """As the registry does it. A session whose files the store does not keep is none."""
        blobs = await placed(self._shared, self._state_dir, self._manifest)
        opened = await self._registry.init_context(options=replace(options, manifest=self._manifest), **given)
        try:
            await used(self._shared, opened.session_id, blobs)
        except BaseException:  # nobody hears of it
            await shielded(self._withdrawn(opened.session_id), f"the undoing of {opened.session_id}")
            raise
        return opened

    async def _withdrawn(self, session_id: str) -> None:
        await self._registry.handles.moves.taken_over(session_id)
        await self._durable.withdraw(session_id)

    async def add_context(self, session_id: str, given: Given, options: Options, caller: Caller | None = None) -> Added:
        """As the registry does it."""
        await used(self._shared, session_id, await placed(self._shared, self._state_dir, self._manifest))
        return await self._registry.add_context(session_id, given, replace(options, manifest=self._manifest), caller)


class _OfLostStep:
    """A registry that runs nothing: of a step that a lost node had it writes down that nobody knows its end."""

    def __init__(self, registry: Registry, durable: Durable) -> None:
        self._registry, self._durable = registry, durable

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    async def run_repl(
        self, session_id: str, code: str, *, max_output_chars: int | None, caller: Caller | None = None, **_: Any
    ) -> StepReport:
        """The report of the step."""
        async with self._registry.handles.in_use(session_id, caller or self._registry.own) as session:
            report = await session.told.lost(code, max_output_chars)
            return await acknowledged(self._durable, session, report)
