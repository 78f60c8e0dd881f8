"""A node's registry as one call has it: with files that its router has put into the store, or of a lost step.

Is: what a router says beside the arguments of a tool, said to the registry. Is not: the call (`calls.py`), or what is
in a manifest (`session/contexts/manifests.py`). Above: `host.py`. Below: `session/registry.py`, `cluster/contexts/`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rlm_kernel_mcp.cluster.contexts.placing import placed, used
from rlm_kernel_mcp.cluster.node.messages import Asked
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.session.calls.acknowledging import acknowledged
from rlm_kernel_mcp.session.carrying.durable import Durable

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.callers.caller import Caller
    from rlm_kernel_mcp.session.contexts.given import Added, Given, Options
    from rlm_kernel_mcp.session.registry import Registry
    from rlm_kernel_mcp.session.reports import Opened, StepReport


def registry_for(asked: Asked, registry: Registry, durable: Durable, shared: SharedStore) -> Registry:
    """The registry that a call is done by."""
    if asked.is_lost:
        return cast("Registry", _OfLostStep(registry, durable))
    if asked.manifest is not None:
        return cast("Registry", _OfFiles(registry, shared, registry.settings.state_dir, asked.manifest))
    return registry


class _OfFiles:
    """A registry whose contexts are files of a manifest."""

    def __init__(self, registry: Registry, shared: SharedStore, state_dir: Path, manifest: str) -> None:
        self._registry, self._shared, self._state_dir, self._manifest = registry, shared, state_dir, manifest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    async def init_context(self, *, options: Options, **given: Any) -> Opened:
        """As the registry does it."""
        blobs = await placed(self._shared, self._state_dir, self._manifest)
        opened = await self._registry.init_context(options=replace(options, manifest=self._manifest), **given)
        await used(self._shared, opened.session_id, blobs)
        return opened

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
