"""Opens a session: from a context's source to a kernel with the context in it.

Is: what `rlm_init_context` does below its handle. Is not: the handle (`registry.py`). Above: `registry.py`.
Below: `context/`, `kernel/pool.py`, `session/kernels/recovery.py`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.context.by_loader import load, needs_loader
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.loader.loaders import Loaders
from rlm_kernel_mcp.context.payload import Payload, text_payload
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.refusals import refuse_compressed
from rlm_kernel_mcp.context.sources import Sources, resolve_sources, too_large
from rlm_kernel_mcp.errors import ContextNotFound, ContextTooLarge, KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.kernel.untrusted.answers import imports_of
from rlm_kernel_mcp.session.kernels.loading import GoOn, read_in_thread
from rlm_kernel_mcp.session.kernels.recovery import context_report, load_context
from rlm_kernel_mcp.session.reports import ContextReport, Wall
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.units import MB
from rlm_kernel_mcp.wire import INFO, LoadContextReply

TABLE_SHARE: Final = 0.2
"""Share that the documents' names and places may take."""
DOCUMENT_BYTES: Final = 500
"""What a kernel needs for one document beside its text and its name, about."""
INFO_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class ContextSource:
    """Where a context comes from: an inline text, or paths. Exactly one of the two is set."""

    text: str | None = None
    paths: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    """Patterns for what the directories and globs among the paths leave out."""
    working_dir: str | None = None
    """Where relative paths begin; None: the server's own."""

    def reference(self, settings: Settings) -> dict[str, object]:
        """What a record keeps of it, from which `referred` makes it again; of an inline text that it is one."""
        if self.paths is None:
            return {"inline": True}
        exclude = {"exclude": self.exclude} if self.exclude else {}
        return {"paths": self.paths, **exclude, "working_dir": self.working_dir or str(settings.working_dir)}

    @classmethod
    def referred(cls, reference: dict[str, Any]) -> ContextSource | None:
        """The source of a record's reference; None of an inline text, which the store has.

        Raises:
            KeyError, TypeError: the record is damaged.
        """
        if reference.get("paths") is None:
            return None
        exclude = tuple(reference.get("exclude", ()))
        return cls(None, tuple(reference["paths"]), exclude, reference.get("working_dir"))

    async def opened(
        self, settings: Settings, room: Room, loaders: Loaders | None = None, *, copy: bool = False
    ) -> Payload:
        """Read it in a thread; nothing is left of it where that is cancelled. Raises: as `open`."""
        return await read_in_thread(
            lambda go_on: self.open(settings, room, loaders, copy=copy, go_on=go_on), files=self.paths is not None
        )

    def open(
        self,
        settings: Settings,
        room: Room,
        loaders: Loaders | None = None,
        *,
        copy: bool = False,
        go_on: GoOn = lambda: None,
    ) -> Payload:
        """Read it; blocking, so run it in a worker thread. `loaders`: for what is large or compressed.

        Raises:
            ContextNotFound, ContextDenied, ContextTooLarge, InvalidInput.
        """
        if self.text is not None:
            payload = text_payload(self.text)
            if payload.byte_count > room.decoded_bytes:
                raise too_large(payload.byte_count, room.decoded_bytes)
            return payload
        sources = resolve_sources(
            self.paths or (),
            exclude=self.exclude,
            roots=settings.context_roots,
            working_dir=Path(self.working_dir) if self.working_dir else settings.working_dir,
            max_bytes=room.max_bytes,
            go_on=go_on,
        )
        payload = _read(sources, room, loaders, copy=copy, go_on=go_on)
        table_bytes = sum(DOCUMENT_BYTES + len(document.name) for document in payload.documents)
        limit_bytes = int(settings.memory_limit_mb * MB * TABLE_SHARE)
        if table_bytes > limit_bytes:
            payload.close()
            raise ContextTooLarge(
                f"The context has {len(payload.documents):,} documents, whose table takes about {table_bytes:,} bytes "
                f"beside the text; the limit is {limit_bytes:,} bytes, a part of the session's memory "
                "(RLM_MEMORY_LIMIT_MB)."
            )
        return payload

    def open_again(
        self, settings: Settings, room: Room, sha256: str, go_on: GoOn, loaders: Loaders | None = None
    ) -> Payload:
        """Read it again for a fresh kernel; it must be what it was.

        Raises:
            ContextNotFound: it has changed since, or as `open`.
        """
        payload = self.open(settings, room, loaders, go_on=go_on)
        if payload.sha256 != sha256:
            payload.close()
            raise ContextNotFound(
                "the context's files have changed since the session began, so it was not loaded again"
            )
        return payload


def _read(sources: Sources, room: Room, loaders: Loaders | None, *, copy: bool, go_on: GoOn) -> Payload:
    """By a loader where it is large or compressed, else here, where it is done before a loader would have begun."""
    payload = None
    if loaders is not None and needs_loader(sources):
        payload = load(sources, room, loaders, copy=copy, go_on=go_on)
    if payload is None:
        refuse_compressed(sources)
        payload = build_payload(sources, room=room, copy=copy, go_on=go_on)
    return payload


@dataclass(frozen=True, slots=True)
class Prepared:
    """A kernel with its context, before it has a handle."""

    kernel: Kernel
    context: ContextReport
    namespace: dict[str, str]
    """The names that the kernel offers, with a line on each."""
    imports: tuple[str, ...]
    walls: tuple[Wall, ...]
    duration_ms: int
    """How long all of it took."""


async def prepare(
    source: ContextSource, settings: Settings, room: Room, pool: KernelPool, loaders: Loaders | None = None
) -> Prepared:
    """Take a kernel and load the context into it.

    Raises:
        ContextNotFound, ContextDenied, ContextTooLarge, InvalidInput: before a kernel is taken.
        KernelStartFailed, SandboxUnavailable, KernelDied.
    """
    begun_ns = time.monotonic_ns()
    payload = await source.opened(settings, room, loaders)
    try:

        async def load(kernel: Kernel) -> tuple[LoadContextReply, tuple[str, ...]]:
            nonlocal payload
            loaded = await load_context(kernel, payload)
            if payload.has_changed():
                payload.close()
                payload = await source.opened(settings, room, loaders, copy=True)
                loaded = await load_context(kernel, payload)
            return loaded, await _imports(kernel)

        kernel, (loaded, imports) = await pool.take(load)
        duration_ms = (time.monotonic_ns() - begun_ns) // 1_000_000
        context = context_report(payload, loaded)
        return Prepared(kernel, context, loaded["names"], imports, walls_of(kernel), duration_ms)
    finally:
        payload.close()


async def _imports(kernel: Kernel) -> tuple[str, ...]:
    try:
        async with asyncio.timeout(INFO_S):
            return imports_of((await kernel.client.request(INFO, {})).content)
    except TimeoutError:
        raise KernelDied(f"The kernel did not say what it is within {INFO_S:.0f} s.") from None


def walls_of(kernel: Kernel) -> tuple[Wall, ...]:
    """Which walls hold a kernel: what it said before any user code ran."""
    return tuple(Wall(row["name"], row["holds"], row["detail"]) for row in kernel.walls)
